"""Exact nearest neighbours by cosine over databases of any length, without a copy of them.

`candidates` says which rows are worth an exact look. Where the rounding of 16 or 8 bits leaves a doubt about them, the
database is scored in float32, and where ties leave one, the query is answered by `similarities` alone.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Float

from cwcf_jax import hardware
from cwcf_jax.search import candidates
from cwcf_jax.search.candidates import Compact, Found, Neighbours, Rows, merge_shards
from cwcf_jax.search.similarity import similarities

QUERIES = 256
"""Queries that are answered together: what is kept of them is one number a group."""

SCORINGS = "float32", "bfloat16"
"""What blocks may be scored in."""


def nearest(
    queries: Float[Array, "q d"],
    database: Rows,
    count: int,
    *,
    compact: Compact | None = None,
    scoring: str | None = None,
) -> Neighbours:
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
    return Neighbours(*(jnp.concatenate(columns) for columns in zip(*parts, strict=True)))


def _ways(
    queries: int, database: Rows, count: int, compact: Compact | None, scoring: str
) -> list[Callable[[Array], Found]]:
    """The quickest first, then the surest."""
    find = functools.partial(candidates.find, database=database, count=count)
    scoring = scoring if queries > candidates.FEW else "float32"
    ways: list[Callable[[Array], Found]] = [functools.partial(find, compact=compact, scoring=scoring)]
    if compact is not None or scoring != "float32":
        ways.append(functools.partial(find, compact=None, scoring="float32"))
    return ways


@functools.cache
def native_scoring() -> str:
    """bfloat16 where the default device multiplies it faster than float32; on a CPU, where Linux says that it can."""
    if jax.default_backend() != "cpu":
        return "bfloat16"
    return "bfloat16" if {"avx512_bf16", "amx_bf16"} & hardware.processor_flags() else "float32"


def nearest_sharded(
    queries: Float[Array, "q d"],
    database: Float[Array, "n d"],
    count: int,
    *,
    mesh: Mesh,
    axis: str,
    scoring: str | None = None,
) -> Neighbours:
    """`nearest` with the rows of the database spread evenly over the devices of a mesh's ``axis``.

    Every device searches its own rows; what travels is k rows a device. ``count`` is at most the rows of one device.
    """
    scoring = _check(queries, database, count, scoring)
    shard = database.shape[0] // mesh.shape[axis]
    if shard * mesh.shape[axis] != database.shape[0] or count > shard:
        raise ValueError(
            f"{database.shape[0]} rows over {mesh.shape[axis]} devices: each needs as many, and at least {count}"
        )

    def over(way: str) -> Callable[[Array], Found]:
        return lambda part: _over(mesh, axis, count, way)(part, database)

    ways = [over(way) for way in dict.fromkeys((scoring, "float32"))]
    return _first_certain(queries, ways, lambda part: over(_EXHAUSTIVE)(part).neighbours)


_EXHAUSTIVE = "exhaustive"


@functools.cache
def _over(mesh: Mesh, axis: str, count: int, way: str) -> Callable[[Array, Array], Found]:
    local = functools.partial(_search_shard, count=count, axis=axis, way=way)
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


def _check(queries: Float[Array, "q d"], database: Rows, count: int, scoring: str | None) -> str:
    if count < 1:
        raise ValueError(f"a search finds at least 1 row, not {count}")
    if len(queries) == 0 or database.shape[0] == 0:
        raise ValueError(f"nothing to search: {len(queries)} queries, {database.shape[0]} rows")
    if scoring not in (None, *SCORINGS):
        raise ValueError(f"unknown scoring {scoring!r}; known: {', '.join(SCORINGS)}")
    return scoring or native_scoring()


def _first_certain(
    queries: Float[Array, "q d"], ways: list[Callable[[Array], Found]], last: Callable[[Array], Neighbours]
) -> Neighbours:
    """Each query's neighbours by the first way that leaves no doubt about them.

    Where all leave one, by the ``last``, one query at a time so that their number compiles nothing.
    """
    found, certain = ways[0](queries)
    for way in ways[1:]:
        if not np.all(certain):
            again, sure = way(queries)
            found = Neighbours(*(jnp.where(certain[:, None], *both) for both in zip(found, again, strict=True)))
            certain |= sure
    for i in np.flatnonzero(~np.asarray(certain)).tolist():
        again = last(queries[i : i + 1])
        found = Neighbours(*(old.at[i].set(new[0]) for old, new in zip(found, again, strict=True)))
    return found


def _search_shard(
    queries: Float[Array, "q d"], shard: Float[Array, "n d"], *, count: int, axis: str, way: str
) -> Found:
    if way == _EXHAUSTIVE:
        found, certain = exhaustive(queries, shard, count), jnp.ones(queries.shape[0], bool)
    else:
        found, certain = candidates.find(queries, shard, compact=None, count=count, scoring=way)
    best = merge_shards(found, shard.shape[0], count=count, axis=axis)
    return Found(best, jnp.all(jax.lax.all_gather(certain, axis), axis=0))
