"""Pooling, channel weights and class vectors: Eq. 2 to 4 of the paper, over a region of the feature maps."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from cwcf_jax.arrays import Shape, Size, Values, einsum

SLACK = 1e-4
"""Cells by which a box may touch a cell without taking it: more than a float32 division errs on any backend."""


def touched_cells(box: Float[Array, "4"], image_size: Size, map_size: Size) -> Int[Array, "4"]:
    """Cells of a map that a box ``x1 y1 x2 y2`` in pixels touches: rows floor(y1 h/H) to ceil(y2 h/H), columns alike.

    Args:
        box: in pixels of an image of ``image_size``.
        image_size: H and W, in pixels.
        map_size: h and w, the valid rows and columns of the image's map.

    Returns:
        ``x1 y1 x2 y2`` in cells, half-open, cut to the map's valid area; at least one cell, the one nearest to the box.
    """
    start, stop = box[1::-1], box[3:1:-1]
    scale = map_size.astype(jnp.float32)
    extent = image_size.astype(jnp.float32)
    first = jnp.clip(jnp.floor(start * scale / extent + SLACK).astype(jnp.int32), 0, map_size - 1)
    last = jnp.clip(jnp.ceil(stop * scale / extent - SLACK).astype(jnp.int32), first + 1, map_size)
    return jnp.concatenate([first[::-1], last[::-1]])


def region_mask(box: Float[Array, "4"], image_size: Size, map_size: Size, shape: Shape) -> Bool[Array, "h w"]:
    """The `touched_cells` of a box as a mask over a map of ``shape``, arguments as there."""
    return cell_mask(touched_cells(box, image_size, map_size), shape)


def cell_mask(box: Int[Array, "4"], shape: Shape) -> Bool[Array, "h w"]:
    """Cells of a map that lie in a box ``x1 y1 x2 y2`` in cells, the last row and column left out."""
    rows, columns = jnp.arange(shape[0]), jnp.arange(shape[1])
    inside_rows = (rows >= box[1]) & (rows < box[3])
    inside_columns = (columns >= box[0]) & (columns < box[2])
    return inside_rows[:, None] & inside_columns[None, :]


def strided_region_mask(box: Float[Array, "4"], stride: int, map_size: Size, shape: Shape) -> Bool[Array, "h w"]:
    """Cells floor(x1 / stride) up to, not including, floor(x2 / stride); rows alike: the authors' cut of a query.

    Cut to the map's valid area; at least one cell, the one nearest to the box.
    """
    cells = jnp.floor(box / stride).astype(jnp.int32)
    first = jnp.clip(cells[1::-1], 0, map_size - 1)
    last = jnp.clip(cells[3:1:-1], first + 1, map_size)
    return cell_mask(jnp.concatenate([first[::-1], last[::-1]]), shape)


def sum_pool(features: Float[Array, "h w k"], region: Bool[Array, "h w"]) -> Float[Array, " k"]:
    """Sum of each channel over the region's cells: the paper's raw features."""
    return jnp.sum(features, axis=(0, 1), where=region[..., None], dtype=jnp.float32)


def mean_pool(features: Float[Array, "h w c"], region: Bool[Array, "h w"]) -> Float[Array, " c"]:
    """Mean of each channel over the region's cells: what the classifier sees of them."""
    return sum_pool(features, region) / jnp.sum(region, dtype=jnp.float32)


def max_pool(features: Float[Array, "h w k"], region: Bool[Array, "h w"]) -> Float[Array, " k"]:
    """Largest value of each channel over the region's cells (MAC, Razavian et al. 2014); 0 where there are none."""
    largest = jnp.max(features, axis=(0, 1), where=region[..., None], initial=-jnp.inf)
    return jnp.where(jnp.any(region), largest, 0.0).astype(jnp.float32)


def gem_pool(features: Float[Array, "h w k"], region: Bool[Array, "h w"], p: float = 3.0) -> Float[Array, " k"]:
    """``(mean_ij max(X_ij^k, 0)^p)^(1/p)`` over the region's cells (GeM, Radenovic et al. 2018).

    The mean for ``p`` = 1, the maximum in the limit. A channel that is nowhere positive has the value 0 and the
    gradient 0.

    Raises:
        ValueError: ``p`` is below 1, where cells of 0 have no finite gradient.
    """
    if p < 1.0:
        raise ValueError(f"the exponent of a generalised mean must be at least 1, not {p}")
    positive = jnp.where(region[..., None], jnp.maximum(features.astype(jnp.float32), 0.0), 0.0)
    # A constant factor comes out of the mean: powers of values up to 1 cannot overflow.
    peak = jax.lax.stop_gradient(max_pool(positive, region))
    alive = peak > 0
    powers = (positive / jnp.where(alive, peak, 1.0)[None, None, :]) ** p
    mean = sum_pool(powers, region) / jnp.maximum(jnp.sum(region, dtype=jnp.float32), 1.0)
    return peak * jnp.where(alive, mean, 1.0) ** (1.0 / p)


def channel_weights(features: Float[Array, "h w k"], region: Bool[Array, "h w"]) -> Float[Array, " k"]:
    """``log(sum_n Q_n / Q_k)``, Q_k the share of the region's cells where channel k is positive (Eq. 2 and 3).

    A dead channel (Q_k = 0) has weight 0.
    """
    # A product, not a masked mean: over many regions of one image it becomes a single matrix product.
    cells = jnp.sum(region, dtype=jnp.float32)
    share = einsum("hw,hwk->k", region.astype(jnp.float32), (features > 0).astype(jnp.float32)) / cells
    alive = share > 0
    return jnp.where(alive, jnp.log(jnp.sum(share)) - jnp.log(jnp.where(alive, share, 1.0)), 0.0)


def class_sums(
    features: Float[Array, "h w k"], cams: Float[Array, "h w n"], region: Bool[Array, "h w"]
) -> Float[Array, "n k"]:
    """``sum_ij X_ij^k CAM_ij^c`` over the region's cells: Eq. 4 without the channel weight, all classes at once."""
    return einsum("hwn,hwk->nk", jnp.where(region[..., None], cams, 0.0), features)


def class_vectors(sums: Float[Values, "*b n k"], weights: Float[Values, "*b k"] | None) -> Float[Values, "*b n k"]:
    """``F_k^c = CW_k sum_ij X_ij^k CAM_ij^c`` (Eq. 4), from its two parts, which stores keep apart.

    Args:
        sums: what `class_sums` gives. A map that is 0 over the region gives a zero row.
        weights: what `channel_weights` gives; None leaves the weights out.
    """
    return sums if weights is None else weights[..., None, :] * sums
