"""This benchmark compares exact search with faiss's flat index: ``python -m benchmarks.exact``.

The extra ``benchmarks`` must be installed. The vectors are random, of norm 1, and clustered if --clusters is set. Both
search in turns for a single query and for many queries; their results are compared.
"""

import functools
import mmap
from collections.abc import Callable, Sequence
from typing import Any

import faiss
import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

from benchmarks import measuring
from cwcf_jax.search import CompactDatabase, compact, exact, nearest

_ROWS = flags.DEFINE_integer("rows", 1_000_000, "Number of rows of the database.", lower_bound=1)
_DIM = flags.DEFINE_integer("dim", 512, "Dimensions of a row.", lower_bound=1)
_CLUSTERS = flags.DEFINE_integer(
    "clusters", 0, "Number of centres around which rows and queries lie; 0 for none.", lower_bound=0
)
_QUERIES = flags.DEFINE_list("queries", ["1", "256"], "Numbers of queries that are searched together.")
_COUNT = flags.DEFINE_integer("count", 100, "Number of neighbours of each query.", lower_bound=1)
_ROUNDS = flags.DEFINE_integer("rounds", 7, "Number of searches of each kind.", lower_bound=1)
_OUTPUT = flags.DEFINE_string("output", "", "File for the results as JSON; empty for none.")


def main(argv: Sequence[str]) -> None:
    """Measures and compares all searches, and prints and saves the results."""
    del argv
    random = np.random.default_rng(0)
    centres = np.zeros((1, _DIM.value), np.float32)
    if _CLUSTERS.value:
        centres = random.standard_normal((_CLUSTERS.value, _DIM.value), dtype=np.float32)
    database = draw_unit_rows(random, _ROWS.value, centres)
    index = faiss.IndexFlatIP(_DIM.value)
    index.add(database)
    device_database = database if jax.default_backend() == "cpu" else jax.device_put(database)
    compact_database = compact(jnp.asarray(database))
    rows = []
    for count in map(int, _QUERIES.value):
        queries = np.array(draw_unit_rows(random, count, centres))
        device_queries = jnp.asarray(queries)
        run: dict[str, Callable[[], Any]] = {
            "ours": functools.partial(search, device_queries, device_database, None),
            "ours, compact": functools.partial(search, device_queries, device_database, compact_database),
            "faiss": functools.partial(index.search, queries, _COUNT.value),
        }
        seconds = measuring.take_turns(run, _ROUNDS.value)
        ours, ours_compact, faiss_rows = (call()[1] for call in run.values())
        rows.append(
            {
                "queries": count,
                "seconds": {name: measuring.spread(values) for name, values in seconds.items()},
                "faiss_per_ours": measuring.ratio(seconds["faiss"], seconds["ours"]),
                "faiss_per_compact": measuring.ratio(seconds["faiss"], seconds["ours, compact"]),
                "same_as_faiss": float(np.mean(ours == faiss_rows)),
                "compact_same": float(np.mean(ours == ours_compact)),
                "differences": compare_rankings(queries, database, ours, faiss_rows),
            }
        )
        print(rows[-1], flush=True)
    result = {
        "what": "exact search by cosine, seconds",
        "rows_of_the_database": _ROWS.value,
        "dim": _DIM.value,
        "clusters": _CLUSTERS.value,
        "neighbours": _COUNT.value,
        "scoring": exact.native_scoring(),
        "faiss": faiss.__version__,
        "machine": measuring.describe_machine(),
        "rows": rows,
    }
    measuring.print_and_save(result, _OUTPUT.value)


def search(
    queries: jax.Array, database: jax.Array | np.ndarray, compact: CompactDatabase | None
) -> tuple[np.ndarray, np.ndarray]:
    """Returns scores and rows on the host, as faiss returns them."""
    neighbours = nearest(queries, database, _COUNT.value, compact=compact)
    return np.asarray(neighbours.scores), np.asarray(neighbours.rows)


def draw_unit_rows(random: np.random.Generator, count: int, centres: np.ndarray) -> np.ndarray:
    """Draws rows of norm 1, each around one of the centres, in memory that is aligned to pages."""
    dim = centres.shape[1]
    rows: np.ndarray = np.frombuffer(mmap.mmap(-1, 4 * count * dim), np.float32).reshape(count, dim)
    for start in range(0, count, 50_000):
        block = random.standard_normal((min(50_000, count - start), dim), dtype=np.float32)
        block += centres[random.integers(0, len(centres), len(block))]
        rows[start : start + len(block)] = block / np.linalg.norm(block, axis=1, keepdims=True)
    return rows


def compare_rankings(
    queries: np.ndarray, database: np.ndarray, first: np.ndarray, second: np.ndarray
) -> dict[str, float]:
    """Returns at how many ranks two rankings differ, and the largest difference of the cosines there, in float64."""
    query, rank = np.nonzero(first != second)
    if len(query) == 0:
        return {"places": 0, "largest": 0.0}
    differing_queries = queries[query].astype(np.float64)
    first_cosines, second_cosines = (
        np.sum(differing_queries * database[rows[query, rank]], axis=1) for rows in (first, second)
    )
    return {"places": len(query), "largest": float(np.abs(first_cosines - second_cosines).max())}


if __name__ == "__main__":
    app.run(main)
