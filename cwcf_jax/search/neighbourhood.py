"""The images around a query: who is near whom among the best rows of a search.

`reciprocal`, `diffusion` and `refinement` rank the M best rows of a search anew by how these lie to one another. They
share what is here. No image outside the M best plays a part, so that memory is M x M and the database's size is of no
account.

Equal rows must stay equal in every step, else pictures that are copies of one another would be ranked by rounding: a
matrix product does not promise equal rows equal bits. Whatever was computed of a row is therefore read from the first
row that equals it (`first_equal`), and a row that is as far away as the k-th nearest is near, too (`nearest`).
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from cwcf_jax.arrays import einsum

BLOCK = 16
"""Rows that are compared with all others at a time."""


def first_equal(rows: Float[Array, "n d"]) -> Int[Array, " n"]:
    """Find the first row that equals each row in all its numbers; a row that is like no earlier one finds itself."""
    return jax.lax.map(lambda row: jnp.argmax(jnp.all(rows == row[None, :], axis=-1)), rows, batch_size=BLOCK)


def cosines(rows: Float[Array, "n d"], same: Int[Array, " n"]) -> Float[Array, "n n"]:
    """Multiply every row with every row: symmetric, and equal to the last bit for equal rows.

    Args:
        rows: of norm 1, or zero, whose cosine with every row is 0.
        same: of the rows, from `first_equal`.

    Returns:
        In [-1, 1].
    """
    products = einsum("nd,md->nm", rows, rows)
    return jnp.clip((products + products.T) / 2, -1.0, 1.0)[same][:, same]


def nearest(distances: Float[Array, "n m"], count: int) -> Bool[Array, "n m"]:
    """Say of each row's distances which are the smallest: ``count`` of them, and those that equal the last of these.

    Args:
        distances: of n rows to m others, at least 1; any numbers, not NaN.
        count: at least 1; static. Where there are fewer, all of them.
    """
    last = jnp.sort(distances, axis=-1)[:, min(count, distances.shape[1]) - 1]
    return distances <= last[:, None]


def check(images: int, **counts: int) -> None:
    """Raise a ValueError if a number of images or of neighbours is not at least 1."""
    for name, count in {"images": images, **counts}.items():
        if count < 1:
            raise ValueError(f"{name} must be at least 1, not {count}")
