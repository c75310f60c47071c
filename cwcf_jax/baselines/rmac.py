"""This module computes regional maximum activations of convolutions (R-MAC; Tolias, Sicre & Jegou 2016).

The descriptor is `descriptors.aggregate` of the regions' vectors. `pooled.PooledSearch` searches descriptors.
`RmacWindows` re-ranks the best images by the windows that `rmac_localization` finds.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from cwcf_jax import descriptors
from cwcf_jax.arrays import Size, bucket_shape
from cwcf_jax.baselines import rmac_localization as localization
from cwcf_jax.descriptors import Whitening, cell_mask, max_pool
from cwcf_jax.search import mean_vector

LONG_SIDE_COUNTS = np.arange(2, 8)
"""The possible numbers of regions of the coarsest level along the long side."""

MAX_REGIONS = 50
"""The largest number of regions of three levels; level l has l along the short side, at most l + 6 along the long."""

BUCKET_CELLS = 8
"""The sides of maps are padded to multiples of this number of cells before re-ranking, to limit compilations."""

PERCENTILE = 99.0
"""The percentile of positive activations that counts as a typical maximum when activations are quantised."""


def regions(height: int, width: int, *, levels: int = 3, overlap: float = 0.4) -> np.ndarray:
    """Returns square regions of a map at several levels, at the positions of the authors' released code.

    Level l has squares of side ``floor(2 min(height, width) / (l + 1))``, evenly spaced. A map that is not square has
    additional regions along the long side. Their number brings the overlap of neighbours in the first level closest to
    ``overlap``. The whole map is a region only if it is square. Levels with a side below one cell are left out, as on
    maps one cell wide.

    Args:
        height: rows of the map.
        width: columns of the map.
        levels: the number of levels.
        overlap: the intended overlap of neighbours, as a share of a region.

    Returns:
        Boxes ``x1 y1 x2 y2`` in cells, half-open: [r, 4], r >= 1, in the order of levels, and row by row in each level.

    Raises:
        ValueError: the map has no cells, or ``levels`` is below 1.
    """
    if min(height, width, levels) < 1:
        raise ValueError(f"regions need at least one row, column and level, not {height}, {width} and {levels}")
    extra = _extra_regions(min(height, width), max(height, width), overlap)
    boxes = []
    for level in range(1, levels + 1):
        side = 2 * min(height, width) // (level + 1)
        if side == 0:
            continue
        tops = _offsets(height, side, level + extra * (height > width))
        lefts = _offsets(width, side, level + extra * (width > height))
        boxes += [(left, top, left + side, top + side) for top in tops for left in lefts]
    return np.array(boxes, np.int32)


def pad_regions(boxes: np.ndarray, count: int = MAX_REGIONS) -> tuple[np.ndarray, np.ndarray]:
    """Pads boxes [r, 4] with empty boxes to [count, 4]; also returns the mask [count] of the r boxes.

    Raises:
        ValueError: there are more than ``count`` boxes.
    """
    if len(boxes) > count:
        raise ValueError(f"{len(boxes)} regions do not fit into {count}")
    padded = np.zeros((count, 4), np.int32)
    padded[: len(boxes)] = boxes
    return padded, np.arange(count) < len(boxes)


def max_over_regions(
    features: Float[Array, "h w k"], boxes: Int[Array, "r 4"], valid: Bool[Array, " r"]
) -> Float[Array, "r k"]:
    """Computes the maximum of each channel over each box's cells; the row is zero for an invalid or an empty box."""

    def pool_box(box: Int[Array, "4"], is_valid: Bool[Array, ""]) -> Float[Array, " k"]:
        return max_pool(features, cell_mask(box, features.shape[:2]) & is_valid)

    return jax.vmap(pool_box)(boxes, valid)


def _extra_regions(short: int, long: int, overlap: float) -> int:
    """Returns the number of additional regions along the long side.

    Rounding decides between two equally good numbers (maps of 5 by 9), with the same result as in the released code.
    """
    shift = (long - short) / (LONG_SIDE_COUNTS - 1)
    return 1 + int(np.argmin(np.abs((short**2 - short * shift) / short**2 - overlap)))


