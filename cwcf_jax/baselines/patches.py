"""Patch search (Razavian et al. 2016): every image as some thirty patches, each through the network by itself."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from PIL import Image

from cwcf_jax import descriptors, encoder
from cwcf_jax.arrays import einsum
from cwcf_jax.descriptors import Whitening
from cwcf_jax.encoder import Extractor

PATCHES = 64
"""Patches that are kept of an image, at most; the widest photographs in use have fewer."""

DIM = 512
"""Dimensions that the whitening keeps."""

BATCH = 8
"""Patches in one pass."""

FARTHEST = 2.0
"""The largest distance between unit vectors: how far an image is that has no patch to compare."""


def patch_boxes(height: int, width: int, *, levels: Sequence[int] = (1, 2, 3, 4)) -> Float[np.ndarray, "p 4"]:
    """Boxes ``x1 y1 x2 y2`` in pixels, not rounded: level l has squares of side 2 / (l + 1) of the short side.

    l of them lie along the short side, neighbours overlapping by half; along the long side as many, or as many as it
    takes to leave no gap, evenly spread from edge to edge. Every level covers the image.

    The source says that patches are square, overlap and cover the image at several scales, and the class weighted
    paper that there are 32; sides and places are chosen here: 30 patches of a square image, 31 of 4:3, 33 of 3:2.

    Args:
        height: of the image in pixels.
        width: of the image in pixels.
        levels: each at least 1.

    Returns:
        Level after level, row by row; float32.
    """
    if height < 1 or width < 1 or not levels or min(levels) < 1:
        raise ValueError(f"no patches of {height} x {width} pixels at levels {tuple(levels)}")
    short = min(height, width)
    boxes = []
    for level in levels:
        side = 2 * short / (level + 1)
        tops, lefts = (_starts(length, short, level) for length in (height, width))
        boxes += [(left, top, left + side, top + side) for top in tops for left in lefts]
    return np.minimum(np.asarray(boxes, np.float32), np.asarray([width, height] * 2, np.float32))


def _starts(length: int, short: int, level: int) -> np.ndarray:
    side = 2 * short / (level + 1)
    count = max(level, -(-length * (level + 1) // (2 * short)))
    return np.linspace(0.0, length - side, count) if count > 1 else np.zeros(1)


def patch_rows(extractor: Extractor, images: np.ndarray, sizes: np.ndarray, side: int) -> dict[str, np.ndarray]:
    """Maximum of each channel over each patch, ``{"patches": [b, PATCHES, k]}``; rows beyond the patches are zero.

    Args:
        extractor: whose layer is pooled.
        images: [b, h, w, 3] uint8, padded.
        sizes: [b, 2], valid rows and columns.
        side: pixels to which every patch is resized, 576 in the original.
    """
    pooled_patches = np.zeros((len(images), PATCHES, extractor.dim), np.float32)
    for row, image, (height, width) in zip(pooled_patches, images, sizes.tolist(), strict=True):
        boxes = patch_boxes(height, width)[:PATCHES]
        picture = Image.fromarray(np.asarray(image[:height, :width]))
        corners = [(float(x1), float(y1), float(x2), float(y2)) for x1, y1, x2, y2 in boxes]
        squares = np.stack(
            [np.asarray(picture.resize((side, side), Image.Resampling.BILINEAR, box=box)) for box in corners]
        )
        padded = np.concatenate([squares, np.repeat(squares[-1:], -len(squares) % BATCH, axis=0)])
        maxima = [_pool(extractor, padded[i : i + BATCH]) for i in range(0, len(padded), BATCH)]
        row[: len(boxes)] = np.concatenate(maxima)[: len(boxes)]
    return {"patches": pooled_patches}


@jax.jit
def _maximum(maps: Float[Array, "b h w k"]) -> Float[Array, "b k"]:
    return jnp.max(maps, axis=(1, 2))


def _pool(extractor: Extractor, squares: np.ndarray) -> np.ndarray:
    sizes = jnp.full((len(squares), 2), squares.shape[1], jnp.int32)
    return np.asarray(_maximum(encoder.layer_maps(extractor, squares, sizes)[0]))


def describe_patches(rows: np.ndarray, whitening: Whitening | None) -> Float[Array, "n p d"]:
    """l2, whitening and l2 of every stored patch [n, p, k]; zero rows stay zero."""
    return _embed(rows, whitening)


@jax.jit
def _embed(rows: Float[Array, "n p k"], whitening: Whitening | None) -> Float[Array, "n p d"]:
    return jax.lax.map(lambda one: descriptors.whiten_normalized(one, whitening), rows, batch_size=64)


def patch_similarity(query: Float[Array, "p d"], reference: Float[Array, "r d"]) -> Float[Array, ""]:
    """Minus the mean over the query's patches of the Euclidean distance to the nearest patch of the reference.

    Args:
        query: unit vectors; rows of 0, which pad, take no part.
        reference: unit vectors; rows of 0 take no part.

    Returns:
        Between -2 and 0; -2 where either has no patch.
    """
    in_query = jnp.any(query != 0, axis=-1)
    in_reference = jnp.any(reference != 0, axis=-1)
    cosines = jnp.where(in_reference[None, :], einsum("pd,rd->pr", query, reference), -jnp.inf)
    # The distance itself and not sqrt(2 - 2 cos), which makes 3e-4 of a rounding error where patches are equal.
    square = jnp.sum(jnp.square(query - reference[jnp.argmax(cosines, axis=1)]), axis=-1, dtype=jnp.float32)
    apart = square > 0
    distances = jnp.where(apart, jnp.sqrt(jnp.where(apart, square, 1.0)), 0.0)
    comparable = in_query & jnp.any(in_reference)
    count = jnp.sum(comparable, dtype=jnp.float32)
    mean = jnp.sum(distances, where=comparable, dtype=jnp.float32) / jnp.maximum(count, 1.0)
    return -jnp.where(count > 0, mean, FARTHEST)


@jax.jit
def rank_patches(query: Float[Array, "p d"], database: Float[Array, "n r d"]) -> Float[Array, " n"]:
    """`patch_similarity` of the query with each image of the database."""
    return jax.lax.map(lambda one: patch_similarity(query, one), database, batch_size=64)
