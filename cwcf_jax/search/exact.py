"""This module finds exact nearest neighbours by cosine in databases of any length, without copying the database.

`candidates` finds the rows that are worth an exact score. Where the rounding of 16 or 8 bits leaves a query in doubt,
the database is scored in float32. Where ties leave a query in doubt, `similarities` alone ranks the rows.
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
from cwcf_jax.search.candidates import Candidates, CompactDatabase, DescriptorRows
from cwcf_jax.search.similarity import Ranking, similarities

BLOCK_QUERIES = 256
"""The number of queries that are answered together; memory holds one number for each query and group."""

SCORINGS = "float32", "bfloat16"
"""The number types that blocks may be scored in."""


def nearest(
    queries: Float[Array, "q d"],
    database: DescriptorRows,
    count: int,
    *,
    compact: CompactDatabase | None = None,
    scoring: str | None = None,
) -> Ranking:
    """Finds the ``count`` rows most similar to each query, in the order that sorting all `similarities` gives.

    Equal rows keep their order. Different rows may come in either order if their cosines are equal up to the rounding
    of float32.

    Args:
        queries: vectors of norm 1 (or zero).
        database: vectors of norm 1 (or zero). A numpy array, memory-mapped or not, is read without a copy if its data
            begins at a multiple of 64 bytes.
        count: k; a database with fewer rows returns all of them.
        compact: compact copy of the database: blocks are scored in 8 bits, and only the best rows in full precision.
        scoring: one of `SCORINGS`; changes the speed, not the result. None: `native_scoring`.

    Raises:
        ValueError: k is not positive, the scoring is unknown, or shapes do not fit.
    """
    scoring = _check(queries, database, count, scoring)
    count = min(count, database.shape[0])
    fallback = functools.partial(exhaustive, database=database, count=count)
    parts = []
    for start in range(0, len(queries), BLOCK_QUERIES):
        part = queries[start : start + BLOCK_QUERIES]
        parts.append(_first_certain(part, _finders(len(part), database, count, compact, scoring), fallback))
    return Ranking(*(jnp.concatenate(columns) for columns in zip(*parts, strict=True)))


def _finders(
    num_queries: int, database: DescriptorRows, count: int, compact: CompactDatabase | None, scoring: str
) -> list[Callable[[Array], Candidates]]:
    """Returns functions that find candidates: the fastest first, the most precise last."""
    find = functools.partial(candidates.find, database=database, count=count)
    scoring = scoring if num_queries > candidates.MAX_SINGLE_QUERIES else "float32"
    finders: list[Callable[[Array], Candidates]] = [functools.partial(find, compact=compact, scoring=scoring)]
    if compact is not None or scoring != "float32":
        finders.append(functools.partial(find, compact=None, scoring="float32"))
    return finders


@functools.cache
def native_scoring() -> str:
    """Returns bfloat16 if the default device is an accelerator or a CPU with bfloat16 units, according to Linux."""
    if jax.default_backend() != "cpu":
        return "bfloat16"
    return "bfloat16" if {"avx512_bf16", "amx_bf16"} & hardware.processor_flags() else "float32"


@functools.partial(jax.jit, static_argnames="count")
def exhaustive(queries: Float[Array, "q d"], database: DescriptorRows, count: int) -> Ranking:
    """Computes the result of `nearest` by its definition: all `similarities`, one query after another. It is slower."""
    best = jax.lax.map(lambda query: jax.lax.top_k(similarities(query, jnp.asarray(database)), count), queries)
    return Ranking(*best)


@jax.jit
def compact(database: Float[Array, "n d"]) -> CompactDatabase:
    """Makes a compact copy of a database, for `nearest`."""
    values, scales = quantize(database)
    error = jnp.max(jnp.linalg.norm(dequantize(values, scales) - database, axis=-1))
    return CompactDatabase(values, scales, error)


def _check(queries: Float[Array, "q d"], database: DescriptorRows, count: int, scoring: str | None) -> str:
    if count < 1:
        raise ValueError(f"a search returns at least 1 row, not {count}")
    if len(queries) == 0 or database.shape[0] == 0:
        raise ValueError(f"a search needs queries and rows: {len(queries)} queries, {database.shape[0]} rows")
    if scoring not in (None, *SCORINGS):
        raise ValueError(f"unknown scoring {scoring!r}; known: {', '.join(SCORINGS)}")
    return scoring or native_scoring()


def _first_certain(
    queries: Float[Array, "q d"], finders: list[Callable[[Array], Candidates]], fallback: Callable[[Array], Ranking]
) -> Ranking:
    """Returns each query's ranking from the first finder that is certain of the ranking.

    If no finder is certain, ``fallback`` ranks the rows: one query a call, so that only one shape is compiled.
    """
    ranking, certain = finders[0](queries)
    for find in finders[1:]:
        if not np.all(certain):
            other_ranking, other_certain = find(queries)
            pairs = zip(ranking, other_ranking, strict=True)
            ranking = Ranking(*(jnp.where(certain[:, None], *pair) for pair in pairs))
            certain |= other_certain
    for i in np.flatnonzero(~np.asarray(certain)).tolist():
        exact = fallback(queries[i : i + 1])
        ranking = Ranking(*(jnp.asarray(old).at[i].set(new[0]) for old, new in zip(ranking, exact, strict=True)))
    return ranking
