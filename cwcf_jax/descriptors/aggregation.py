"""This module aggregates class vectors to one descriptor (section 3.2 of the paper, "Descriptor Aggregation")."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from cwcf_jax.arrays import l2_normalize
from cwcf_jax.descriptors.whitening import Whitening, whiten


def whiten_normalized(vectors: Float[Array, "*batch k"], whitening: Whitening | None) -> Float[Array, "*batch d"]:
    """Normalises vectors to length 1, whitens them if ``whitening`` is not None, and normalises them again.

    A zero vector, which stands for a dropped class, stays zero.
    """
    unit = l2_normalize(vectors)
    if whitening is None:
        return unit
    present = jnp.any(vectors != 0, axis=-1, keepdims=True)
    return jnp.where(present, l2_normalize(whiten(unit, whitening)), 0.0)


def repeat_dropped(vectors: Float[Array, "n k"]) -> Float[Array, "n k"]:
    """Replaces each zero vector by the last nonzero vector before it, as the authors' released code does.

    Zero vectors before the first nonzero vector stay zero. The released code uses the previous image's last vector for
    them.
    """
    present = jnp.any(vectors != 0, axis=-1)
    sources = jax.lax.cummax(jnp.where(present, jnp.arange(vectors.shape[0]), -1))
    return vectors[jnp.maximum(sources, 0)]


def aggregate(vectors: Float[Array, "n k"], whitening: Whitening | None) -> Float[Array, " d"]:
    """Whitens class vectors and sums them to a descriptor of norm 1; zero if all class vectors are zero.

    The classes of the rows make the strategy: the image's own most probable classes (OfA), the query's classes (OnA)
    or a predefined list.
    """
    return l2_normalize(jnp.sum(whiten_normalized(vectors, whitening), axis=0))


def aggregate_prefixes(whitened: Float[Array, "n d"], counts: tuple[int, ...]) -> Float[Array, "m d"]:
    """Computes the descriptors of the first ``counts[i]`` classes for every i, for the cost of one descriptor.

    Args:
        whitened: class vectors from `whiten_normalized`, the most probable class first.
        counts: values of N_C, each between 1 and n; static.
    """
    if not counts or min(counts) < 1 or max(counts) > whitened.shape[0]:
        raise ValueError(f"counts must lie between 1 and {whitened.shape[0]}, not {counts}")
    return l2_normalize(jnp.cumsum(whitened, axis=0)[jnp.asarray(counts) - 1])
