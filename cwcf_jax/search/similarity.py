"""This module computes cosines of descriptors, rankings by cosine, and the share of pairs of classes in a cosine."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from cwcf_jax.arrays import einsum, inverse_norm


class Ranking(NamedTuple):
    """A `Ranking` holds the ``scores`` and ``rows`` of k images, best first, for one or q queries.

    Of images with equal scores, the earlier row comes first.
    """

    scores: Float[Array, "*q k"] | Float[np.ndarray, "*q k"]
    rows: Int[Array, "*q k"] | Int[np.ndarray, "*q k"]


def similarities(query: Float[Array, " d"], database: Float[Array, "n d"]) -> Float[Array, " n"]:
    """Computes the cosine of a query with every row; all vectors have norm 1 (or are zero and score 0).

    All rows are summed separately and in the same order: equal rows get bitwise equal scores, and ties stay ties. A
    matrix product does not guarantee this.
    """
    return jnp.sum(database * query[None, :], axis=-1, dtype=jnp.float32)


def rank(scores: Float[Array, " n"]) -> Int[Array, " n"]:
    """Returns the indices from the highest score to the lowest; equal scores keep the order of the database."""
    return jnp.argsort(scores, descending=True, stable=True)


def class_pairs(query: Float[Array, "n d"], image: Float[Array, "m d"]) -> Float[Array, "n m"]:
    """Computes the share that each pair of a query's class and an image's class adds to the cosine of the descriptors.

    The sum over all pairs is the score, up to rounding; the sum over a row or a column is the share of one class. The
    classes may be the same for query and image (OnA) or each image's own (OfA).

    Args:
        query: embedded class vectors of the query; their sum, scaled to norm 1, is the query's descriptor.
        image: embedded class vectors of the image; their sum, scaled to norm 1, is the image's descriptor.

    Returns:
        Shares, which may be negative; 0 where a descriptor is zero.
    """
    return einsum("nd,md->nm", *(_share(vectors) for vectors in (query, image)))


def _share(vectors: Float[Array, "n d"]) -> Float[Array, "n d"]:
    """Scales the vectors so that their sum has norm 1."""
    return vectors * inverse_norm(jnp.sum(vectors, axis=0))
