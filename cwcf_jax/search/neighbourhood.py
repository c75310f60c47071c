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
import numpy as np
from jaxtyping import Array, Bool, Float, Int, UInt32

from cwcf_jax.arrays import einsum


def first_equal(rows: Float[Array, "n d"]) -> Int[Array, " n"]:
    """Find the first row that equals each row in all its numbers; a row that is like no earlier one finds itself.

    Rows are sorted by a checksum, so that equal ones lie side by side, and neighbours are compared number by number.
    Only where different rows have one checksum is every row compared with all others. ``n`` is at least 1.
    """
    count = rows.shape[0]
    checksums = row_checksums(rows)
    order = jnp.argsort(checksums, stable=True)
    ordered, in_order = rows[order], checksums[order]
    equal = jnp.concatenate([jnp.zeros(1, bool), jnp.all(ordered[1:] == ordered[:-1], axis=-1)])
    collided = jnp.any(~equal[1:] & (in_order[1:] == in_order[:-1]))
    starts = jax.lax.cummax(jnp.where(equal, 0, jnp.arange(count)))
    found = jnp.zeros(count, order.dtype).at[order].set(order[starts])

    def compare(state: tuple[Int[Array, ""], Int[Array, " n"]]) -> tuple[Int[Array, ""], Int[Array, " n"]]:
        row, first = state
        return row + 1, first.at[row].set(jnp.argmax(jnp.all(rows == rows[row][None, :], axis=-1)).astype(first.dtype))

    # a loop and no condition: under vmap both sides of a condition would be computed
    return jax.lax.while_loop(lambda state: state[0] < count, compare, (jnp.where(collided, 0, count), found))[1]


def row_checksums(rows: Float[Array, "n d"]) -> UInt32[Array, " n"]:
    """Sum the bits of each row's numbers, each times an odd number of its own, modulo 2^32: equal for equal rows."""
    bits = jax.lax.bitcast_convert_type(jnp.where(rows == 0, jnp.zeros_like(rows), rows), jnp.uint32)  # -0 equals 0
    factors = np.random.default_rng(0).integers(2**32, size=rows.shape[1], dtype=np.uint32) | np.uint32(1)
    return jnp.sum(bits * factors[None, :], axis=-1, dtype=jnp.uint32)


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
