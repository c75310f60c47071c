"""Regional maximum activations of convolutions (R-MAC; Tolias, Sicre & Jegou 2016).

`aggregation.aggregate` of the regions' vectors is the descriptor: l2, whitening, l2, sum over regions, l2.
"""

import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from cwcf_jax.descriptors.pooling import cell_mask, max_pool

STEPS = np.arange(2, 8)
"""How many regions of the coarsest level may lie along the long side."""

MAX_REGIONS = 50
"""Regions of three levels on the longest of maps: level l has l on the short side and at most l + 6 on the long one."""


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
