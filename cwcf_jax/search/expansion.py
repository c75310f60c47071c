"""This module expands queries (section 4.5 of the paper), with weights if desired, and the rows of a database."""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from cwcf_jax.arrays import einsum, l2_normalize
from cwcf_jax.search.similarity import similarities


@functools.partial(jax.jit, static_argnames=("alpha", "add_query"))
def expand_query(
    query: Float[Array, " d"], rows: Float[Array, "m d"], *, alpha: float | None = None, add_query: bool = False
) -> Float[Array, " d"]:
    """Computes the query of the next search: the sum of the best rows of a search, scaled to norm 1.

    Source: section 4.5 of the paper for the plain sum; Radenovic et al. 2018 for the weights (alpha 3, with the query).

    Args:
        query: descriptor of norm 1.
        rows: descriptors of norm 1 of the best m images, at least 1.
        alpha: exponent of the weights, at least 0: a row has the weight ``similarity^alpha``, or 0 if its similarity is
            not positive. None: every row has the weight 1.
        add_query: whether the query is part of the sum, with the weight 1.

    Raises:
        ValueError: there is no row, or alpha is negative.
    """
    _check_count("query expansion sums", rows.shape[0])
    if alpha is not None:
        check_alpha(alpha)
        total = _weighted_sum(rows, similarities(query, rows), alpha)
        return l2_normalize(query + total if add_query else total)
    return mean_vector(jnp.concatenate([query[None], rows]) if add_query else rows)


def mean_vector(vectors: Float[Array, "m d"]) -> Float[Array, " d"]:
    """Computes the l2-normalised mean of a few vectors."""
    return l2_normalize(jnp.sum(vectors, axis=0))


def augment_database(
    database: Float[Array, "n d"], neighbours: int, *, alpha: float, block: int = 128
) -> Float[Array, "n d"]:
    """Expands each row of a database as `expand_query` expands a query, by the row's nearest other rows and itself.

    Source: Turcot & Lowe 2009; Gordo et al. 2017. Each row is expanded by the original values of the other rows. A
    zero row stays zero.

    Args:
        database: descriptors of norm 1.
        neighbours: number of other rows that expand a row, at least 1; static. Of equally similar rows, the earlier
            row is nearer.
        alpha: exponent of the weights, at least 0; static.
        block: number of rows that are expanded at once, at least 1; static. Memory is block x (n + neighbours x d)
            floats.
    """
    _check_count("database augmentation sums", neighbours)
    check_alpha(alpha)
    _check_count("a block holds", block)
    count = database.shape[0]
    if count == 0:
        return database

    def expand(index: Int[Array, ""]) -> Float[Array, " d"]:
        row = database[index]
        scores = jnp.where(jnp.arange(count) == index, -jnp.inf, einsum("nd,d->n", database, row))
        best_scores, best_rows = jax.lax.top_k(scores, min(neighbours, count))
        return l2_normalize(row + _weighted_sum(database[best_rows], best_scores, alpha))

    return jax.lax.map(expand, jnp.arange(count), batch_size=block)


def _weighted_sum(rows: Float[Array, "m d"], scores: Float[Array, " m"], alpha: float) -> Float[Array, " d"]:
    similar = scores > 0
    weights = jnp.where(similar, jnp.where(similar, scores, 1.0) ** alpha, 0.0)
    return einsum("m,md->d", weights, rows)


def _check_count(what: str, count: int) -> None:
    if count < 1:
        raise ValueError(f"{what} at least 1 row, not {count}")


def check_alpha(alpha: float) -> None:
    """Raises a ValueError if ``alpha`` is negative or NaN."""
    if not alpha >= 0.0:
        raise ValueError(f"alpha must be 0 or more, not {alpha}")
