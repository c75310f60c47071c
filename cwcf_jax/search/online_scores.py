"""Online aggregation: scores of a query against images whose class vectors are stored, class by class."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Float, Int, Num

from cwcf_jax.search.candidates import Neighbours, merge_shards

UNROLL = 8
"""Classes that one step adds up: the sum is read and written once for all of them."""


@jax.jit
def online_scores(
    values: Num[Array, "c b d"],
    scales: Float[Array, "c b"] | None,
    positions: Int[Array, " n"],
    query: Float[Array, " d"],
) -> Float[Array, " b"]:
    """Cosine of a query with each image's descriptor under the query's classes (OnA, section 3.2 of the paper).

    The class vectors are read where they are, one run of the first axis a class; nothing of the rest is touched.

    Args:
        values: whitened class vectors of norm 1, of c classes of b images; int8 or floating.
        scales: what to multiply each vector of ``values`` by; None: 1.
        positions: the query's classes on the first axis of ``values``, distinct.
        query: descriptor of norm 1.

    Returns:
        In [-1, 1], float32; 0 for an image without evidence for any of the classes.
    """
    sums = _sums(values, scales, positions)
    square = jnp.sum(jnp.square(sums), axis=-1)
    norm = jax.lax.rsqrt(jnp.where(square > 0, square, 1.0))
    return jnp.sum(sums * query[None, :], axis=-1) * norm


def online_nearest_sharded(
    values: Num[Array, "c n d"],
    scales: Float[Array, "c n"] | None,
    positions: Int[Array, " p"],
    query: Float[Array, " d"],
    count: int,
    *,
    mesh: Mesh,
    axis: str,
) -> Neighbours:
    """The ``count`` images of the highest `online_scores`, their class vectors spread over the devices of a mesh.

    Every device scores its own images; what travels is k of them a device.

    Args:
        values: as in `online_scores`, the images spread evenly over the mesh's ``axis``.
        scales: likewise.
        positions: the query's classes.
        query: descriptor of norm 1.
        count: k, at most the images of one device.
        mesh: of the devices, of one process or several.
        axis: of the mesh.

    Returns:
        ``scores`` and ``rows``, both [1, k]; of equal scores the earlier image comes first.

    Raises:
        ValueError: the devices would have different numbers of images, or fewer than k.
    """
    shard = values.shape[1] // mesh.shape[axis]
    if shard * mesh.shape[axis] != values.shape[1] or not 1 <= count <= shard:
        raise ValueError(
            f"{values.shape[1]} images over {mesh.shape[axis]} devices: each needs as many, and at least {count}"
        )
    return _over(mesh, axis, count, scales is not None)(values, scales, positions, query)


@functools.cache
def _over(mesh: Mesh, axis: str, count: int, scaled: bool) -> Callable[..., Neighbours]:
    def local(
        values: Num[Array, "c b d"],
        scales: Float[Array, "c b"] | None,
        positions: Int[Array, " p"],
        query: Float[Array, " d"],
    ) -> Neighbours:
        best = jax.lax.top_k(online_scores(values, scales, positions, query)[None], count)
        return merge_shards(Neighbours(*best), values.shape[1], count=count, axis=axis)

    whole, images = PartitionSpec(), PartitionSpec(None, axis)  # type: ignore[no-untyped-call]
    specs = images, images if scaled else None, whole, whole
    return jax.jit(jax.shard_map(local, mesh=mesh, in_specs=specs, out_specs=whole, check_vma=False))


def _sums(
    values: Num[Array, "c b d"], scales: Float[Array, "c b"] | None, positions: Int[Array, " n"]
) -> Float[Array, "b d"]:
    def add(sums: Float[Array, "b d"], position: Int[Array, ""]) -> tuple[Float[Array, "b d"], None]:
        vectors = jax.lax.dynamic_index_in_dim(values, position, keepdims=False).astype(jnp.float32)
        if scales is not None:
            vectors = vectors * jax.lax.dynamic_index_in_dim(scales, position, keepdims=False)[:, None]
        return sums + vectors, None

    start = jnp.zeros(values.shape[1:], jnp.float32)
    return jax.lax.scan(add, start, positions, unroll=UNROLL)[0]
