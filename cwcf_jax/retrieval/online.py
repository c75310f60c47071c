"""Online aggregation: scores of a query against images whose class vectors are stored, class by class."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Num

UNROLL = 8
"""Classes that one step adds up: the sum is read and written once for all of them."""


@jax.jit
def online_scores(
    values: Num[Array, "c b d"],
    scales: Float[Array, "c b"] | None,
    positions: Int[Array, " n"],
    query: Float[Array, " d"],
) -> Float[Array, " b"]:
    """Cosine of a query with each image's descriptor under the query's classes (OnA, section 3.2 of the paper).

    The class vectors are read where they are, one run of the first axis a class; nothing of the rest is touched.

    Args:
        values: whitened class vectors of norm 1, of c classes of b images; int8 or floating.
        scales: what to multiply each vector of ``values`` by; None: 1.
        positions: the query's classes on the first axis of ``values``, distinct.
        query: descriptor of norm 1.

    Returns:
        In [-1, 1], float32; 0 for an image without evidence for any of the classes.
    """
    sums = _sums(values, scales, positions)
    square = jnp.sum(jnp.square(sums), axis=-1)
    norm = jax.lax.rsqrt(jnp.where(square > 0, square, 1.0))
    return jnp.sum(sums * query[None, :], axis=-1) * norm


def _sums(
    values: Num[Array, "c b d"], scales: Float[Array, "c b"] | None, positions: Int[Array, " n"]
) -> Float[Array, "b d"]:
    def add(sums: Float[Array, "b d"], position: Int[Array, ""]) -> tuple[Float[Array, "b d"], None]:
        vectors = jax.lax.dynamic_index_in_dim(values, position, keepdims=False).astype(jnp.float32)
        if scales is not None:
            vectors = vectors * jax.lax.dynamic_index_in_dim(scales, position, keepdims=False)[:, None]
        return sums + vectors, None

    start = jnp.zeros(values.shape[1:], jnp.float32)
    return jax.lax.scan(add, start, positions, unroll=UNROLL)[0]
