"""Sum-pooling, channel weights and class vectors: Eq. 2 to 4 of the paper, over a region of the feature maps."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from cwcf_jax.arrays import Shape, Size, einsum

SLACK = 1e-4
"""Cells by which a box may touch a cell without taking it: more than a float32 division errs on any backend."""


def region_mask(box: Float[Array, "4"], image_size: Size, map_size: Size, shape: Shape) -> Bool[Array, "h w"]:
    """Cells of a map that a box ``x1 y1 x2 y2`` in pixels touches: rows floor(y1 h/H) to ceil(y2 h/H), columns alike.

    Cut to the map's valid area; at least one cell, the one nearest to the box.
    """
    start, stop = box[1::-1], box[3:1:-1]
    scale = map_size.astype(jnp.float32)
    extent = image_size.astype(jnp.float32)
    first = jnp.clip(jnp.floor(start * scale / extent + SLACK).astype(jnp.int32), 0, map_size - 1)
    last = jnp.clip(jnp.ceil(stop * scale / extent - SLACK).astype(jnp.int32), first + 1, map_size)
    rows, columns = jnp.arange(shape[0]), jnp.arange(shape[1])
    inside_rows = (rows >= first[0]) & (rows < last[0])
    inside_columns = (columns >= first[1]) & (columns < last[1])
    return inside_rows[:, None] & inside_columns[None, :]


def sum_pool(features: Float[Array, "h w k"], region: Bool[Array, "h w"]) -> Float[Array, " k"]:
    """Sum of each channel over the region's cells: the paper's raw features."""
    return jnp.sum(features, axis=(0, 1), where=region[..., None], dtype=jnp.float32)


def mean_pool(features: Float[Array, "h w c"], region: Bool[Array, "h w"]) -> Float[Array, " c"]:
    """Mean of each channel over the region's cells: what the classifier sees of them."""
    return sum_pool(features, region) / jnp.sum(region, dtype=jnp.float32)


def channel_weights(features: Float[Array, "h w k"], region: Bool[Array, "h w"]) -> Float[Array, " k"]:
    """``log(sum_n Q_n / Q_k)``, Q_k the share of the region's cells where channel k is positive (Eq. 2 and 3).

    A dead channel (Q_k = 0) has weight 0.
    """
    share = jnp.mean(features > 0, axis=(0, 1), where=region[..., None], dtype=jnp.float32)
    alive = share > 0
    return jnp.where(alive, jnp.log(jnp.sum(share)) - jnp.log(jnp.where(alive, share, 1.0)), 0.0)


def class_sums(
    features: Float[Array, "h w k"], cams: Float[Array, "h w n"], region: Bool[Array, "h w"]
) -> Float[Array, "n k"]:
    """``sum_ij X_ij^k CAM_ij^c`` over the region's cells: Eq. 4 without the channel weight, all classes at once."""
    return einsum("hwn,hwk->nk", jnp.where(region[..., None], cams, 0.0), features.astype(cams.dtype))


def class_vectors(
    features: Float[Array, "h w k"], cams: Float[Array, "h w n"], region: Bool[Array, "h w"]
) -> Float[Array, "n k"]:
    """``F_k^c = CW_k sum_ij X_ij^k CAM_ij^c`` (Eq. 4). A map that is 0 over the region gives the zero vector."""
    return channel_weights(features, region)[None, :] * class_sums(features, cams, region)
