"""Cross-dimensional weighting (CroW; Kalantidis et al. 2016); without its weights, uCroW, it is `pooling.sum_pool`.

The search, and the expansion that its authors do, are those of `pooled.PooledSearch`.
"""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from cwcf_jax.arrays import einsum, l2_normalize
from cwcf_jax.descriptors import channel_weights


def spatial_weights(features: Float[Array, "h w k"], region: Bool[Array, "h w"]) -> Float[Array, "h w"]:
    """``S' = (S / ||S||_2)^(1/2)`` with ``S = sum_k X_k``, the norm over the region's cells.

    Cells where nothing is active, and those outside the region, have weight 0.
    """
    total = jnp.sum(features, axis=-1, dtype=jnp.float32)
    active = region & (total > 0)
    share = l2_normalize(jnp.where(active, total, 0.0).reshape(-1)).reshape(total.shape)
    positive = share > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, share, 1.0)), 0.0)


def crow_pool(features: Float[Array, "h w k"], region: Bool[Array, "h w"]) -> Float[Array, " k"]:
    """``v_k = CW_k sum_ij S'_ij X_ij^k``, the channel weights being those of Eq. 3.

    `pooled.describe` makes the published descriptor of this vector.
    """
    pooled = einsum("hw,hwk->k", spatial_weights(features, region), features.astype(jnp.float32))
    return channel_weights(features, region) * pooled
