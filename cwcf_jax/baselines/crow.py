"""This module pools by cross-dimensional weighting (CroW; Kalantidis et al. 2016).

uCroW, the same method without weights, is `descriptors.sum_pool`. `pooled.PooledSearch` searches and expands queries.
"""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from cwcf_jax.arrays import einsum, l2_normalize
from cwcf_jax.descriptors import channel_weights


def spatial_weights(features: Float[Array, "h w k"], region: Bool[Array, "h w"]) -> Float[Array, "h w"]:
    """Computes ``S' = (S / ||S||_2)^(1/2)`` with ``S = sum_k X_k``; the norm is over the region's cells.

    Cells without activation and cells outside the region have weight 0.
    """
    total = jnp.sum(features, axis=-1, dtype=jnp.float32)
    active = region & (total > 0)
    share = l2_normalize(jnp.where(active, total, 0.0).reshape(-1)).reshape(total.shape)
    positive = share > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, share, 1.0)), 0.0)


def crow_pool(features: Float[Array, "h w k"], region: Bool[Array, "h w"]) -> Float[Array, " k"]:
    """Computes ``v_k = CW_k sum_ij S'_ij X_ij^k`` with the channel weights CW of Eq. 3.

    `pooled.describe` computes the published descriptor from this vector.
    """
    pooled = einsum("hw,hwk->k", spatial_weights(features, region), features.astype(jnp.float32))
    return channel_weights(features, region) * pooled
