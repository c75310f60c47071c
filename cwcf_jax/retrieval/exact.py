"""Exact nearest neighbours by cosine over databases of any length, without a copy of them.

A matrix product scores blocks of rows, and of each small group of rows only the highest score is kept: the k best rows
lie in the k best groups. (`jax.lax.approx_max_k` bins rows likewise, and loses those that share a bin; here the best
groups are looked at again.) The rows that are left are scored as `similarities` scores them, so that equal rows tie and
the earlier one comes first, whatever the order in which a matrix product adds up. Where rounding or ties leave a doubt,
the query is answered by `similarities` alone.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Bool, Float, Int, Int8

from cwcf_jax.arrays import einsum
from cwcf_jax.retrieval.search import similarities

BLOCK = 2048
"""Rows that are scored together."""

GROUP = 16
"""Rows of which the best one stands for all."""

MARGIN = 28
"""Groups, and then rows, beyond k that are looked at again."""

QUERIES = 256
"""Queries that are answered together: what is kept of them is one number a group."""

COMPACT_MARGIN = 4
"""k times as many where blocks are scored in 8 bits."""

FEW = 4
"""Queries up to which a pass over the database takes longer than their arithmetic."""

ROUNDING = 1e-5
"""More than the scores of a matrix product and of `similarities` differ by, for vectors of norm 1."""


Rows = Float[Array, "n d"] | Float[np.ndarray, "n d"]
"""A database, on a device or in the host's memory."""


class Neighbours(NamedTuple):
    """``scores`` [q, k] and ``rows`` [q, k], best first, of equal scores the earlier row."""

    scores: Float[Array, "*q k"]
    rows: Int[Array, "*q k"]


class Compact(NamedTuple):
    """A database in a quarter of its bytes, to find the rows that are worth an exact look.

    ``values`` [n, d], int8; ``scales`` [n], what to multiply each row of them by; ``error``, the largest distance
    between a row and what they say of it.
    """

    values: Int8[Array, "n d"]
    scales: Float[Array, " n"]
    error: Float[Array, ""]


def nearest(queries: Float[Array, "q d"], database: Rows, count: int, *, compact: Compact | None = None) -> Neighbours:
    """The ``count`` rows most similar to each query, exactly as sorting all `similarities` would give them.

    Args:
        queries: of norm 1 (or zero).
        database: of norm 1 (or zero); a numpy array, memory-mapped or not, is read where it lies if it begins at a
            multiple of 64 bytes.
        count: k; a database of fewer rows gives all of them.
        compact: of the database: the blocks are then scored in 8 bits, and only the best rows in full precision.

    Raises:
        ValueError: k is not positive, or shapes do not fit.
    """
    _check(queries, database, count)
    count = min(count, database.shape[0])
    parts = []
    for start in range(0, len(queries), QUERIES):
        part = queries[start : start + QUERIES]
        found, certain = _search(part, database, compact, count=count)
        parts.append(_settle(part, found, certain, functools.partial(exhaustive, database=database, count=count)))
    return Neighbours(*(jnp.concatenate(columns) for columns in zip(*parts, strict=True)))


def nearest_sharded(
    queries: Float[Array, "q d"], database: Float[Array, "n d"], count: int, *, mesh: Mesh, axis: str
) -> Neighbours:
    """`nearest` with the rows of the database spread evenly over the devices of a mesh's ``axis``.

    Every device searches its own rows; what travels is k rows a device. ``count`` is at most the rows of one device.
    """
    _check(queries, database, count)
    shard = database.shape[0] // mesh.shape[axis]
    if shard * mesh.shape[axis] != database.shape[0] or count > shard:
        raise ValueError(
            f"{database.shape[0]} rows over {mesh.shape[axis]} devices: each needs as many, and at least {count}"
        )

    found, certain = _over(mesh, axis, count, exhaustively=False)(queries, database)
    again = _over(mesh, axis, count, exhaustively=True)
    return _settle(queries, found, certain, lambda part: again(part, database)[0])


class _Found(NamedTuple):
    neighbours: Neighbours
    certain: Bool[Array, " q"]


@functools.cache
def _over(mesh: Mesh, axis: str, count: int, *, exhaustively: bool) -> Callable[[Array, Array], _Found]:
    local = functools.partial(_merge_shards, count=count, axis=axis, exhaustively=exhaustively)
    whole, rows = PartitionSpec(), PartitionSpec(axis)  # type: ignore[no-untyped-call]
    return jax.jit(jax.shard_map(local, mesh=mesh, in_specs=(whole, rows), out_specs=whole, check_vma=False))


@functools.partial(jax.jit, static_argnames="count")
def exhaustive(queries: Float[Array, "q d"], database: Rows, count: int) -> Neighbours:
    """`nearest`, one query after another by `similarities`: the definition, and the slower way."""
    best = jax.lax.map(lambda query: jax.lax.top_k(similarities(query, jnp.asarray(database)), count), queries)
    return Neighbours(*best)


@jax.jit
def compact(database: Float[Array, "n d"]) -> Compact:
    """A compact copy of a database, for `nearest`."""
    scales = jnp.max(jnp.abs(database), axis=-1) / 127
    steps = jnp.where(scales > 0, scales, 1.0)[:, None]
    values = jnp.round(database / steps)
    error = jnp.max(jnp.linalg.norm(values * steps - database, axis=-1))
    return Compact(values.astype(jnp.int8), scales, error)


