"""Exact cosine search."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def similarities(query: Float[Array, " d"], database: Float[Array, "n d"]) -> Float[Array, " n"]:
    """Cosine of a query with every row; all vectors of norm 1 (or zero, which scores 0)."""
    return jnp.matmul(database, query, precision=jax.lax.Precision.HIGHEST, preferred_element_type=jnp.float32)


def rank(scores: Float[Array, " n"]) -> Int[Array, " n"]:
    """Indices from the highest score to the lowest; equal scores keep the order of the database."""
    return jnp.argsort(scores, descending=True, stable=True)
