"""Query expansion (section 4.5 of the paper)."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from cwcf_jax.arrays import l2_normalize


def average_expansion(database: Float[Array, "n d"], ranking: Int[Array, " n"], count: int) -> Float[Array, " d"]:
    """The new query: the l2-normalised sum of the ``count`` best-ranked rows; the old query is not added.

    Args:
        database: descriptors of norm 1.
        ranking: indices of the rows, best first.
        count: at least 1; static. A database of fewer rows is summed whole.
    """
    if count < 1:
        raise ValueError(f"query expansion sums at least 1 row, not {count}")
    return l2_normalize(jnp.sum(database[ranking[:count]], axis=0))
