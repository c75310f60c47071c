"""Exact cosine search."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def similarities(query: Float[Array, " d"], database: Float[Array, "n d"]) -> Float[Array, " n"]:
    """Cosine of a query with every row; all vectors of norm 1 (or zero, which scores 0).

    Every row is reduced by itself and alike: equal rows score equally to the last bit, which a matrix product does not
    promise, and ties stay ties.
    """
    return jnp.sum(database * query[None, :], axis=-1, dtype=jnp.float32)


def rank(scores: Float[Array, " n"]) -> Int[Array, " n"]:
    """Indices from the highest score to the lowest; equal scores keep the order of the database."""
    return jnp.argsort(scores, descending=True, stable=True)
