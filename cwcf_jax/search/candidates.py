"""The two compiled steps of exact search: the best groups of rows, and the best rows of these.

A matrix product scores blocks of rows, and of each small group of rows only the highest score is kept: the k best rows
lie in the k best groups. (`jax.lax.approx_max_k` bins rows likewise, and loses those that share a bin; here all rows of
the best groups are scored.) The product may be in 16 bits, where the hardware has units for it, or in 8. The rows that
are left are scored as `similarities` scores them, so that equal rows tie and the earlier one comes first, whatever the
order in which a matrix product adds up.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Int8

from cwcf_jax.arrays import einsum
from cwcf_jax.search.similarity import Ranking, similarities

BLOCK = 2048
"""Rows that are scored together."""

GROUP = 16
"""Rows of which the best one stands for all."""

MARGIN = 28
"""Groups, and then rows, beyond k that are scored exactly."""

BFLOAT16_MARGIN = 128
"""As many where blocks are scored in bfloat16."""

COMPACT_MARGIN = 4
"""k times as many where blocks are scored in 8 bits."""

MAX_SINGLE_QUERIES = 4
"""Queries up to which a pass over the database takes longer than their arithmetic: they are scored in float32."""

BFLOAT16 = 2.0**-8
"""The largest share of a number that rounding to bfloat16 takes or adds."""

ROUNDING = 1e-5
"""More than the scores of a matrix product and of `similarities` differ by, for vectors of norm 1."""

Rows = Float[Array, "n d"] | Float[np.ndarray, "n d"]
"""A database, on a device or in the host's memory."""


class CompactDatabase(NamedTuple):
    """A database in a quarter of its bytes, to find the rows that are worth an exact look.

    ``values`` [n, d], int8; ``scales`` [n], what to multiply each row of them by; ``error``, the largest distance
    between a row and what they say of it.
    """

    values: Int8[Array, "n d"]
    scales: Float[Array, " n"]
    error: Float[Array, ""]


class Candidates(NamedTuple):
    """What was found, and for which queries it is sure that nothing else belongs there."""

    ranking: Ranking
    certain: Bool[Array, " q"]


class _ScoringSource(NamedTuple):
    """What blocks are scored from: a database, or what a compact one says of it."""

    values: Rows | Int8[Array, "n d"]
    scales: Float[Array, " n"] | None


class _Groups(NamedTuple):
    """Groups of rows: ``maxima`` [q, g], the best score in each; ``first`` and ``last`` [g], the rows they hold."""

    maxima: Float[Array, "q g"]
    first: Int[Array, " g"]
    last: Int[Array, " g"]


def find(
    queries: Float[Array, "q d"], database: Rows, *, compact: CompactDatabase | None, count: int, scoring: str
) -> Candidates:
    """The ``count`` nearest rows, and whether no row that was not looked at can be one of them.

    Two compiled steps and not one: XLA on a CPU copies an array that two loops of one program read.
    """
    margin, error = MARGIN, jnp.zeros(len(queries))
    source = _ScoringSource(database, None) if compact is None else _ScoringSource(compact.values, compact.scales)
    if scoring == "bfloat16":
        margin = BFLOAT16_MARGIN
        rounded = queries.astype(scoring).astype(jnp.float32)
        error = jnp.linalg.norm(queries - rounded, axis=-1)
    if compact is not None:  # its integers are the same in bfloat16
        margin, error = COMPACT_MARGIN * count, error + compact.error * (1 + BFLOAT16)
    elif scoring == "bfloat16":
        error = error + BFLOAT16 * (1 + BFLOAT16)
    groups, best, chosen = _best_groups(queries, source, count=count + margin, scoring=scoring)
    return _refined(queries, database, groups, best, chosen, error, count=count)


@functools.partial(jax.jit, static_argnames=("count", "scoring"))
def _best_groups(
    queries: Float[Array, "q d"], source: _ScoringSource, *, count: int, scoring: str
) -> tuple[_Groups, Float[Array, "q g"], Int[Array, "q g"]]:
    """All groups, and of each query's best ones their highest scores and which they are."""
    groups = (
        _single_rows(queries, source)
        if queries.shape[0] <= MAX_SINGLE_QUERIES
        else _in_blocks(queries, source, scoring)
    )
    return groups, *jax.lax.top_k(groups.maxima, min(count, groups.first.shape[0]))


