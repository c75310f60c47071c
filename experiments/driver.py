"""This module does what all drivers share: output flags, error messages, results.json and the printed tables."""

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
    """A `Picture` is a figure beside results.json: the name of its file and a caption."""

    file: str
    caption: str


@dataclasses.dataclass(frozen=True)
class Outcome:
    """An `Outcome` holds everything that a driver has measured.

    Attributes:
        title: title, one line.
        conditions: network, weights, protocol and data; see `conditions`.
        rows: rows of measured settings.
        tables: tables to print.
        pictures: figures, which are written already.
        notes: remarks for the reader.
        extra: further entries of results.json.
        left_out: unreadable pictures, with the reasons.
    """

    title: str
    conditions: Mapping[str, Any]
    rows: Sequence[Row] = ()
    tables: Sequence[Table] = ()
    pictures: Sequence[Picture] = ()
    notes: Sequence[str] = ()
    extra: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    left_out: Sequence[str] = ()


Measure = Callable[[FlagValues, contextlib.ExitStack, pathlib.Path], Outcome]
"""A function of the parsed flags, a stack that closes what the function opens, and the folder for figures."""


def program(name: str, define_flags: Callable[[FlagValues], None], measure: Measure) -> Program:
    """Returns a driver that has the flags of `define_output_flags` and its own flags, and measures with `run`."""

    def define_all_flags(values: FlagValues) -> None:
        define_output_flags(values)
        define_flags(values)

    return Program(name, define_all_flags, functools.partial(run, name, measure))


def define_output_flags(values: FlagValues) -> None:
    """Defines the flags that every driver has."""
    text = "Folder that results.json, table.txt and figures are written to; default: results/NAME."
    flags.DEFINE_string("output", None, text, flag_values=values)
    text = "Exit with code 1 if any picture was left out because it could not be read."
    flags.DEFINE_bool("strict", False, text, flag_values=values)


def run(name: str, measure: Measure, values: FlagValues, arguments: Sequence[str]) -> None:
    """Measures, writes results.json and table.txt, and prints the tables; an error ends the program with one line."""
    command = [f"experiments.{name}", *arguments]
    if "name" in values:
        name = values.name
    compilation_cache.enable()
    start = time.perf_counter()
    folder = pathlib.Path(values.output or f"results/{name}")
    try:
        with contextlib.ExitStack() as stack:
            folder.mkdir(parents=True, exist_ok=True)  # fails before the measurement, not after it
            outcome = measure(values, stack, folder)
        write(outcome, name, command, folder, time.perf_counter() - start)
    except (ValueError, OSError, store.StoreBusyError) as error:
        logging.info("%s failed", name, exc_info=True)
        sys.exit(f"{name}: {error}")
    except ImportError as error:
        sys.exit(f"{name}: {error}; run pip install -e '.[experiments]'")
    except KeyboardInterrupt:
        sys.exit(f"{name}: interrupted; run the same command again to go on")
    if values.strict and outcome.left_out:
        sys.exit(1)


def write(outcome: Outcome, name: str, command: Sequence[str], folder: pathlib.Path, seconds: float) -> None:
    """Writes results.json and table.txt, and prints the tables."""
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
        | dict(outcome.extra)
    )
    content["timings_s"] = {**content.get("timings_s", {}), "all": seconds}
    files.write_json(folder / "results.json", content)
    text = "\n\n".join([outcome.title, *map(tables.text, outcome.tables), *outcome.notes]) + "\n"
    print(text)
    (folder / "table.txt").write_text(text, encoding="utf-8")
    print(f"{seconds:.1f} s; results written to {folder}")


def conditions(inputs: Inputs) -> dict[str, Any]:
    """Returns the entries of a results file that say how the benchmark was measured."""
    return {
        "network": inputs.model.network.spec.name,
        "feature_layer": inputs.model.feature_layer.name,
        "dtype": inputs.model.config.dtype,
        "weights_sha256": inputs.weights_sha256,
        "data": inputs.data,
        "protocol": dataclasses.asdict(inputs.protocol),
    }


def heading(inputs: Inputs, experiment: str) -> str:
    """Returns a title that names the experiment, the benchmark, the network and the protocol."""
    network, layer = inputs.model.network.spec.name, inputs.model.feature_layer.name
    return f"{experiment} on {inputs.benchmark.name}: {network} {layer}, protocol {inputs.protocol}"
