"""This module has the two compiled steps of exact search: find the best groups of rows, then the best rows in them.

A matrix product scores blocks of rows, and only the highest score of each small group of rows is kept: the k best rows
lie in the k best groups. (`jax.lax.approx_max_k` bins rows in the same way, but loses rows that share a bin; here all
rows of the best groups are scored.) The product may be computed in 16 bits, where the hardware has units for them, or
in 8 bits. The rows of the best groups are scored by `similarities`, so that equal rows tie and the earlier row comes
first, whatever the order in which a matrix product sums.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Int8

from cwcf_jax.arrays import einsum
from cwcf_jax.search.similarity import Ranking, similarities

BLOCK_ROWS = 2048
"""The number of rows that one matrix product scores."""

GROUP_ROWS = 16
"""The number of rows in a group, of which only the highest score is kept."""

MARGIN = 28
"""The number of groups, and then of rows, beyond k that are scored exactly."""

BFLOAT16_MARGIN = 128
"""The number of groups beyond k where blocks are scored in bfloat16."""

COMPACT_MARGIN_FACTOR = 4
"""The number of groups beyond k where blocks are scored in 8 bits, as a multiple of k."""

MAX_SINGLE_QUERIES = 4
"""The largest number of queries that are scored row by row in float32.

For so few queries, reading the database takes longer than the arithmetic.
"""

BFLOAT16_ERROR = 2.0**-8
"""The largest relative error of rounding to bfloat16."""

SCORE_ERROR = 1e-5
"""An upper bound of the difference between scores of a matrix product and of `similarities`, for vectors of norm 1."""

DescriptorRows = Float[Array, "n d"] | Float[np.ndarray, "n d"]
"""A database, on a device or in the host's memory."""


class CompactDatabase(NamedTuple):
    """A `CompactDatabase` is an int8 copy of a database, used to find the rows that are worth an exact score.

    Attributes:
        values: shape [n, d], int8.
        scales: shape [n]; factor of each row of ``values``.
        error: largest distance between a row of the database and its int8 copy.
    """

    values: Int8[Array, "n d"]
    scales: Float[Array, " n"]
    error: Float[Array, ""]


class Candidates(NamedTuple):
    """A `Candidates` holds a ranking for each query.

    Attributes:
        ranking: best rows of each query.
        certain: shape [q]; whether the ranking of a query is certainly exact.
    """

    ranking: Ranking
    certain: Bool[Array, " q"]


class _ScoringSource(NamedTuple):
    """The rows that blocks are scored from: those of a database, or the int8 values and scales of a compact copy."""

    values: DescriptorRows | Int8[Array, "n d"]
    scales: Float[Array, " n"] | None


class _Groups(NamedTuple):
    """A `_Groups` holds the best score ``maxima``, the ``first`` and the ``last`` row of each group of a database."""

    maxima: Float[Array, "q g"]
    first: Int[Array, " g"]
    last: Int[Array, " g"]


def find(
    queries: Float[Array, "q d"], database: DescriptorRows, *, compact: CompactDatabase | None, count: int, scoring: str
) -> Candidates:
    """Finds the ``count`` nearest rows of each query, and says for which queries no other row can be among them.

    There are two compiled steps instead of one, because XLA on a CPU copies an array that two loops of a program read.
    """
    margin, error = MARGIN, jnp.zeros(len(queries))
    source = _ScoringSource(database, None) if compact is None else _ScoringSource(compact.values, compact.scales)
    if scoring == "bfloat16":
        margin = BFLOAT16_MARGIN
        rounded = queries.astype(scoring).astype(jnp.float32)
        error = jnp.linalg.norm(queries - rounded, axis=-1)
    if compact is not None:  # bfloat16 represents the integers of a compact database exactly
        margin, error = COMPACT_MARGIN_FACTOR * count, error + compact.error * (1 + BFLOAT16_ERROR)
    elif scoring == "bfloat16":
        error = error + BFLOAT16_ERROR * (1 + BFLOAT16_ERROR)
    groups, best_maxima, best_groups = _best_groups(queries, source, count=count + margin, scoring=scoring)
    return _rank_group_rows(queries, database, groups, best_maxima, best_groups, error, count=count)


@functools.partial(jax.jit, static_argnames=("count", "scoring"))
def _best_groups(
    queries: Float[Array, "q d"], source: _ScoringSource, *, count: int, scoring: str
) -> tuple[_Groups, Float[Array, "q g"], Int[Array, "q g"]]:
    """Returns all groups, and the highest scores and the numbers of each query's best groups."""
    groups = (
        _score_rows(queries, source)
        if queries.shape[0] <= MAX_SINGLE_QUERIES
        else _score_blocks(queries, source, scoring)
    )
    return groups, *jax.lax.top_k(groups.maxima, min(count, groups.first.shape[0]))


