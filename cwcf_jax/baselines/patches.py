"""Patch search (Razavian et al. 2016): every image as some thirty patches, each through the network by itself."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from PIL import Image

from cwcf_jax import descriptors, encoder
from cwcf_jax.descriptors import Whitening, patches
from cwcf_jax.encoder import Extractor

PATCHES = 64
"""Patches that are kept of an image, at most; the widest photographs in use have fewer."""

BATCH = 8
"""Patches in one pass."""


def patch_rows(extractor: Extractor, images: np.ndarray, sizes: np.ndarray, side: int) -> dict[str, np.ndarray]:
    """Maximum of each channel over each patch, ``{"patches": [b, PATCHES, k]}``; rows beyond the patches are zero.

    Args:
        extractor: whose layer is pooled.
        images: [b, h, w, 3] uint8, padded.
        sizes: [b, 2], valid rows and columns.
        side: pixels to which every patch is resized, 576 in the original.
    """
    found = np.zeros((len(images), PATCHES, extractor.dim), np.float32)
    for row, image, (height, width) in zip(found, images, sizes.tolist(), strict=True):
        boxes = patches.patch_boxes(height, width)[:PATCHES]
        picture = Image.fromarray(np.asarray(image[:height, :width]))
        corners = [(float(x1), float(y1), float(x2), float(y2)) for x1, y1, x2, y2 in boxes]
        squares = np.stack(
            [np.asarray(picture.resize((side, side), Image.Resampling.BILINEAR, box=box)) for box in corners]
        )
        padded = np.concatenate([squares, np.repeat(squares[-1:], -len(squares) % BATCH, axis=0)])
        pooled = [_pool(extractor, padded[i : i + BATCH]) for i in range(0, len(padded), BATCH)]
        row[: len(boxes)] = np.concatenate(pooled)[: len(boxes)]
    return {"patches": found}


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
    return jax.lax.map(lambda one: descriptors.embed(one, whitening), rows, batch_size=64)


@jax.jit
def rank_patches(query: Float[Array, "p d"], database: Float[Array, "n r d"]) -> Float[Array, " n"]:
    """Similarity of each image: minus the mean distance of the query's patches to the nearest of the image's."""
    return jax.lax.map(lambda one: patches.patch_similarity(query, one), database, batch_size=64)
