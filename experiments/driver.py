"""What all drivers do around their measurement: flags of the output, errors, results.json, the printed tables."""

import contextlib
import dataclasses
import pathlib
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from absl import app, flags, logging

from cwcf_jax import compilation_cache, files, store
from experiments import results, tables
from experiments.inputs import Inputs
from experiments.results import Row
from experiments.tables import Table

_OUTPUT = flags.DEFINE_string("output", None, "Folder for results.json and what goes with it; default: results/NAME.")
_STRICT = flags.DEFINE_bool("strict", False, "End with exit code 1 if any picture had to be left out.")


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


Measure = Callable[[contextlib.ExitStack, pathlib.Path], Outcome]
"""Called with a stack that closes what is opened, and the folder for pictures."""


def run(argv: Sequence[str], name: str, measure: Measure) -> None:
    """A driver's main: measures, writes results.json and table.txt, prints the tables; errors in one line."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected argument {argv[1]!r}; every setting is a --flag=value")
    if not flags.FLAGS["verbosity"].present:
        logging.set_verbosity(logging.WARNING)  # JAX tells at INFO of every accelerator that is not there
    compilation_cache.enable()
    start = time.perf_counter()
    folder = pathlib.Path(_OUTPUT.value or f"results/{name}")
    try:
        with contextlib.ExitStack() as stack:
            folder.mkdir(parents=True, exist_ok=True)  # now, and not after the work is done
            outcome = measure(stack, folder)
        write(outcome, name, folder, time.perf_counter() - start)
    except (ValueError, OSError, store.StoreBusyError) as error:
        logging.info("where it happened", exc_info=True)
        sys.exit(f"{name}: {error}")
    except ImportError as error:
        sys.exit(f"{name}: {error}; pip install -e '.[experiments]'")
    except KeyboardInterrupt:
        sys.exit(f"{name}: interrupted; the same command goes on from here")
    if _STRICT.value and outcome.left_out:
        sys.exit(1)


def write(outcome: Outcome, name: str, folder: pathlib.Path, seconds: float) -> None:
    """results.json and table.txt; the tables also go to standard output."""
    content = (
        {"experiment": name, "title": outcome.title}
        | results.environment()
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
