"""This module computes class activation maps (CAMs; Eq. 1 of the paper), normalises them and resizes them."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from cwcf_jax.arrays import Shape, Size, einsum


def class_activation_maps(cam_features: Float[Array, "h w c"], kernel: Float[Array, "c n"]) -> Float[Array, "h w n"]:
    """Computes ``CAM_c = sum_k conv_k w_kc`` (Eq. 1), without a bias, for all n classes in one matrix product.

    The logit of a class is the mean of its CAM over the valid cells, plus the classifier's bias.
    """
    return einsum("hwc,cn->hwn", cam_features, kernel)


def min_max(maps: Float[Array, "h w n"], valid: Bool[Array, "h w"]) -> Float[Array, "h w n"]:
    """Shifts and scales each map to [0, 1] over the valid cells (section 3.2); 0 outside the valid cells.

    A constant map, or a map of a single cell, becomes 1 everywhere if its value is positive, otherwise 0.
    """
    low, high = _extremes(maps, valid)
    spread = high - low
    scaled = jnp.where(spread > 0, (maps - low) / jnp.where(spread > 0, spread, 1.0), (high > 0).astype(maps.dtype))
    return jnp.where(valid[..., None], scaled, 0.0)


def max_clip(maps: Float[Array, "h w n"], valid: Bool[Array, "h w"]) -> Float[Array, "h w n"]:
    """Divides each map by its maximum, then sets negative values to 0, as the authors' released code does.

    Division by a negative maximum gives weights of 1 and more, largest where the evidence is most negative. The
    released code has the same property. A maximum of 0, which makes NaN in the released code, gives a map of 0.
    """
    _, high = _extremes(maps, valid)
    nonzero = high != 0
    scaled = jnp.maximum(maps / jnp.where(nonzero, high, 1.0), 0.0)
    return jnp.where(valid[..., None] & nonzero, scaled, 0.0)


def raw(maps: Float[Array, "h w n"], valid: Bool[Array, "h w"]) -> Float[Array, "h w n"]:
    """Returns the maps without normalisation, negative values included; 0 outside the valid cells."""
    return jnp.where(valid[..., None], maps, 0.0)


def has_evidence(maps: Float[Array, "h w n"], valid: Bool[Array, "h w"]) -> Bool[Array, " n"]:
    """Returns, for each map, whether any valid cell is positive."""
    return jnp.any(maps > 0, axis=(0, 1), where=valid[..., None])


NORMALIZATIONS = {"min_max": min_max, "max_clip": max_clip, "raw": raw}
"""The functions that `EncoderConfig.cam_normalization` names."""


def _extremes(
    maps: Float[Array, "h w n"], valid: Bool[Array, "h w"]
) -> tuple[Float[Array, "1 1 n"], Float[Array, "1 1 n"]]:
    mask = valid[..., None]
    low = jnp.min(maps, axis=(0, 1), keepdims=True, where=mask, initial=jnp.inf)
    high = jnp.max(maps, axis=(0, 1), keepdims=True, where=mask, initial=-jnp.inf)
    return low, high


def resize_maps(
    maps: Float[Array, "h w n"], size: Size, target_size: Size, target_shape: Shape
) -> Float[Array, "h2 w2 n"]:
    """Resizes the valid area ``size`` bilinearly to ``target_size``, inside an array of ``target_shape``.

    Pixel centres are at half-integers, edges are repeated, and maps are not smoothed before they shrink, as in
    `cv2.resize` and `jax.image.resize(antialias=False)`. Sizes may be traced, so that all images of a bucket share one
    compilation.
    """
    rows = _interpolation(size[0], target_size[0], maps.shape[0], target_shape[0])
    columns = _interpolation(size[1], target_size[1], maps.shape[1], target_shape[1])
    return einsum("yh,hwn,xw->yxn", rows, maps, columns)


def _interpolation(size: Array, target_size: Array, length: int, target_length: int) -> Float[Array, "h2 h"]:
    """Computes the matrix that resamples ``size`` of ``length`` cells to ``target_size`` of ``target_length`` cells."""
    step = size.astype(jnp.float32) / target_size.astype(jnp.float32)
    targets = jnp.arange(target_length)
    centres = jnp.clip((targets.astype(jnp.float32) + 0.5) * step - 0.5, 0.0, (size - 1).astype(jnp.float32))
    weights = jnp.maximum(0.0, 1.0 - jnp.abs(centres[:, None] - jnp.arange(length, dtype=jnp.float32)[None, :]))
    return jnp.where((targets < target_size)[:, None], weights, 0.0)