def _check(queries: Float[Array, "q d"], database: Rows, count: int) -> None:
    if count < 1:
        raise ValueError(f"a search finds at least 1 row, not {count}")
    if len(queries) == 0 or database.shape[0] == 0:
        raise ValueError(f"nothing to search: {len(queries)} queries, {database.shape[0]} rows")


def _settle(queries: Array, found: Neighbours, certain: Array, again: Callable[[Array], Neighbours]) -> Neighbours:
    """The neighbours; those in doubt are found again, one by one, so that their number compiles nothing."""
    for i in np.flatnonzero(~np.asarray(certain)).tolist():
        sure = again(queries[i : i + 1])
        found = Neighbours(*(old.at[i].set(new[0]) for old, new in zip(found, sure, strict=True)))
    return found


class _Source(NamedTuple):
    """What blocks are scored from: a database, or what a compact one says of it."""

    values: Rows | Int8[Array, "n d"]
    scales: Float[Array, " n"] | None
    error: Float[Array, ""]


class _Groups(NamedTuple):
    """Groups of rows: ``maxima`` [q, g], the best score in each; ``first`` and ``last`` [g], the rows they hold."""

    maxima: Float[Array, "q g"]
    first: Int[Array, " g"]
    last: Int[Array, " g"]


def _search(queries: Float[Array, "q d"], database: Rows, compact: Compact | None, *, count: int) -> _Found:
    """Neighbours, and whether no row that was not looked at can be one of them.

    Two compiled steps and not one: XLA on a CPU copies an array that two loops of one program read.
    """
    source = _Source(database, None, jnp.zeros(())) if compact is None else _Source(*compact)
    margin = MARGIN if compact is None else COMPACT_MARGIN * count
    groups, best, chosen = _best_groups(queries, source, count=count + margin)
    return _refined(queries, database, groups, best, chosen, source.error, count=count)


@functools.partial(jax.jit, static_argnames="count")
def _best_groups(
    queries: Float[Array, "q d"], source: _Source, *, count: int
) -> tuple[_Groups, Float[Array, "q g"], Int[Array, "q g"]]:
    """All groups, and of each query's best ones their highest scores and which they are."""
    groups = (_single_rows if queries.shape[0] <= FEW else _in_blocks)(queries, source)
    return groups, *jax.lax.top_k(groups.maxima, min(count, groups.first.shape[0]))


@functools.partial(jax.jit, static_argnames="count")
def _refined(
    queries: Float[Array, "q d"],
    database: Rows,
    groups: _Groups,
    best: Float[Array, "q g"],
    chosen: Int[Array, "q g"],
    error: Float[Array, ""],
    *,
    count: int,
) -> _Found:
    """The best rows of the chosen groups."""
    looked_at = chosen.shape[1]
    size = 1 if queries.shape[0] <= FEW else GROUP

    def refine(one: tuple[Float[Array, " d"], Int[Array, " g"]]) -> tuple[Neighbours, Float[Array, ""]]:
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
        return Neighbours(-scores[:count], rows[:count]), least

    found, least = jax.lax.map(refine, (queries, chosen), batch_size=2)
    certain = found.scores[:, -1] > best[:, -1] + ROUNDING + error  # no other group holds one of them
    certain |= looked_at == groups.first.shape[0]
    return _Found(found, certain & (found.scores[:, -1] > least + ROUNDING))  # nor any other row of these groups


def _single_rows(queries: Float[Array, "q d"], source: _Source) -> _Groups:
    """Every row for itself: for few queries one pass over the database is all there is to do."""
    rows = jnp.arange(source.values.shape[0])
    if source.scales is None:
        return _Groups(jax.lax.map(lambda query: einsum("nd,d->n", source.values, query), queries), rows, rows)
    # One row after the other: a product would first make floats of all of them.
    scores = jax.lax.map(lambda query: similarities(query, jnp.asarray(source.values).astype(jnp.float32)), queries)
    return _Groups(scores * source.scales[None, :], rows, rows)


def _in_blocks(queries: Float[Array, "q d"], source: _Source) -> _Groups:
    """Groups of `GROUP` rows, the last one of what is left."""
    length = source.values.shape[0]
    blocks, left = divmod(length, BLOCK)

    def one_block(begin: Int[Array, ""], count: int = BLOCK) -> Float[Array, "g q"]:
        part = jax.lax.dynamic_slice_in_dim(source.values, begin, count)
        scores = einsum("rd,qd->rq", part.astype(jnp.float32), queries)
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


def _merge_shards(
    queries: Float[Array, "q d"], shard: Float[Array, "n d"], *, count: int, axis: str, exhaustively: bool
) -> _Found:
    if exhaustively:
        found, certain = exhaustive(queries, shard, count), jnp.ones(queries.shape[0], bool)
    else:
        found, certain = _search(queries, shard, None, count=count)
    rows = found.rows + jax.lax.axis_index(axis) * shard.shape[0]
    scores, rows = (jax.lax.all_gather(one, axis, axis=1, tiled=True) for one in (found.scores, rows))
    scores, rows = jax.lax.sort((-scores, rows), num_keys=2)
    return _Found(Neighbours(-scores[:, :count], rows[:, :count]), jnp.all(jax.lax.all_gather(certain, axis), axis=0))
