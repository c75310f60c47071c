"""What all drivers do around their measurement: flags of the output, errors, results.json, the printed tables."""

import contextlib
import dataclasses
import functools
import pathlib
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from absl import flags, logging
from absl.flags import FlagValues

from cwcf_jax import compilation_cache, files, store
from experiments import results, tables
from experiments.inputs import Inputs
from experiments.program import Program
from experiments.results import Row
from experiments.tables import Table

flags.disclaim_key_flags()


@dataclasses.dataclass(frozen=True)
class Picture:
    """A picture beside results.json, by its file's name, and what it shows."""

    file: str
    caption: str


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a driver found.

    Attributes:
        title: one line.
        conditions: network, weights, protocol and data; see `conditions`.
        rows: measured settings.
        tables: for people.
        pictures: already written.
        notes: what a reader must know.
        more: whatever else belongs into results.json.
        left_out: pictures that could not be read.
    """

    title: str
    conditions: Mapping[str, Any]
    rows: Sequence[Row] = ()
    tables: Sequence[Table] = ()
    pictures: Sequence[Picture] = ()
    notes: Sequence[str] = ()
    more: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    left_out: Sequence[str] = ()


Measure = Callable[[FlagValues, contextlib.ExitStack, pathlib.Path], Outcome]
"""Called with the parsed flags, a stack that closes what is opened, and the folder for pictures."""


def program(name: str, define_flags: Callable[[FlagValues], None], measure: Measure) -> Program:
    """A driver: `define_output_flags` and its own flags, then `run`."""

    def define(values: FlagValues) -> None:
        define_output_flags(values)
        define_flags(values)

    return Program(name, define, functools.partial(run, name, measure))


def define_output_flags(values: FlagValues) -> None:
    """Defines what every driver has."""
    text = "Folder for results.json and what goes with it; default: results/NAME."
    flags.DEFINE_string("output", None, text, flag_values=values)
    text = "End with exit code 1 if any picture had to be left out."
    flags.DEFINE_bool("strict", False, text, flag_values=values)


def run(name: str, measure: Measure, values: FlagValues, arguments: Sequence[str]) -> None:
    """Measures, writes results.json and table.txt, prints the tables; errors in one line."""
    command = [f"experiments.{name}", *arguments]
    if "name" in values:
        name = values.name
    compilation_cache.enable()
    start = time.perf_counter()
    folder = pathlib.Path(values.output or f"results/{name}")
    try:
        with contextlib.ExitStack() as stack:
            folder.mkdir(parents=True, exist_ok=True)  # now, and not after the work is done
            outcome = measure(values, stack, folder)
        write(outcome, name, command, folder, time.perf_counter() - start)
    except (ValueError, OSError, store.StoreBusyError) as error:
        logging.info("where it happened", exc_info=True)
        sys.exit(f"{name}: {error}")
    except ImportError as error:
        sys.exit(f"{name}: {error}; pip install -e '.[experiments]'")
    except KeyboardInterrupt:
        sys.exit(f"{name}: interrupted; the same command goes on from here")
    if values.strict and outcome.left_out:
        sys.exit(1)


def write(outcome: Outcome, name: str, command: Sequence[str], folder: pathlib.Path, seconds: float) -> None:
    """results.json and table.txt; the tables also go to standard output."""
    content = (
        {"experiment": name, "title": outcome.title}
        | results.environment(command)
        | dict(outcome.conditions)
        | {
            "notes": list(outcome.notes),
            "left_out": list(outcome.left_out),
            "tables": [dataclasses.asdict(table) for table in outcome.tables],
            "pictures": [dataclasses.asdict(picture) for picture in outcome.pictures],
            "rows": [dataclasses.asdict(row) for row in outcome.rows],
        }
        | dict(outcome.more)
    )
    content["timings_s"] = {**content.get("timings_s", {}), "all": seconds}
    files.write_json(folder / "results.json", content)
    text = "\n\n".join([outcome.title, *map(tables.text, outcome.tables), *outcome.notes]) + "\n"
    print(text)
    (folder / "table.txt").write_text(text, encoding="utf-8")
    print(f"{seconds:.1f} s; written to {folder}")


def conditions(given: Inputs) -> dict[str, Any]:
    """What a results file says of how a benchmark was measured."""
    return {
        "network": given.model.network.spec.name,
        "feature_layer": given.model.feature_layer.name,
        "dtype": given.model.config.dtype,
        "weights_sha256": given.weights,
        "data": given.data,
        "protocol": dataclasses.asdict(given.protocol),
    }


def heading(given: Inputs, what: str) -> str:
    """A title that names benchmark, network and protocol."""
    spec = given.model.network.spec
    return f"{what} on {given.benchmark.name}: {spec.name} {given.model.feature_layer.name}, protocol {given.protocol}"
