"""This benchmark compares an index's table in LanceDB with a table in SQLite.

python -m benchmarks.tables --pictures=20000

Both tables are filled in windows of pictures. Then they read, check for changes, replace and remove, in turns.
"""

import dataclasses
import functools
import pathlib
import sqlite3
import tempfile
from collections.abc import Callable, Sequence

import numpy as np
from absl import app, flags
from jaxtyping import Float

from benchmarks import measuring
from cwcf_jax.index import LanceStore, Snapshot, TableEntry, TableStore

_PICTURES = flags.DEFINE_integer("pictures", 20000, "Number of pictures.", lower_bound=1000)
_DIM = flags.DEFINE_integer("dim", 256, "Dimensions of a descriptor.", lower_bound=1)
_WINDOW = flags.DEFINE_integer("window", 512, "Number of pictures that are written together.", lower_bound=1)
_ROUNDS = flags.DEFINE_integer("rounds", 7, "Number of calls of each kind.", lower_bound=1)
_OUTPUT = flags.DEFINE_string("output", "", "File for the results as JSON; empty for none.")

FIELDS = tuple(field.name for field in dataclasses.fields(TableEntry))


class SqliteStore:
    """A `SqliteStore` is a `TableStore` in SQLite."""

    def __init__(self, file: pathlib.Path, dim: int) -> None:
        self._dim = dim
        self._database = sqlite3.connect(file)
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute(f"CREATE TABLE pictures ({', '.join(FIELDS)}, descriptor BLOB, PRIMARY KEY (path))")

    def version(self) -> int:
        """Returns a number that changes with the changes of other processes only; see `TableStore`."""
        return int(self._database.execute("PRAGMA data_version").fetchone()[0])

    def entries(self) -> tuple[TableEntry, ...]:
        """Returns all entries, in the order of their paths."""
        rows = self._database.execute(f"SELECT {', '.join(FIELDS)} FROM pictures ORDER BY path")  # noqa: S608
        return tuple(TableEntry(*row) for row in rows)

    def snapshot(self, rows: range | None = None) -> Snapshot:
        """Returns all entries with their descriptors, or the entries whose ``row`` is in a range."""
        row_range = rows or range(2**62)
        where = "WHERE row >= ? AND row < ? ORDER BY path"
        records = self._database.execute(
            f"SELECT {', '.join(FIELDS)}, descriptor FROM pictures {where}",  # noqa: S608
            (row_range.start, row_range.stop),
        ).fetchall()
        values = np.frombuffer(b"".join(record[-1] for record in records), np.float32).reshape(-1, self._dim)
        return Snapshot(self.version(), tuple(TableEntry(*record[:-1]) for record in records), values)

    def put(self, entries: Sequence[TableEntry], descriptors: Float[np.ndarray, "n d"]) -> None:
        """Adds pictures, or replaces pictures of the same path."""
        records = [
            (*dataclasses.astuple(entry), row.tobytes()) for entry, row in zip(entries, descriptors, strict=True)
        ]
        with self._database:
            marks = ", ".join("?" * len(records[0]))
            self._database.executemany(f"REPLACE INTO pictures VALUES ({marks})", records)  # noqa: S608

    def remove(self, paths: Sequence[str]) -> None:
        """Removes pictures; unknown paths are ignored."""
        with self._database:
            self._database.executemany("DELETE FROM pictures WHERE path = ?", [(path,) for path in paths])

    def tidy(self) -> None:
        """Does nothing: SQLite keeps no earlier versions."""

    def drop(self) -> None:
        """Removes the table."""
        self._database.execute("DROP TABLE pictures")


def main(argv: Sequence[str]) -> None:
    """Fills both tables, measures all calls, and prints and saves the results."""
    del argv
    random = np.random.default_rng(0)
    descriptors = random.normal(size=(_PICTURES.value, _DIM.value)).astype(np.float32)
    entries = [TableEntry(f"2026/{i:08d}.jpg", f"{i:064x}", i, i, i, 640, 480, i) for i in range(len(descriptors))]
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder)
        stores: dict[str, TableStore] = {
            "lance": LanceStore(path / "lance", _DIM.value),
            "sqlite": SqliteStore(path / "sqlite", _DIM.value),
        }
        windows = range(0, len(entries), _WINDOW.value)

        def fill(store: TableStore) -> None:
            for start in windows:
                window = slice(start, start + _WINDOW.value)
                store.put(entries[window], descriptors[window])
            store.tidy()

        some_paths = [entry.path for entry in entries[::200]]
        calls: dict[str, Callable[[TableStore], object]] = {
            "snapshot": lambda store: store.snapshot(),
            "entries": lambda store: store.entries(),
            "version": lambda store: store.version(),
            "replace a window": lambda store: store.put(entries[: _WINDOW.value], descriptors[: _WINDOW.value]),
            "remove 1 in 200": lambda store: store.remove(some_paths),
        }
        fill_calls = {name: functools.partial(fill, store) for name, store in stores.items()}
        durations = measuring.take_turns(fill_calls, 1, warm_up=0)
        seconds = {"fill": {name: measuring.spread(times) for name, times in durations.items()}}
        for kind, call in calls.items():
            durations = measuring.take_turns(
                {name: functools.partial(call, store) for name, store in stores.items()}, _ROUNDS.value
            )
            seconds[kind] = {name: measuring.spread(times) for name, times in durations.items()}
    result = {
        "what": "seconds of a call on an index's table",
        "pictures": _PICTURES.value,
        "dim": _DIM.value,
        "window": _WINDOW.value,
        "seconds": seconds,
        "machine": measuring.describe_machine(),
    }
    measuring.print_and_save(result, _OUTPUT.value)


if __name__ == "__main__":
    app.run(main)