@functools.partial(jax.jit, static_argnames="count")
def _rank_group_rows(
    queries: Float[Array, "q d"],
    database: DescriptorRows,
    groups: _Groups,
    best_maxima: Float[Array, "q g"],
    best_groups: Int[Array, "q g"],
    error: Float[Array, " q"],
    *,
    count: int,
) -> Candidates:
    """Ranks the rows of each query's best groups."""
    num_groups = best_groups.shape[1]
    size = 1 if queries.shape[0] <= MAX_SINGLE_QUERIES else GROUP_ROWS

    def rank_rows(query_groups: tuple[Float[Array, " d"], Int[Array, " g"]]) -> tuple[Ranking, Float[Array, ""]]:
        query, chosen = query_groups
        last = groups.last[chosen][:, None]
        rows = jnp.minimum(groups.first[chosen][:, None] + jnp.arange(size)[None, :], last)
        repeated = jnp.concatenate([jnp.zeros((num_groups, 1), bool), jnp.diff(rows) == 0], axis=1).reshape(-1)
        rows = rows.reshape(-1)
        scores = jnp.where(repeated, -jnp.inf, einsum("rd,d->r", database[rows], query))
        kept, positions = jax.lax.top_k(scores, min(count + MARGIN, rows.shape[0]))
        lowest_kept = kept[-1] if len(positions) < len(rows) else jnp.asarray(-jnp.inf)
        rows = rows[positions]
        scores = jnp.where(kept > -jnp.inf, similarities(query, database[rows]), -jnp.inf)
        scores, rows = jax.lax.sort((-scores, rows), num_keys=2)
        return Ranking(-scores[:count], rows[:count]), lowest_kept

    ranking, lowest_kept = jax.lax.map(rank_rows, (queries, best_groups), batch_size=2)
    last_scores = ranking.scores[:, -1]
    certain = last_scores > best_maxima[:, -1] + SCORE_ERROR + error  # no other group has a better row
    certain |= num_groups == groups.first.shape[0]
    return Candidates(ranking, certain & (last_scores > lowest_kept + SCORE_ERROR))  # nor have these groups


def _score_rows(queries: Float[Array, "q d"], source: _ScoringSource) -> _Groups:
    """Scores every row as a group of its own, by one pass over the database for each query."""
    rows = jnp.arange(source.values.shape[0])
    if source.scales is None:
        return _Groups(jax.lax.map(lambda query: einsum("nd,d->n", source.values, query), queries), rows, rows)
    # `similarities` converts one row at a time; a matrix product would convert the whole database to float32 first.
    scores = jax.lax.map(lambda query: similarities(query, jnp.asarray(source.values).astype(jnp.float32)), queries)
    return _Groups(scores * source.scales[None, :], rows, rows)


def _score_blocks(queries: Float[Array, "q d"], source: _ScoringSource, scoring: str) -> _Groups:
    """Scores groups of `GROUP_ROWS` rows, block by block; the last group may be smaller."""
    length = source.values.shape[0]
    blocks, remainder = divmod(length, BLOCK_ROWS)
    cast_queries = queries.astype(scoring)

    def score_block(begin: Int[Array, ""], count: int = BLOCK_ROWS) -> Float[Array, "g q"]:
        part = jax.lax.dynamic_slice_in_dim(source.values, begin, count)
        scores = einsum("rd,qd->rq", part.astype(scoring), cast_queries)
        if source.scales is not None:
            scores = scores * jax.lax.dynamic_slice_in_dim(source.scales, begin, count)[:, None]
        scores = jnp.pad(scores, ((0, -count % GROUP_ROWS), (0, 0)), constant_values=-jnp.inf)
        return jnp.max(scores.reshape(-1, GROUP_ROWS, scores.shape[1]), axis=1)

    parts = []
    if blocks:
        parts.append(jax.lax.map(score_block, jnp.arange(blocks) * BLOCK_ROWS).reshape(-1, queries.shape[0]))
    if remainder:
        parts.append(score_block(jnp.asarray(blocks * BLOCK_ROWS), remainder))
    maxima = jnp.concatenate(parts)
    first = jnp.arange(maxima.shape[0]) * GROUP_ROWS
    return _Groups(maxima.T, first, jnp.minimum(first + GROUP_ROWS, length) - 1)
