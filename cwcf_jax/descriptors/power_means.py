"""This module computes class vectors that are power means of each channel over a region, weighted by a CAM.

Generalised-mean pooling (GeM) is by Radenovic, Tolias & Chum 2018 ("Fine-tuning CNN image retrieval with no human
annotation"). The weights from class activation maps are this project's own idea.
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from cwcf_jax.arrays import einsum


def class_power_means(
    features: Float[Array, "h w k"], cams: Float[Array, "h w n"], region: Bool[Array, "h w"], p: float = 3.0
) -> Float[Array, "n k"]:
    """Computes ``f_k^c = (sum_ij CAM_ij^c (X_ij^k)^p / sum_ij CAM_ij^c)^(1/p)`` over the region's cells.

    For ``p`` = 1, f is the mean of X weighted by the CAM. For large ``p``, f tends to the maximum of X where the CAM is
    positive. The scale of a CAM has no effect. The gradient is finite everywhere, and 0 where f is 0.

    Args:
        features: X, finite; bfloat16 is converted to float32. Negative values count as 0. Values below 1e-38^(1/p) of
            their channel's largest value in the whole map (1e-12 for ``p`` = 3) may count as 0.
        cams: normalised class activation maps; negative values count as 0.
        region: the cells that are pooled.
        p: the exponent; static.

    Returns:
        [n, k] float32, not negative. The row is zero for a CAM that is 0 over the region, or a region without cells.

    Raises:
        ValueError: ``p`` is not finite, or is below 1, where the gradient is infinite at cells of 0.
    """
    powers, peak = _powers(features, p)
    means = einsum("hwn,hwk->nk", _shares(cams, region), powers)
    positive = means > 0
    return jnp.where(positive, peak[None, :] * jnp.where(positive, means, 1.0) ** (1.0 / p), 0.0)


def power_mean_terms(
    features: Float[Array, "h w k"],
    cams: Float[Array, "h w n"],
    region: Bool[Array, "h w"],
    direction: Float[Array, " k"],
    p: float = 3.0,
) -> Float[Array, "n h w"]:
    """Splits the inner product of each row of `class_power_means` with a direction into one term for each cell.

    The share of a cell in a channel is ``f_k^c CAM_ij^c (X_ij^k)^p / sum_ij CAM_ij^c (X_ij^k)^p``. Therefore the terms
    of a class sum to the inner product. Terms of cells outside the region are 0. Arguments and errors are those of
    `class_power_means`.
    """
    powers, peak = _powers(features, p)
    shares = _shares(cams, region)
    means = einsum("hwn,hwk->nk", shares, powers)
    positive = means > 0
    factors = jnp.where(positive, (peak * direction)[None, :] * jnp.where(positive, means, 1.0) ** (1.0 / p - 1.0), 0.0)
    return jnp.moveaxis(shares, -1, 0) * einsum("hwk,nk->nhw", powers, factors)


def _powers(features: Float[Array, "h w k"], p: float) -> tuple[Float[Array, "h w k"], Float[Array, " k"]]:
    """Computes ``(X / peak)^p`` and the peak of each channel; powers of values up to 1 cannot overflow.

    A power mean is proportional to the peak. The peak is the maximum over the whole map, not over a region, so that all
    regions of an image share the powers.
    """
    if not 1.0 <= p < math.inf:
        raise ValueError(f"the exponent of a generalised mean must be at least 1 and finite, not {p}")
    positive = jnp.maximum(features.astype(jnp.float32), 0.0)
    peak = jax.lax.stop_gradient(jnp.max(positive, axis=(0, 1)))
    unit = positive / jnp.where(peak > 0, peak, 1.0)[None, None, :]
    return unit ** (int(p) if p == int(p) else p), peak


def _shares(cams: Float[Array, "h w n"], region: Bool[Array, "h w"]) -> Float[Array, "h w n"]:
    """Divides each map by its sum over the region; a map without positive cells in the region becomes 0."""
    # `jnp.maximum` would halve the gradient at 0, and every min-max map has a cell of 0.
    positive = jnp.where(region[..., None] & (cams >= 0), cams.astype(jnp.float32), 0.0)
    peak = jax.lax.stop_gradient(jnp.max(positive, axis=(0, 1), keepdims=True))
    with_evidence = peak > 0
    scaled = positive / jnp.where(with_evidence, peak, 1.0)  # sums of very small values stay normal numbers
    total = jnp.sum(scaled, axis=(0, 1), keepdims=True)
    return scaled / jnp.where(with_evidence, total, 1.0)
