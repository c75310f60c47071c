"""This module searches by patches (Razavian et al. 2016): the network runs on about thirty patches of each image."""

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
"""The largest number of patches of an image; the widest photographs of the benchmarks have fewer patches."""

DIM = 512
"""The number of dimensions that the whitening keeps."""

BATCH_PATCHES = 8
"""The number of patches in one run of the network."""

MAX_DISTANCE = 2.0
"""The largest distance between unit vectors, and the distance of an image without patches."""


def patch_boxes(height: int, width: int, *, levels: Sequence[int] = (1, 2, 3, 4)) -> Float[np.ndarray, "p 4"]:
    """Returns square patches at several levels; level l has squares with sides of 2 / (l + 1) of the short side.

    Along the short side lie l patches, and neighbours overlap by half. Along the long side lie at least l patches, as
    many as are needed to leave no gap, evenly from edge to edge. Each level covers the image.

    Razavian et al. say that patches are square, overlap and cover the image at several scales. The paper says that
    there are 32. This project chose sides and positions: 30 patches of a square image, 31 of 4:3, 33 of 3:2.

    Args:
        height: height of the image in pixels.
        width: width of the image in pixels.
        levels: levels, each at least 1.

    Returns:
        Boxes ``x1 y1 x2 y2`` in pixels, not rounded, float32; in the order of levels, and row by row in each level.
    """
    if height < 1 or width < 1 or not levels or min(levels) < 1:
        raise ValueError(f"an image of {height} x {width} pixels has no patches at levels {tuple(levels)}")
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
    """Computes the maximum of each channel over each patch; unused rows are zero.

    Args:
        extractor: the network and the layer that is pooled.
        images: [b, h, w, 3] uint8, padded.
        sizes: [b, 2], valid rows and columns.
        side: the side in pixels that each patch is resized to; 576 in Razavian et al.

    Returns:
        ``{"patches": [b, PATCHES, k]}``.
    """
    pooled_patches = np.zeros((len(images), PATCHES, extractor.dim), np.float32)
    for row, image, (height, width) in zip(pooled_patches, images, sizes.tolist(), strict=True):
        boxes = patch_boxes(height, width)[:PATCHES]
        picture = Image.fromarray(np.asarray(image[:height, :width]))
        corners = [(float(x1), float(y1), float(x2), float(y2)) for x1, y1, x2, y2 in boxes]
        squares = np.stack(
            [np.asarray(picture.resize((side, side), Image.Resampling.BILINEAR, box=box)) for box in corners]
        )
        padded = np.concatenate([squares, np.repeat(squares[-1:], -len(squares) % BATCH_PATCHES, axis=0)])
        maxima = [_pool(extractor, padded[i : i + BATCH_PATCHES]) for i in range(0, len(padded), BATCH_PATCHES)]
        row[: len(boxes)] = np.concatenate(maxima)[: len(boxes)]
    return {"patches": pooled_patches}


@jax.jit
def _maximum(maps: Float[Array, "b h w k"]) -> Float[Array, "b k"]:
    return jnp.max(maps, axis=(1, 2))


def _pool(extractor: Extractor, squares: np.ndarray) -> np.ndarray:
    sizes = jnp.full((len(squares), 2), squares.shape[1], jnp.int32)
    return np.asarray(_maximum(encoder.layer_maps(extractor, squares, sizes)[0]))


def describe_patches(rows: np.ndarray, whitening: Whitening | None) -> Float[Array, "n p d"]:
    """Normalises, whitens and normalises the vectors of all patches [n, p, k]; zero rows stay zero."""
    return _whiten_normalized(rows, whitening)


@jax.jit
def _whiten_normalized(rows: Float[Array, "n p k"], whitening: Whitening | None) -> Float[Array, "n p d"]:
    return jax.lax.map(lambda patches: descriptors.whiten_normalized(patches, whitening), rows, batch_size=64)


def patch_similarity(query: Float[Array, "p d"], reference: Float[Array, "r d"]) -> Float[Array, ""]:
    """Computes minus the mean distance of the query's patches to their nearest patches of a reference image.

    Args:
        query: unit vectors of the query's patches; zero rows are padding and ignored.
        reference: unit vectors of the reference's patches; zero rows are padding and ignored.

    Returns:
        A similarity between -2 and 0; -2 if the query or the reference has no patches. Distances are Euclidean.
    """
    in_query = jnp.any(query != 0, axis=-1)
    in_reference = jnp.any(reference != 0, axis=-1)
    cosines = jnp.where(in_reference[None, :], einsum("pd,rd->pr", query, reference), -jnp.inf)
    # sqrt(2 - 2 cos) would turn a rounding error into a distance of 3e-4 between equal patches.
    square = jnp.sum(jnp.square(query - reference[jnp.argmax(cosines, axis=1)]), axis=-1, dtype=jnp.float32)
    positive = square > 0
    distances = jnp.where(positive, jnp.sqrt(jnp.where(positive, square, 1.0)), 0.0)
    comparable = in_query & jnp.any(in_reference)
    count = jnp.sum(comparable, dtype=jnp.float32)
    mean = jnp.sum(distances, where=comparable, dtype=jnp.float32) / jnp.maximum(count, 1.0)
    return -jnp.where(count > 0, mean, MAX_DISTANCE)


@jax.jit
def rank_patches(query: Float[Array, "p d"], database: Float[Array, "n r d"]) -> Float[Array, " n"]:
    """Computes the `patch_similarity` of the query with each image of the database."""
    return jax.lax.map(lambda reference: patch_similarity(query, reference), database, batch_size=64)
