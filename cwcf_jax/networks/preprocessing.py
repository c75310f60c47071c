"""From RGB pixels to a network's input."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from cwcf_jax.networks.layers import keep_valid
from cwcf_jax.networks.spec import Images, Preprocessing, Sizes


def preprocess(images: Images, sizes: Sizes, preprocessing: Preprocessing) -> Float[Array, "b h w 3"]:
    """``(images[..., channel order] - mean) * scale`` in float32, zero outside the valid area."""
    ordered = images[..., ::-1] if preprocessing.channel_order == "BGR" else images
    mean = jnp.asarray(preprocessing.mean, jnp.float32).reshape(1, 1, 1, 3)
    scale = jnp.asarray(preprocessing.scale, jnp.float32).reshape(1, 1, 1, 3)
    return keep_valid((ordered.astype(jnp.float32) - mean) * scale, sizes)
