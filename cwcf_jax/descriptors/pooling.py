"""This module pools a region of the feature maps: channel weights and class vectors (Eq. 2 to 4), and baselines."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from cwcf_jax.arrays import Shape, Size, Values, einsum

TOUCH_TOLERANCE = 1e-4
"""The overlap, in cells, up to which a box does not touch a cell; float32 divisions have smaller errors."""


def touched_cells(box: Float[Array, "4"], image_size: Size, map_size: Size) -> Int[Array, "4"]:
    """Computes the cells of a map that a box touches: rows floor(y1 h/H) to ceil(y2 h/H) - 1, and columns likewise.

    Args:
        box: ``x1 y1 x2 y2`` in pixels.
        image_size: H and W, the image's size in pixels.
        map_size: h and w, the valid rows and columns of the image's map.

    Returns:
        ``x1 y1 x2 y2`` in cells, half-open, inside the map's valid area; at least the one cell nearest to the box.
    """
    start, stop = box[1::-1], box[3:1:-1]
    scale = map_size.astype(jnp.float32)
    extent = image_size.astype(jnp.float32)
    first = jnp.clip(jnp.floor(start * scale / extent + TOUCH_TOLERANCE).astype(jnp.int32), 0, map_size - 1)
    last = jnp.clip(jnp.ceil(stop * scale / extent - TOUCH_TOLERANCE).astype(jnp.int32), first + 1, map_size)
    return jnp.concatenate([first[::-1], last[::-1]])


def region_mask(box: Float[Array, "4"], image_size: Size, map_size: Size, shape: Shape) -> Bool[Array, "h w"]:
    """Returns a mask of ``shape`` that is True on the `touched_cells` of a box. Arguments: see `touched_cells`."""
    return cell_mask(touched_cells(box, image_size, map_size), shape)


def cell_mask(box: Int[Array, "4"], shape: Shape) -> Bool[Array, "h w"]:
    """Returns a mask of ``shape`` that is True inside a box ``x1 y1 x2 y2`` in cells; x2 and y2 are exclusive."""
    rows, columns = jnp.arange(shape[0]), jnp.arange(shape[1])
    inside_rows = (rows >= box[1]) & (rows < box[3])
    inside_columns = (columns >= box[0]) & (columns < box[2])
    return inside_rows[:, None] & inside_columns[None, :]


def strided_region_mask(box: Float[Array, "4"], stride: int, map_size: Size, shape: Shape) -> Bool[Array, "h w"]:
    """Returns a mask of the columns floor(x1 / stride) to floor(x2 / stride) - 1 of a box in pixels, and rows likewise.

    The authors' released code crops queries in this way. The mask lies inside the map's valid area and has at least the
    one cell nearest to the box.
    """
    cells = jnp.floor(box / stride).astype(jnp.int32)
    first = jnp.clip(cells[1::-1], 0, map_size - 1)
    last = jnp.clip(cells[3:1:-1], first + 1, map_size)
    return cell_mask(jnp.concatenate([first[::-1], last[::-1]]), shape)


def sum_pool(features: Float[Array, "h w k"], region: Bool[Array, "h w"]) -> Float[Array, " k"]:
    """Computes the sum of each channel over the region's cells: the paper's raw features."""
    return jnp.sum(features, axis=(0, 1), where=region[..., None], dtype=jnp.float32)


def mean_pool(features: Float[Array, "h w c"], region: Bool[Array, "h w"]) -> Float[Array, " c"]:
    """Computes the mean of each channel over the region's cells, which is the classifier's input."""
    return sum_pool(features, region) / jnp.sum(region, dtype=jnp.float32)


def max_pool(features: Float[Array, "h w k"], region: Bool[Array, "h w"]) -> Float[Array, " k"]:
    """Computes the maximum of each channel over the region's cells (MAC, Razavian et al. 2014); 0 without cells."""
    largest = jnp.max(features, axis=(0, 1), where=region[..., None], initial=-jnp.inf)
    return jnp.where(jnp.any(region), largest, 0.0).astype(jnp.float32)


def gem_pool(features: Float[Array, "h w k"], region: Bool[Array, "h w"], p: float = 3.0) -> Float[Array, " k"]:
    """Computes ``(mean_ij max(X_ij^k, 0)^p)^(1/p)`` over the region's cells (GeM, Radenovic et al. 2018).

    The result is the mean for ``p`` = 1, and tends to the maximum for large ``p``. A channel that is nowhere positive
    has the value 0 and the gradient 0.

    Raises:
        ValueError: ``p`` is below 1, where the gradient is infinite at cells of 0.
    """
    if p < 1.0:
        raise ValueError(f"the exponent of a generalised mean must be at least 1, not {p}")
    positive = jnp.where(region[..., None], jnp.maximum(features.astype(jnp.float32), 0.0), 0.0)
    # The division by the peak keeps powers from overflowing; the result is proportional to the peak.
    peak = jax.lax.stop_gradient(max_pool(positive, region))
    active = peak > 0
    powers = (positive / jnp.where(active, peak, 1.0)[None, None, :]) ** p
    mean = sum_pool(powers, region) / jnp.maximum(jnp.sum(region, dtype=jnp.float32), 1.0)
    return peak * jnp.where(active, mean, 1.0) ** (1.0 / p)


def channel_weights(features: Float[Array, "h w k"], region: Bool[Array, "h w"]) -> Float[Array, " k"]:
    """Computes ``log(sum_n Q_n / Q_k)``; Q_k is the share of the region's cells where channel k is positive (Eq. 2, 3).

    A channel that is nowhere positive (Q_k = 0) has weight 0.
    """
    # `vmap` over many regions of one image turns this product into one matrix product, unlike a masked mean.
    cells = jnp.sum(region, dtype=jnp.float32)
    share = einsum("hw,hwk->k", region.astype(jnp.float32), (features > 0).astype(jnp.float32)) / cells
    active = share > 0
    return jnp.where(active, jnp.log(jnp.sum(share)) - jnp.log(jnp.where(active, share, 1.0)), 0.0)


def class_sums(
    features: Float[Array, "h w k"], cams: Float[Array, "h w n"], region: Bool[Array, "h w"]
) -> Float[Array, "n k"]:
    """Computes ``sum_ij X_ij^k CAM_ij^c`` over the region's cells: Eq. 4 without the channel weights."""
    return einsum("hwn,hwk->nk", jnp.where(region[..., None], cams, 0.0), features)


def class_vectors(sums: Float[Values, "*b n k"], weights: Float[Values, "*b k"] | None) -> Float[Values, "*b n k"]:
    """Computes ``F_k^c = CW_k sum_ij X_ij^k CAM_ij^c`` (Eq. 4) from the two factors, which stores keep separately.

    Args:
        sums: the result of `class_sums`; zero rows stay zero.
        weights: the result of `channel_weights`; None: no channel weights.
    """
    return sums if weights is None else weights[..., None, :] * sums