@functools.partial(jax.jit, static_argnames="count")
def _refined(
    queries: Float[Array, "q d"],
    database: Rows,
    groups: _Groups,
    best: Float[Array, "q g"],
    chosen: Int[Array, "q g"],
    error: Float[Array, " q"],
    *,
    count: int,
) -> Candidates:
    """The best rows of the chosen groups."""
    looked_at = chosen.shape[1]
    size = 1 if queries.shape[0] <= MAX_SINGLE_QUERIES else GROUP

    def refine(one: tuple[Float[Array, " d"], Int[Array, " g"]]) -> tuple[Ranking, Float[Array, ""]]:
        query, chosen = one
        last = groups.last[chosen][:, None]
        rows = jnp.minimum(groups.first[chosen][:, None] + jnp.arange(size)[None, :], last)
        again = jnp.concatenate([jnp.zeros((looked_at, 1), bool), jnp.diff(rows) == 0], axis=1).reshape(-1)
        rows = rows.reshape(-1)
        scores = jnp.where(again, -jnp.inf, einsum("rd,d->r", database[rows], query))
        kept, places = jax.lax.top_k(scores, min(count + MARGIN, rows.shape[0]))
        least = kept[-1] if len(places) < len(rows) else jnp.asarray(-jnp.inf)
        rows = rows[places]
        scores = jnp.where(kept > -jnp.inf, similarities(query, database[rows]), -jnp.inf)
        scores, rows = jax.lax.sort((-scores, rows), num_keys=2)
        return Ranking(-scores[:count], rows[:count]), least

    found, least = jax.lax.map(refine, (queries, chosen), batch_size=2)
    certain = found.scores[:, -1] > best[:, -1] + ROUNDING + error  # no other group holds one of them
    certain |= looked_at == groups.first.shape[0]
    return Candidates(found, certain & (found.scores[:, -1] > least + ROUNDING))  # nor any other row of these groups


def _single_rows(queries: Float[Array, "q d"], source: _ScoringSource) -> _Groups:
    """Every row for itself: for few queries one pass over the database is all there is to do."""
    rows = jnp.arange(source.values.shape[0])
    if source.scales is None:
        return _Groups(jax.lax.map(lambda query: einsum("nd,d->n", source.values, query), queries), rows, rows)
    # One row after the other: a product would first make floats of all of them.
    scores = jax.lax.map(lambda query: similarities(query, jnp.asarray(source.values).astype(jnp.float32)), queries)
    return _Groups(scores * source.scales[None, :], rows, rows)


def _in_blocks(queries: Float[Array, "q d"], source: _ScoringSource, scoring: str) -> _Groups:
    """Groups of `GROUP` rows, the last one of what is left."""
    length = source.values.shape[0]
    blocks, left = divmod(length, BLOCK)
    asked = queries.astype(scoring)

    def one_block(begin: Int[Array, ""], count: int = BLOCK) -> Float[Array, "g q"]:
        part = jax.lax.dynamic_slice_in_dim(source.values, begin, count)
        scores = einsum("rd,qd->rq", part.astype(scoring), asked)
        if source.scales is not None:
            scores = scores * jax.lax.dynamic_slice_in_dim(source.scales, begin, count)[:, None]
        scores = jnp.pad(scores, ((0, -count % GROUP), (0, 0)), constant_values=-jnp.inf)
        return jnp.max(scores.reshape(-1, GROUP, scores.shape[1]), axis=1)

    parts = []
    if blocks:
        parts.append(jax.lax.map(one_block, jnp.arange(blocks) * BLOCK).reshape(-1, queries.shape[0]))
    if left:
        parts.append(one_block(jnp.asarray(blocks * BLOCK), left))
    maxima = jnp.concatenate(parts)
    first = jnp.arange(maxima.shape[0]) * GROUP
    return _Groups(maxima.T, first, jnp.minimum(first + GROUP, length) - 1)
