"""Regional maximum activations of convolutions (R-MAC; Tolias, Sicre & Jegou 2016).

`descriptors.aggregate` of the regions' vectors is the descriptor: l2, whitening, l2, sum over regions, l2. The search
is that of `pooled.PooledSearch`; `RmacWindows` re-ranks its best images by the window that `rmac_localization` locates.
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

STEPS = np.arange(2, 8)
"""How many regions of the coarsest level may lie along the long side."""

MAX_REGIONS = 50
"""Regions of three levels on the longest of maps: level l has l on the short side and at most l + 6 on the long one."""

CELLS = 8
"""Cells to which the sides of maps are rounded up before re-ranking, so that few shapes get compiled."""

PERCENTILE = 99.0
"""Of the activations that are positive: what counts as a typical maximum when they are quantised."""


def regions(height: int, width: int, *, levels: int = 3, overlap: float = 0.4) -> np.ndarray:
    """Square regions of a map at several scales, as the authors' released code lays them.

    Level l has squares of side ``floor(2 min(height, width) / (l + 1))``, evenly spread; a map that is not square gets
    as many more along its long side as bring the overlap of the first level's neighbours closest to ``overlap``. The
    whole map is a region only where it is square. Levels with a side below one cell, as on maps one cell wide, are
    left out.

    Args:
        height: rows of the map.
        width: columns of the map.
        levels: scales.
        overlap: share of a region that its neighbour should cover.

    Returns:
        Boxes ``x1 y1 x2 y2`` in cells, x2 and y2 left out: [r, 4], r >= 1, level by level in reading order.

    Raises:
        ValueError: the map or the pyramid is empty.
    """
    if min(height, width, levels) < 1:
        raise ValueError(f"regions need at least one row, column and level, not {height}, {width} and {levels}")
    extra = _extra(min(height, width), max(height, width), overlap)
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
    """Boxes [r, 4] padded with empty ones to [count, 4], and which of them are real, [count] bool.

    Raises:
        ValueError: there are more than ``count``.
    """
    if len(boxes) > count:
        raise ValueError(f"{len(boxes)} regions do not fit into {count}")
    padded = np.zeros((count, 4), np.int32)
    padded[: len(boxes)] = boxes
    return padded, np.arange(count) < len(boxes)


def max_over_regions(
    features: Float[Array, "h w k"], boxes: Int[Array, "r 4"], valid: Bool[Array, " r"]
) -> Float[Array, "r k"]:
    """Largest value of each channel over each box's cells; zero rows for boxes that are not ``valid``, or empty."""

    def pool(box: Int[Array, "4"], real: Bool[Array, ""]) -> Float[Array, " k"]:
        return max_pool(features, cell_mask(box, features.shape[:2]) & real)

    return jax.vmap(pool)(boxes, valid)


def _extra(short: int, long: int, overlap: float) -> int:
    """Regions to add along the long side. Of two equally good choices (5 by 9) rounding takes one, as it does there."""
    shift = (long - short) / (STEPS - 1)
    return 1 + int(np.argmin(np.abs((short**2 - short * shift) / short**2 - overlap)))


def _offsets(length: int, side: int, count: int) -> list[int]:
    """Where ``count`` segments of ``side`` cells begin, spread over ``length``; centres rounded down, in doubles."""
    shift = (length - side) / (count - 1) if count > 1 else 0.0
    centre = side // 2 - 1
    return [int(np.floor(centre + i * shift)) - centre for i in range(count)]


def quantization_unit(maps: list[np.ndarray]) -> float:
    """The step of `localization.quantize` for a network: an eighth of a typical maximum."""
    positive = np.concatenate([one[one > 0] for one in maps])
    return float(np.percentile(positive, PERCENTILE)) / localization.LEVELS if len(positive) else 1.0


@dataclasses.dataclass(frozen=True)
class RmacWindows:
    """Scores images by the window that is most like a query.

    Attributes:
        read: gives an image's maps of the layer [h, w, k].
        whitening: of region vectors.
        unit: step of the quantised activations.
    """

    read: Callable[[int], np.ndarray]
    whitening: Whitening | None
    unit: float

    def search(
        self, maxima: np.ndarray, query: Float[Array, " d"], aspect: float, rows: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Cosines [r] of the query with the R-MAC descriptor of each image's best window, and these descriptors [r, d].

        As in the authors' released code, windows are sought and described in quantised maps.

        Args:
            maxima: [k], maximum of each channel over the query region: what windows are sought with.
            query: [d], the query's R-MAC descriptor.
            aspect: rows divided by columns of the query region.
            rows: [r] images.
        """
        vectors = np.stack([self._describe(self.read(row), maxima, aspect) for row in rows.tolist()])
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
        """Re-ranks the first images by their windows' cosine with the mean of the query and the best of these windows.

        Args:
            order: [n] images, best first, as the search of whole images ranks them.
            maxima: as in `search`.
            query: as in `search`.
            aspect: as in `search`.
            count: images to re-rank, 1,000 in the paper.
            expansion: windows in the mean, 5 in the paper.
        """
        top = order[:count]
        scores, vectors = self.search(maxima, query, aspect, top)
        best = np.argsort(-scores, kind="stable")[:expansion]
        mean = mean_vector(jnp.concatenate([jnp.asarray(vectors[best]), query[None]]))
        return np.concatenate([top[np.argsort(-(vectors @ np.asarray(mean)), kind="stable")], order[count:]])

    def _describe(self, features: np.ndarray, maxima: np.ndarray, aspect: float) -> np.ndarray:
        size = np.array(features.shape[:2], np.int32)
        padded = np.zeros((*bucket_shape(features.shape[:2], CELLS), features.shape[2]), np.float32)
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