def _offsets(length: int, side: int, count: int) -> list[int]:
    """Returns the first cells of ``count`` segments of ``side`` cells, evenly spaced over ``length``.

    Centres are computed in doubles and rounded down.
    """
    shift = (length - side) / (count - 1) if count > 1 else 0.0
    centre = side // 2 - 1
    return [int(np.floor(centre + i * shift)) - centre for i in range(count)]


def quantization_unit(maps: list[np.ndarray]) -> float:
    """Computes the step of `localization.quantize` for a network: an eighth of a typical maximum of its maps."""
    positive = np.concatenate([image_maps[image_maps > 0] for image_maps in maps])
    return float(np.percentile(positive, PERCENTILE)) / localization.LEVELS if len(positive) else 1.0


@dataclasses.dataclass(frozen=True)
class RmacWindows:
    """An `RmacWindows` scores images by the window that is most similar to a query.

    Attributes:
        read_maps: a function that returns the feature maps [h, w, k] of an image.
        whitening: the whitening of region vectors; None: no whitening.
        unit: the step of quantised activations.
    """

    read_maps: Callable[[int], np.ndarray]
    whitening: Whitening | None
    unit: float

    def search(
        self, maxima: np.ndarray, query: Float[Array, " d"], aspect: float, rows: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Finds and describes the best window of each image; quantised maps are used for both, as in the released code.

        Args:
            maxima: [k], the maximum of each channel over the query's box; the best window is most similar to it.
            query: [d], the query's R-MAC descriptor.
            aspect: rows divided by columns of the query's box.
            rows: [r], images.

        Returns:
            Cosines [r] of the query with the R-MAC descriptors of the best windows, and these descriptors [r, d].
        """
        vectors = np.stack([self._describe(self.read_maps(row), maxima, aspect) for row in rows.tolist()])
        return np.asarray(jnp.asarray(vectors) @ query), vectors

    def rerank(
        self,
        order: np.ndarray,
        maxima: np.ndarray,
        query: Float[Array, " d"],
        aspect: float,
        *,
        count: int,
        expansion: int,
    ) -> np.ndarray:
        """Re-ranks the best images by the cosines of their best windows with the mean of the query and top windows.

        Args:
            order: [n], images in the ranking of whole images, the best first.
            maxima: see `search`.
            query: see `search`.
            aspect: see `search`.
            count: the number of images to re-rank, 1,000 in Tolias et al.
            expansion: the number of top windows in the mean, 5 in Tolias et al.
        """
        top = order[:count]
        scores, vectors = self.search(maxima, query, aspect, top)
        best = np.argsort(-scores, kind="stable")[:expansion]
        mean = mean_vector(jnp.concatenate([jnp.asarray(vectors[best]), query[None]]))
        return np.concatenate([top[np.argsort(-(vectors @ np.asarray(mean)), kind="stable")], order[count:]])

    def _describe(self, features: np.ndarray, maxima: np.ndarray, aspect: float) -> np.ndarray:
        size = np.array(features.shape[:2], np.int32)
        padded = np.zeros((*bucket_shape(features.shape[:2], BUCKET_CELLS), features.shape[2]), np.float32)
        padded[: size[0], : size[1]] = features
        quantized, box = _locate(padded, size, jnp.asarray(maxima), jnp.float32(aspect), jnp.float32(self.unit))
        x1, y1, x2, y2 = np.asarray(box).tolist()
        boxes, valid = pad_regions(regions(y2 - y1, x2 - x1) + np.array([x1, y1, x1, y1]))
        return np.asarray(_describe_window(quantized, jnp.asarray(boxes), jnp.asarray(valid), self.whitening))


@jax.jit
def _locate(
    features: Float[Array, "h w k"],
    size: Size,
    maxima: Float[Array, " k"],
    aspect: Float[Array, ""],
    unit: Float[Array, ""],
) -> tuple[Float[Array, "h w k"], Int[Array, "4"]]:
    quantized = localization.quantize(features, unit)
    return quantized, localization.localize(quantized, size, maxima, aspect)[0]


@jax.jit
def _describe_window(
    quantized: Float[Array, "h w k"], boxes: Int[Array, "r 4"], valid: Bool[Array, " r"], whitening: Whitening | None
) -> Float[Array, " d"]:
    return descriptors.aggregate(max_over_regions(quantized, boxes, valid), whitening)
