"""This module pools by sums with a centre prior (SPoC; Babenko & Lempitsky 2015)."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from cwcf_jax.arrays import Shape, Size, einsum, valid_mask


def centre_prior(size: Size, shape: Shape) -> Float[Array, "h w"]:
    """Computes ``exp(-((x - (W-1)/2)^2 + (y - (H-1)/2)^2) / (2 s^2))`` over the valid area; 0 outside the valid area.

    ``s`` is a third of the distance, in cells, from the centre to the closest border: ``min(H, W) / 6``.
    """
    extent = size.astype(jnp.float32)
    deviation = jnp.min(extent) / 6.0
    rows = jnp.arange(shape[0], dtype=jnp.float32) - (extent[0] - 1.0) / 2.0
    columns = jnp.arange(shape[1], dtype=jnp.float32) - (extent[1] - 1.0) / 2.0
    square = jnp.square(rows)[:, None] + jnp.square(columns)[None, :]
    return jnp.where(valid_mask(size, shape), jnp.exp(-square / (2.0 * jnp.square(deviation))), 0.0)


def spoc_pool(features: Float[Array, "h w k"], size: Size) -> Float[Array, " k"]:
    """Computes the sum of each channel over the valid cells, weighted by the centre prior.

    `pooled.describe` computes the published descriptor from this vector, with a whitening of 256 dimensions.
    """
    prior = centre_prior(size, features.shape[:2])
    return einsum("hw,hwk->k", prior, features.astype(jnp.float32))
