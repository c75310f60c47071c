"""The table of an index in LanceDB, against the same calls on SQLite.

python -m benchmarks.tables --pictures=20000

Fills both in windows, then reads, asks for changes, replaces and removes, in turns.
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

_PICTURES = flags.DEFINE_integer("pictures", 20000, "How many.", lower_bound=1000)
_DIM = flags.DEFINE_integer("dim", 256, "Numbers of a descriptor.", lower_bound=1)
_WINDOW = flags.DEFINE_integer("window", 512, "Pictures that are put together.", lower_bound=1)
_ROUNDS = flags.DEFINE_integer("rounds", 7, "Calls of each kind.", lower_bound=1)
_OUTPUT = flags.DEFINE_string("output", "", "A file for the JSON.")

FIELDS = tuple(field.name for field in dataclasses.fields(TableEntry))


class SqliteStore:
    """`Store` in SQLite."""

    def __init__(self, file: pathlib.Path, dim: int) -> None:
        self._dim = dim
        self._database = sqlite3.connect(file)
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute(f"CREATE TABLE pictures ({', '.join(FIELDS)}, descriptor BLOB, PRIMARY KEY (path))")

    def version(self) -> int:
        """See `Store`; other processes' changes alone."""
        return int(self._database.execute("PRAGMA data_version").fetchone()[0])

    def entries(self) -> tuple[TableEntry, ...]:
        """See `Store`."""
        rows = self._database.execute(f"SELECT {', '.join(FIELDS)} FROM pictures ORDER BY path")  # noqa: S608
        return tuple(TableEntry(*row) for row in rows)

    def snapshot(self, rows: range | None = None) -> Snapshot:
        """See `Store`."""
        among = rows or range(2**62)
        where = "WHERE row >= ? AND row < ? ORDER BY path"
        found = self._database.execute(
            f"SELECT {', '.join(FIELDS)}, descriptor FROM pictures {where}",  # noqa: S608
            (among.start, among.stop),
        ).fetchall()
        values = np.frombuffer(b"".join(row[-1] for row in found), np.float32).reshape(-1, self._dim)
        return Snapshot(self.version(), tuple(TableEntry(*row[:-1]) for row in found), values)

    def put(self, entries: Sequence[TableEntry], descriptors: Float[np.ndarray, "n d"]) -> None:
        """See `Store`."""
        rows = [(*dataclasses.astuple(one), row.tobytes()) for one, row in zip(entries, descriptors, strict=True)]
        with self._database:
            marks = ", ".join("?" * len(rows[0]))
            self._database.executemany(f"REPLACE INTO pictures VALUES ({marks})", rows)  # noqa: S608

    def remove(self, paths: Sequence[str]) -> None:
        """See `Store`."""
        with self._database:
            self._database.executemany("DELETE FROM pictures WHERE path = ?", [(path,) for path in paths])

    def tidy(self) -> None:
        """See `Store`."""

    def drop(self) -> None:
        """See `Store`."""
        self._database.execute("DROP TABLE pictures")


def main(argv: Sequence[str]) -> None:
    """Fills, calls, compares."""
    del argv
    random = np.random.default_rng(0)
    descriptors = random.normal(size=(_PICTURES.value, _DIM.value)).astype(np.float32)
    entries = [TableEntry(f"2026/{i:08d}.jpg", f"{i:064x}", i, i, i, 640, 480, i) for i in range(len(descriptors))]
    with tempfile.TemporaryDirectory() as folder:
        place = pathlib.Path(folder)
        stores: dict[str, TableStore] = {
            "lance": LanceStore(place / "lance", _DIM.value),
            "sqlite": SqliteStore(place / "sqlite", _DIM.value),
        }
        windows = range(0, len(entries), _WINDOW.value)

        def fill(store: TableStore) -> None:
            for start in windows:
                part = slice(start, start + _WINDOW.value)
                store.put(entries[part], descriptors[part])
            store.tidy()

        fewer = [entry.path for entry in entries[::200]]
        calls: dict[str, Callable[[TableStore], object]] = {
            "snapshot": lambda store: store.snapshot(),
            "entries": lambda store: store.entries(),
            "version": lambda store: store.version(),
            "replace a window": lambda store: store.put(entries[: _WINDOW.value], descriptors[: _WINDOW.value]),
            "remove 1 in 200": lambda store: store.remove(fewer),
        }
        filling = {name: functools.partial(fill, store) for name, store in stores.items()}
        taken = measuring.take_turns(filling, 1, warm_up=0)
        seconds = {"fill": {name: measuring.spread(times) for name, times in taken.items()}}
        for what, call in calls.items():
            taken = measuring.take_turns(
                {name: functools.partial(call, store) for name, store in stores.items()}, _ROUNDS.value
            )
            seconds[what] = {name: measuring.spread(times) for name, times in taken.items()}
    result = {
        "what": "seconds of a call on an index's table",
        "pictures": _PICTURES.value,
        "dim": _DIM.value,
        "window": _WINDOW.value,
        "seconds": seconds,
        "machine": measuring.machine(),
    }
    measuring.write(result, _OUTPUT.value)


if __name__ == "__main__":
    app.run(main)
