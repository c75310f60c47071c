"""Class activation maps: Eq. 1 of the paper, their normalisation and resizing."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from cwcf_jax.arrays import Shape, Size, einsum


def class_activation_maps(cam_features: Float[Array, "h w c"], kernel: Float[Array, "c n"]) -> Float[Array, "h w n"]:
    """``CAM_c = sum_k conv_k w_kc`` (Eq. 1) for all n classes in one matrix product; no bias.

    The mean of a map over its valid cells plus the classifier's bias is the class's logit.
    """
    return einsum("hwc,cn->hwn", cam_features, kernel)


def min_max(maps: Float[Array, "h w n"], valid: Bool[Array, "h w"]) -> Float[Array, "h w n"]:
    """Each map shifted and scaled to [0, 1] over its valid cells (section 3.2), 0 outside them.

    A constant map, one of a single cell included, prefers no cell: it becomes 1 everywhere if positive, otherwise 0.
    """
    low, high = _extremes(maps, valid)
    spread = high - low
    scaled = jnp.where(spread > 0, (maps - low) / jnp.where(spread > 0, spread, 1.0), (high > 0).astype(maps.dtype))
    return jnp.where(valid[..., None], scaled, 0.0)


def max_clip(maps: Float[Array, "h w n"], valid: Bool[Array, "h w"]) -> Float[Array, "h w n"]:
    """Each map divided by its maximum, then negatives clipped to 0, as the authors' released code does.

    Dividing by a negative maximum makes weights of 1 and more, largest where the evidence is most negative; the
    released code does so and this repeats it. A maximum of 0, NaN there, gives a map of 0 here.
    """
    _, high = _extremes(maps, valid)
    nonzero = high != 0
    scaled = jnp.maximum(maps / jnp.where(nonzero, high, 1.0), 0.0)
    return jnp.where(valid[..., None] & nonzero, scaled, 0.0)


def raw(maps: Float[Array, "h w n"], valid: Bool[Array, "h w"]) -> Float[Array, "h w n"]:
    """The maps as they are, negative evidence included; 0 outside the valid cells."""
    return jnp.where(valid[..., None], maps, 0.0)


def has_evidence(maps: Float[Array, "h w n"], valid: Bool[Array, "h w"]) -> Bool[Array, " n"]:
    """Which maps are positive anywhere in the valid cells."""
    return jnp.any(maps > 0, axis=(0, 1), where=valid[..., None])


NORMALIZATIONS = {"min_max": min_max, "max_clip": max_clip, "raw": raw}


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
    """Bilinear resize of the valid area ``size`` to ``target_size`` inside an array of ``target_shape``.

    Half-pixel centres, edges repeated, no smoothing when shrinking: `cv2.resize` and
    `jax.image.resize(antialias=False)`. Sizes may be traced, so one compilation serves a whole bucket.
    """
    rows = _interpolation(size[0], target_size[0], maps.shape[0], target_shape[0])
    columns = _interpolation(size[1], target_size[1], maps.shape[1], target_shape[1])
    return einsum("yh,hwn,xw->yxn", rows, maps, columns)


def _interpolation(size: Array, target_size: Array, length: int, target_length: int) -> Float[Array, "h2 h"]:
    """The matrix that resamples ``size`` of ``length`` cells to ``target_size`` of ``target_length``."""
    step = size.astype(jnp.float32) / target_size.astype(jnp.float32)
    targets = jnp.arange(target_length)
    centres = jnp.clip((targets.astype(jnp.float32) + 0.5) * step - 0.5, 0.0, (size - 1).astype(jnp.float32))
    weights = jnp.maximum(0.0, 1.0 - jnp.abs(centres[:, None] - jnp.arange(length, dtype=jnp.float32)[None, :]))
    return jnp.where((targets < target_size)[:, None], weights, 0.0)
