"""Bags of visual words made of the cells of a feature map (Mohedano et al. 2016)."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from cwcf_jax.arrays import Shape, Size, l2_normalize
from cwcf_jax.descriptors.aggregation import embed
from cwcf_jax.descriptors.cam import resize_maps
from cwcf_jax.descriptors.kmeans import assign
from cwcf_jax.descriptors.whitening import Whitening


def local_features(
    features: Float[Array, "h w k"],
    size: Size,
    target_size: Size,
    target_shape: Shape,
    whitening: Whitening | None,
) -> Float[Array, "h2 w2 d"]:
    """One vector a cell: the map resized bilinearly, then l2, whitening, l2 in each cell.

    Args:
        features: after ReLU, 0 outside ``size``.
        size: valid rows and columns.
        target_size: valid rows and columns to resize to; the paper doubles both.
        target_shape: of the result; static.
        whitening: fitted on such cells after their first l2; None leaves it out.

    Returns:
        Unit vectors; 0 in a cell without activation and outside ``target_size``.
    """
    return embed(resize_maps(features, size, target_size, target_shape), whitening)


def assign_cells(local: Float[Array, "h w d"], centroids: Float[Array, "words d"]) -> Int[Array, "h w"]:
    """The assignment map: the word nearest to each cell's vector, int32; -1, no word, where the vector is 0."""
    nearest = assign(local.reshape(-1, local.shape[-1]), centroids).reshape(local.shape[:2])
    return jnp.where(jnp.any(local != 0, axis=-1), nearest, -1)


def word_counts(assignment: Int[Array, "h w"], region: Bool[Array, "h w"], words: int) -> Float[Array, " words"]:
    """How many cells of the region hold each of the ``words`` words; a cell outside the vocabulary, -1, counts nowhere.

    Args:
        assignment: word of each cell.
        region: the cells that count.
        words: size of the vocabulary; static.
    """
    counted = region & (assignment >= 0)
    return jnp.zeros(words, jnp.float32).at[jnp.where(counted, assignment, words)].add(1.0, mode="drop")


def histogram(assignment: Int[Array, "h w"], region: Bool[Array, "h w"], words: int) -> Float[Array, " words"]:
    """`word_counts` scaled to norm 1; 0 for a region without words."""
    return l2_normalize(word_counts(assignment, region, words))
