"""Exact search against faiss's flat index: ``python -m benchmarks.exact``; needs the extra ``benchmarks``.

Random vectors of norm 1, in clusters if asked for; one query and many take turns between the two, and their results are
compared.
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

_ROWS = flags.DEFINE_integer("rows", 1_000_000, "Rows of the database.", lower_bound=1)
_DIM = flags.DEFINE_integer("dim", 512, "Numbers of a row.", lower_bound=1)
_CLUSTERS = flags.DEFINE_integer("clusters", 0, "Centres around which rows and queries lie; 0: none.", lower_bound=0)
_QUERIES = flags.DEFINE_list("queries", ["1", "256"], "Numbers of queries that are asked together.")
_COUNT = flags.DEFINE_integer("count", 100, "Neighbours of each query.", lower_bound=1)
_ROUNDS = flags.DEFINE_integer("rounds", 7, "Searches of each kind.", lower_bound=1)
_OUTPUT = flags.DEFINE_string("output", "", "A file for the JSON.")


def main(argv: Sequence[str]) -> None:
    """Measures, compares, writes."""
    del argv
    random = np.random.default_rng(0)
    centres = np.zeros((1, _DIM.value), np.float32)
    if _CLUSTERS.value:
        centres = random.standard_normal((_CLUSTERS.value, _DIM.value), dtype=np.float32)
    database = unit_rows(random, _ROWS.value, centres)
    index = faiss.IndexFlatIP(_DIM.value)
    index.add(database)
    held = database if jax.default_backend() == "cpu" else jax.device_put(database)
    compacted = compact(jnp.asarray(database))
    rows = []
    for count in map(int, _QUERIES.value):
        queries = np.array(unit_rows(random, count, centres))
        asked = jnp.asarray(queries)
        run: dict[str, Callable[[], Any]] = {
            "ours": functools.partial(search, asked, held, None),
            "ours, compact": functools.partial(search, asked, held, compacted),
            "faiss": functools.partial(index.search, queries, _COUNT.value),
        }
        seconds = measuring.take_turns(run, _ROUNDS.value)
        found, same, theirs = (call()[1] for call in run.values())
        rows.append(
            {
                "queries": count,
                "seconds": {name: measuring.spread(values) for name, values in seconds.items()},
                "faiss_per_ours": measuring.ratio(seconds["faiss"], seconds["ours"]),
                "faiss_per_compact": measuring.ratio(seconds["faiss"], seconds["ours, compact"]),
                "same_as_faiss": float(np.mean(found == theirs)),
                "compact_same": float(np.mean(found == same)),
                "differences": differences(queries, database, found, theirs),
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
        "machine": measuring.machine(),
        "rows": rows,
    }
    measuring.write(result, _OUTPUT.value)


def search(
    queries: jax.Array, database: jax.Array | np.ndarray, compact: CompactDatabase | None
) -> tuple[np.ndarray, np.ndarray]:
    """Scores and rows on the host, as faiss gives them."""
    found = nearest(queries, database, _COUNT.value, compact=compact)
    return np.asarray(found.scores), np.asarray(found.rows)


def unit_rows(random: np.random.Generator, count: int, centres: np.ndarray) -> np.ndarray:
    """Random rows of norm 1 around any of the centres, in memory that begins at a page."""
    dim = centres.shape[1]
    rows: np.ndarray = np.frombuffer(mmap.mmap(-1, 4 * count * dim), np.float32).reshape(count, dim)
    for start in range(0, count, 50_000):
        part = random.standard_normal((min(50_000, count - start), dim), dtype=np.float32)
        part += centres[random.integers(0, len(centres), len(part))]
        rows[start : start + len(part)] = part / np.linalg.norm(part, axis=1, keepdims=True)
    return rows


def differences(queries: np.ndarray, database: np.ndarray, first: np.ndarray, second: np.ndarray) -> dict[str, float]:
    """Where two rankings differ: in how many places, and by how much the cosines of the two rows do, in float64."""
    query, place = np.nonzero(first != second)
    if len(query) == 0:
        return {"places": 0, "largest": 0.0}
    asked = queries[query].astype(np.float64)
    ours, theirs = (np.sum(asked * database[rows[query, place]], axis=1) for rows in (first, second))
    return {"places": len(query), "largest": float(np.abs(ours - theirs).max())}


if __name__ == "__main__":
    app.run(main)
