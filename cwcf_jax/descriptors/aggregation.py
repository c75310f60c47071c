"""From class vectors to one descriptor (section 3.2, "Descriptor Aggregation")."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from cwcf_jax.arrays import l2_normalize
from cwcf_jax.descriptors.whitening import Whitening, whiten


def whiten_normalized(vectors: Float[Array, "*batch k"], whitening: Whitening | None) -> Float[Array, "*batch d"]:
    """l2, whitening if any, l2. A zero vector is dropped: it stays zero instead of becoming the whitened mean."""
    unit = l2_normalize(vectors)
    if whitening is None:
        return unit
    present = jnp.any(vectors != 0, axis=-1, keepdims=True)
    return jnp.where(present, l2_normalize(whiten(unit, whitening)), 0.0)


def repeat_dropped(vectors: Float[Array, "n k"]) -> Float[Array, "n k"]:
    """Each zero vector replaced by the nearest one before it that is not zero, as the authors' released code does.

    Zero vectors before the first other one stay zero; the released code takes the previous image's last vector there.
    """
    present = jnp.any(vectors != 0, axis=-1)
    places = jax.lax.cummax(jnp.where(present, jnp.arange(vectors.shape[0]), -1))
    return vectors[jnp.maximum(places, 0)]


def aggregate(vectors: Float[Array, "n k"], whitening: Whitening | None) -> Float[Array, " d"]:
    """Sum of the embedded class vectors, scaled to norm 1; zero if every one of them is zero.

    Which classes the rows stand for makes the strategy: the image's own most probable ones (OfA), the query's (OnA) or
    a list fixed beforehand.
    """
    return l2_normalize(jnp.sum(whiten_normalized(vectors, whitening), axis=0))


def aggregate_prefixes(embedded: Float[Array, "n d"], counts: tuple[int, ...]) -> Float[Array, "m d"]:
    """Descriptors of the first ``counts[i]`` classes for every i at the cost of one: a sweep over N_C.

    Args:
        embedded: what `whiten_normalized` makes of the class vectors, the most probable class first.
        counts: how many rows to take, each between 1 and n; static.
    """
    if not counts or min(counts) < 1 or max(counts) > embedded.shape[0]:
        raise ValueError(f"counts must lie between 1 and {embedded.shape[0]}, not {counts}")
    return l2_normalize(jnp.cumsum(embedded, axis=0)[jnp.asarray(counts) - 1])
