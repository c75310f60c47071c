"""Class vectors as generalised means: each channel's power mean over a region, its cells weighted by a class's map.

Source: generalised-mean pooling (GeM) is Radenovic, Tolias & Chum 2018 ("Fine-tuning CNN image retrieval with no human
annotation"); weighting its cells by class activation maps is this project's.
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from cwcf_jax.arrays import einsum


def class_power_means(
    features: Float[Array, "h w k"], cams: Float[Array, "h w n"], region: Bool[Array, "h w"], p: float = 3.0
) -> Float[Array, "n k"]:
    """``f_k^c = (sum_ij CAM_ij^c (X_ij^k)^p / sum_ij CAM_ij^c)^(1/p)`` over the region's cells, all classes at once.

    The mean of X under the map for ``p`` = 1, in the limit its maximum where the map is positive. A map's scale changes
    nothing. The gradient is finite everywhere: it is 0 where the value is 0, for a dead channel or an empty map.

    Args:
        features: X, finite. Negative values count as 0, and values below 1e-38^(1/p) of their channel's largest in the
            whole map may (at ``p`` = 3 below 1e-12 of it); bfloat16 maps are powered and summed in float32.
        cams: normalised class activation maps; negative values count as 0.
        region: the cells that count.
        p: the exponent; static.

    Returns:
        [n, k] float32, not negative. A map that is 0 over the region, or a region without cells, gives a zero row.

    Raises:
        ValueError: ``p`` is below 1, where cells of 0 have no finite gradient, or is not finite.
    """
    powers, peak = _powers(features, p)
    means = einsum("hwn,hwk->nk", _shares(cams, region), powers)
    alive = means > 0
    return jnp.where(alive, peak[None, :] * jnp.where(alive, means, 1.0) ** (1.0 / p), 0.0)


def power_mean_terms(
    features: Float[Array, "h w k"],
    cams: Float[Array, "h w n"],
    region: Bool[Array, "h w"],
    direction: Float[Array, " k"],
    p: float = 3.0,
) -> Float[Array, "n h w"]:
    """What each cell adds to the inner product of each row of `class_power_means` with a direction.

    The share of a cell in a channel is ``f_k^c CAM_ij^c (X_ij^k)^p / sum_ij CAM_ij^c (X_ij^k)^p``, so that the cells of
    a class sum to the product. Arguments and errors as in `class_power_means`; cells outside the region add 0.
    """
    powers, peak = _powers(features, p)
    shares = _shares(cams, region)
    means = einsum("hwn,hwk->nk", shares, powers)
    alive = means > 0
    factors = jnp.where(alive, (peak * direction)[None, :] * jnp.where(alive, means, 1.0) ** (1.0 / p - 1.0), 0.0)
    return jnp.moveaxis(shares, -1, 0) * einsum("hwk,nk->nhw", powers, factors)


def _powers(features: Float[Array, "h w k"], p: float) -> tuple[Float[Array, "h w k"], Float[Array, " k"]]:
    """``(X / peak)^p`` and the peak of each channel.

    A constant factor comes out of a power mean, and powers of values up to 1 cannot overflow. The peak is the whole
    map's and not a region's, so that all regions of an image share the powers.
    """
    if not 1.0 <= p < math.inf:
        raise ValueError(f"the exponent of a generalised mean must be at least 1 and finite, not {p}")
    positive = jnp.maximum(features.astype(jnp.float32), 0.0)
    peak = jax.lax.stop_gradient(jnp.max(positive, axis=(0, 1)))
    unit = positive / jnp.where(peak > 0, peak, 1.0)[None, None, :]
    return unit ** (int(p) if p == int(p) else p), peak


def _shares(cams: Float[Array, "h w n"], region: Bool[Array, "h w"]) -> Float[Array, "h w n"]:
    """Each map over its sum in the region; 0 everywhere where there is no sum."""
    # At 0, where every min-max map has a cell, the slope is that of the map itself: `jnp.maximum` would halve it.
    positive = jnp.where(region[..., None] & (cams >= 0), cams.astype(jnp.float32), 0.0)
    peak = jax.lax.stop_gradient(jnp.max(positive, axis=(0, 1), keepdims=True))
    evident = peak > 0
    scaled = positive / jnp.where(evident, peak, 1.0)  # sums of the tiniest maps stay normal numbers
    total = jnp.sum(scaled, axis=(0, 1), keepdims=True)
    return scaled / jnp.where(evident, total, 1.0)
