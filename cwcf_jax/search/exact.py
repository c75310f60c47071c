"""Exact nearest neighbours by cosine over databases of any length, without a copy of them.

`candidates` says which rows are worth an exact look. Where the rounding of 16 or 8 bits leaves a doubt about them, the
database is scored in float32, and where ties leave one, the query is answered by `similarities` alone.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from cwcf_jax import hardware
from cwcf_jax.arrays import dequantize, quantize
from cwcf_jax.search import candidates
from cwcf_jax.search.candidates import Candidates, CompactDatabase, Rows
from cwcf_jax.search.similarity import Ranking, similarities

QUERIES = 256
"""Queries that are answered together: what is kept of them is one number a group."""

SCORINGS = "float32", "bfloat16"
"""What blocks may be scored in."""


def nearest(
    queries: Float[Array, "q d"],
    database: Rows,
    count: int,
    *,
    compact: CompactDatabase | None = None,
    scoring: str | None = None,
) -> Ranking:
    """The ``count`` rows most similar to each query, as sorting all `similarities` would give them.

    Equal rows come in their order; different ones whose cosines are equal to the rounding of float32, in either.

    Args:
        queries: of norm 1 (or zero).
        database: of norm 1 (or zero); a numpy array, memory-mapped or not, is read where it lies if it begins at a
            multiple of 64 bytes.
        count: k; a database of fewer rows gives all of them.
        compact: of the database: the blocks are then scored in 8 bits, and only the best rows in full precision.
        scoring: one of `SCORINGS`, for speed: the result is the same. None: `native_scoring`.

    Raises:
        ValueError: k is not positive, the scoring is unknown, or shapes do not fit.
    """
    scoring = _check(queries, database, count, scoring)
    count = min(count, database.shape[0])
    last = functools.partial(exhaustive, database=database, count=count)
    parts = []
    for start in range(0, len(queries), QUERIES):
        part = queries[start : start + QUERIES]
        parts.append(_first_certain(part, _ways(len(part), database, count, compact, scoring), last))
    return Ranking(*(jnp.concatenate(columns) for columns in zip(*parts, strict=True)))


def _ways(
    queries: int, database: Rows, count: int, compact: CompactDatabase | None, scoring: str
) -> list[Callable[[Array], Candidates]]:
    """The quickest first, then the surest."""
    find = functools.partial(candidates.find, database=database, count=count)
    scoring = scoring if queries > candidates.MAX_SINGLE_QUERIES else "float32"
    ways: list[Callable[[Array], Candidates]] = [functools.partial(find, compact=compact, scoring=scoring)]
    if compact is not None or scoring != "float32":
        ways.append(functools.partial(find, compact=None, scoring="float32"))
    return ways


@functools.cache
def native_scoring() -> str:
    """bfloat16 where the default device multiplies it faster than float32; on a CPU, where Linux says that it can."""
    if jax.default_backend() != "cpu":
        return "bfloat16"
    return "bfloat16" if {"avx512_bf16", "amx_bf16"} & hardware.processor_flags() else "float32"


@functools.partial(jax.jit, static_argnames="count")
def exhaustive(queries: Float[Array, "q d"], database: Rows, count: int) -> Ranking:
    """`nearest`, one query after another by `similarities`: the definition, and the slower way."""
    best = jax.lax.map(lambda query: jax.lax.top_k(similarities(query, jnp.asarray(database)), count), queries)
    return Ranking(*best)


@jax.jit
def compact(database: Float[Array, "n d"]) -> CompactDatabase:
    """A compact copy of a database, for `nearest`."""
    values, scales = quantize(database)
    error = jnp.max(jnp.linalg.norm(dequantize(values, scales) - database, axis=-1))
    return CompactDatabase(values, scales, error)


def _check(queries: Float[Array, "q d"], database: Rows, count: int, scoring: str | None) -> str:
    if count < 1:
        raise ValueError(f"a search finds at least 1 row, not {count}")
    if len(queries) == 0 or database.shape[0] == 0:
        raise ValueError(f"nothing to search: {len(queries)} queries, {database.shape[0]} rows")
    if scoring not in (None, *SCORINGS):
        raise ValueError(f"unknown scoring {scoring!r}; known: {', '.join(SCORINGS)}")
    return scoring or native_scoring()


def _first_certain(
    queries: Float[Array, "q d"], ways: list[Callable[[Array], Candidates]], last: Callable[[Array], Ranking]
) -> Ranking:
    """Take each query's ranking from the first way that leaves no doubt about it.

    A query that all ways leave in doubt is answered by ``last``: one query a call, whose shape is compiled once.
    """
    found, certain = ways[0](queries)
    for way in ways[1:]:
        if not np.all(certain):
            again, sure = way(queries)
            found = Ranking(*(jnp.where(certain[:, None], *both) for both in zip(found, again, strict=True)))
            certain |= sure
    for i in np.flatnonzero(~np.asarray(certain)).tolist():
        again = last(queries[i : i + 1])
        found = Ranking(*(jnp.asarray(old).at[i].set(new[0]) for old, new in zip(found, again, strict=True)))
    return found
