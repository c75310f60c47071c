"""This module finds the neighbours among the best rows of a search, for `reciprocal`, `diffusion` and `refinement`.

These three modules rank the M best rows of a search anew by the rows' cosines with one another. Images outside the M
best play no part, so that memory is M x M, whatever the size of the database.

Equal rows must stay equal in every step; otherwise rounding would rank pictures that are copies of one another, since
a matrix product need not give equal rows equal bits. The values of a row are therefore read from the first row that
equals it (`first_equal`), and rows as far away as the k-th nearest row count as near, too (`nearest_mask`).
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, UInt32

from cwcf_jax.arrays import einsum


def first_equal(rows: Float[Array, "n d"]) -> Int[Array, " n"]:
    """Finds for each row the first row with equal numbers, which may be the row itself.

    Rows are sorted by a checksum, so that equal rows are adjacent, and adjacent rows are compared number by number.
    Every row is compared with all others only if different rows have equal checksums. ``n`` is at least 1.
    """
    count = rows.shape[0]
    checksums = row_checksums(rows)
    order = jnp.argsort(checksums, stable=True)
    sorted_rows, sorted_checksums = rows[order], checksums[order]
    equal = jnp.concatenate([jnp.zeros(1, bool), jnp.all(sorted_rows[1:] == sorted_rows[:-1], axis=-1)])
    collided = jnp.any(~equal[1:] & (sorted_checksums[1:] == sorted_checksums[:-1]))
    starts = jax.lax.cummax(jnp.where(equal, 0, jnp.arange(count)))
    first_rows = jnp.zeros(count, order.dtype).at[order].set(order[starts])

    def compare(state: tuple[Int[Array, ""], Int[Array, " n"]]) -> tuple[Int[Array, ""], Int[Array, " n"]]:
        row, first = state
        return row + 1, first.at[row].set(jnp.argmax(jnp.all(rows == rows[row][None, :], axis=-1)).astype(first.dtype))

    # A loop instead of a condition: under vmap, both branches of a condition are computed.
    return jax.lax.while_loop(lambda state: state[0] < count, compare, (jnp.where(collided, 0, count), first_rows))[1]


def row_checksums(rows: Float[Array, "n d"]) -> UInt32[Array, " n"]:
    """Computes a checksum of each row: the sum of the numbers' bits, each times an odd factor, modulo 2^32."""
    bits = jax.lax.bitcast_convert_type(jnp.where(rows == 0, jnp.zeros_like(rows), rows), jnp.uint32)  # -0 equals 0
    factors = np.random.default_rng(0).integers(2**32, size=rows.shape[1], dtype=np.uint32) | np.uint32(1)
    return jnp.sum(bits * factors[None, :], axis=-1, dtype=jnp.uint32)


def cosines(rows: Float[Array, "n d"], same: Int[Array, " n"]) -> Float[Array, "n n"]:
    """Computes the cosines of every row with every row, symmetric and bitwise equal for equal rows.

    Args:
        rows: vectors of norm 1, or zero vectors, which have the cosine 0 with every row.
        same: result of `first_equal` for the rows.

    Returns:
        Cosines in [-1, 1].
    """
    products = einsum("nd,md->nm", rows, rows)
    return jnp.clip((products + products.T) / 2, -1.0, 1.0)[same][:, same]


def nearest_mask(distances: Float[Array, "n m"], count: int) -> Bool[Array, "n m"]:
    """Marks the ``count`` smallest distances of each row, and all distances equal to the last of them.

    Args:
        distances: distances of n rows to m >= 1 others; any numbers except NaN.
        count: number of distances, at least 1; static. If it is larger than m, all distances are marked.
    """
    last = jnp.sort(distances, axis=-1)[:, min(count, distances.shape[1]) - 1]
    return distances <= last[:, None]


def check_counts(images: int, **counts: int) -> None:
    """Raises a ValueError if a number of images or of neighbours is below 1."""
    for name, count in {"images": images, **counts}.items():
        if count < 1:
            raise ValueError(f"{name} must be at least 1, not {count}")
