"""Why a hit scored as it did: a score of summed class vectors splits exactly over pairs of classes."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from cwcf_jax.arrays import einsum


def class_pairs(query: Float[Array, "n d"], image: Float[Array, "m d"]) -> Float[Array, "n m"]:
    """What each pair of a class of the query and a class of the image adds to the cosine of their descriptors.

    The sum over all pairs is the score, to rounding; a sum over a row or a column is what one class carried. Classes
    may be the same on both sides (OnA) or each image's own (OfA).

    Args:
        query: embedded class vectors whose sum, scaled to norm 1, is the query's descriptor.
        image: the same of the image.

    Returns:
        Terms, negative ones included; 0 where a descriptor is zero.
    """
    return einsum("nd,md->nm", *(_share(vectors) for vectors in (query, image)))


def _share(vectors: Float[Array, "n d"]) -> Float[Array, "n d"]:
    """The vectors scaled so that their sum has norm 1."""
    square = jnp.sum(jnp.square(jnp.sum(vectors, axis=0)))
    return vectors * jnp.where(square > 0, jax.lax.rsqrt(jnp.where(square > 0, square, 1.0)), 0.0)
