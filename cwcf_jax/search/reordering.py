"""What a second look at the best-ranked images changes (section 4.5 of the paper): their order and their rows."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def reorder(ranking: Int[Array, " n"], scores: Float[Array, " r"]) -> Int[Array, " n"]:
    """The ranking with its first r images sorted by their new scores; the others stay where they are.

    Args:
        ranking: indices of the rows, best first.
        scores: of ``ranking[:r]``, in that order; the highest comes first, equal ones keep their order.

    Raises:
        ValueError: more scores than images.
    """
    count = scores.shape[0]
    if count > ranking.shape[0]:
        raise ValueError(f"{count} scores for a ranking of {ranking.shape[0]}")
    order = jnp.argsort(scores, descending=True, stable=True)
    return jnp.concatenate([ranking[:count][order], ranking[count:]])


def replace_rows(
    database: Float[Array, "n d"], rows: Int[Array, " r"], vectors: Float[Array, "r d"]
) -> Float[Array, "n d"]:
    """The database with ``vectors`` in place of ``rows``, which are distinct; the one handed in is not changed.

    So the winning regions of the best images stand in for them when the query is expanded, and for this query alone.
    """
    return database.at[rows].set(vectors)
