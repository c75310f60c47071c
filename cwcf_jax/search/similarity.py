"""Cosines of descriptors, rankings by them, and what each pair of classes adds to one."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from cwcf_jax.arrays import einsum, inverse_norm


class Ranking(NamedTuple):
    """Images, best first: ``scores`` [k] or [q, k], ``rows`` likewise; of equal scores the earlier row comes first."""

    scores: Float[Array, "*q k"] | Float[np.ndarray, "*q k"]
    rows: Int[Array, "*q k"] | Int[np.ndarray, "*q k"]


def similarities(query: Float[Array, " d"], database: Float[Array, "n d"]) -> Float[Array, " n"]:
    """Cosine of a query with every row; all vectors of norm 1 (or zero, which scores 0).

    Every row is reduced by itself and alike: equal rows score equally to the last bit, which a matrix product does not
    promise, and ties stay ties.
    """
    return jnp.sum(database * query[None, :], axis=-1, dtype=jnp.float32)


def rank(scores: Float[Array, " n"]) -> Int[Array, " n"]:
    """Indices from the highest score to the lowest; equal scores keep the order of the database."""
    return jnp.argsort(scores, descending=True, stable=True)


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
    return vectors * inverse_norm(jnp.sum(vectors, axis=0))
