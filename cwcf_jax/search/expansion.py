"""Query expansion (section 4.5 of the paper), and its weighted and database-side kin."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from cwcf_jax.arrays import einsum, l2_normalize
from cwcf_jax.search.similarity import similarities


def average_expansion(database: Float[Array, "n d"], ranking: Int[Array, " n"], count: int) -> Float[Array, " d"]:
    """The new query: the l2-normalised sum of the ``count`` best-ranked rows; the old query is not added.

    Args:
        database: descriptors of norm 1.
        ranking: indices of the rows, best first.
        count: at least 1; static. A database of fewer rows is summed whole.
    """
    _check_count("query expansion sums", count)
    return l2_normalize(jnp.sum(database[ranking[:count]], axis=0))


def mean_vector(vectors: Float[Array, "m d"]) -> Float[Array, " d"]:
    """The l2-normalised mean of a few vectors."""
    return l2_normalize(jnp.sum(vectors, axis=0))


def alpha_expansion(
    query: Float[Array, " d"], database: Float[Array, "n d"], ranking: Int[Array, " n"], count: int, *, alpha: float
) -> Float[Array, " d"]:
    """The new query: the l2-normalised sum of the old one and the best rows, each weighted by ``similarity^alpha``.

    Source: Radenovic et al. 2018 (alpha 3). A row whose similarity is not positive counts nothing, whatever alpha;
    with alpha 0 every other row counts as much as the query.

    Args:
        query: descriptor of norm 1.
        database: descriptors of norm 1.
        ranking: indices of the rows, best first.
        count: how many rows, at least 1; static. A database of fewer rows is summed whole.
        alpha: at least 0; static.
    """
    _check_count("query expansion sums", count)
    _check_alpha(alpha)
    rows = database[ranking[:count]]
    return _weighted(query, rows, similarities(query, rows), alpha)


def augment_database(
    database: Float[Array, "n d"], neighbours: int, *, alpha: float, block: int = 128
) -> Float[Array, "n d"]:
    """Each row expanded as a query would be, by its nearest other rows: `alpha_expansion` on the database's side.

    Source: Turcot & Lowe 2009; Gordo et al. 2017. All rows are expanded by what the others were before. A zero row
    stays zero.

    Args:
        database: descriptors of norm 1.
        neighbours: how many other rows, at least 1; static. Of equally similar ones the earlier row is nearer.
        alpha: at least 0; static.
        block: rows at a time, at least 1; static. Memory is block x (n + neighbours x d) floats.
    """
    _check_count("database augmentation sums", neighbours)
    _check_alpha(alpha)
    _check_count("a block holds", block)
    count = database.shape[0]
    if count == 0:
        return database

    def expand(place: Int[Array, ""]) -> Float[Array, " d"]:
        row = database[place]
        scores = jnp.where(jnp.arange(count) == place, -jnp.inf, einsum("nd,d->n", database, row))
        nearest, places = jax.lax.top_k(scores, min(neighbours, count))
        return _weighted(row, database[places], nearest, alpha)

    return jax.lax.map(expand, jnp.arange(count), batch_size=block)


def _weighted(
    query: Float[Array, " d"], rows: Float[Array, "m d"], scores: Float[Array, " m"], alpha: float
) -> Float[Array, " d"]:
    similar = scores > 0
    weights = jnp.where(similar, jnp.where(similar, scores, 1.0) ** alpha, 0.0)
    return l2_normalize(query + einsum("m,md->d", weights, rows))


def _check_count(what: str, count: int) -> None:
    if count < 1:
        raise ValueError(f"{what} at least 1 row, not {count}")


def _check_alpha(alpha: float) -> None:
    if not alpha >= 0.0:
        raise ValueError(f"alpha must be 0 or more, not {alpha}")
