"""Re-ranking bags of words by the best window of an assignment map (Mohedano et al. 2016, spatial re-ranking).

An assignment map is [h, w], the word of every cell of the valid area, negative where there is none. It holds few of a
vocabulary's words, so that everything here counts the words that occur and no others, on the host.
"""

import dataclasses

import numpy as np
from jaxtyping import Float, Int

DIVISORS = (1, 2, 4)
"""Sides of the windows: W, W/2, W/4 and H, H/2, H/4."""

LEVEL_WEIGHTS = (0.5, 1.0)
"""Weight of a region's cosine, the window and each of its quarters: 1 / 2^(L - l) at level l of L = 2.

This and the comparison of shapes below are the paper's as recalled; its released code has no re-ranking."""

_WEIGHTS = np.asarray([LEVEL_WEIGHTS[0]] + 4 * [LEVEL_WEIGHTS[1]], np.float32)


def sliding_windows(height: int, width: int, *, aspect: float = 1.0, threshold: float = 0.4) -> Int[np.ndarray, "m 4"]:
    """Windows ``x1 y1 x2 y2`` in cells, half-open: sides of `DIVISORS` in all combinations, neighbours overlap by half.

    A side is rounded down to at least one cell; along an axis divided by s lie 2 s - 1 windows, evenly from edge to
    edge, fewer where the axis has fewer cells. Windows of an unlike shape are left out, never the whole map.

    Args:
        height: cells of the map's valid area.
        width: cells of the map's valid area.
        aspect: width / height to compare shapes with, the query box's in the paper; 1 compares with a square,
            which makes the likeness below short side / long side.
        threshold: the least ``min(a, aspect) / max(a, aspect)`` for a window of width / height ``a``.

    Returns:
        The whole map first, larger windows before smaller ones, row by row.
    """
    if height < 1 or width < 1 or not aspect > 0:
        raise ValueError(f"no windows of a map of {height} x {width} cells with the aspect {aspect}")
    windows = []
    for rows, columns in sorted(((r, c) for r in DIVISORS for c in DIVISORS), key=lambda pair: pair[0] * pair[1]):
        high, wide = max(1, height // rows), max(1, width // columns)
        likeness = min(wide / high, aspect) / max(wide / high, aspect)
        if rows * columns == 1 or likeness >= threshold:
            tops, lefts = _starts(height, high, rows), _starts(width, wide, columns)
            windows += [(left, top, left + wide, top + high) for top in tops for left in lefts]
    return np.asarray(list(dict.fromkeys(windows)), np.int32)


def _starts(length: int, side: int, divisor: int) -> list[int]:
    steps = 2 * divisor - 2
    return [i * (length - side) // steps for i in range(steps + 1)] if steps else [0]


@dataclasses.dataclass(frozen=True)
class Pyramid:
    """A box in two levels: the box itself and its quarters.

    Attributes:
        words: [u], the words in the box, ascending.
        histograms: [5, u] l2-normalised counts of the box and of its upper left, upper right, lower left and lower
            right quarter; 0 for a quarter without words.
    """

    words: Int[np.ndarray, " u"]
    histograms: Float[np.ndarray, "5 u"]


@dataclasses.dataclass(frozen=True)
class Location:
    """Where a query was found.

    Attributes:
        window: [4], the best window.
        score: of the window, 0 to 1.
        histogram: [words] of the window, l2-normalised: what query expansion averages.
    """

    window: Int[np.ndarray, "4"]
    score: float
    histogram: Float[np.ndarray, " words"]


def describe(assignment: Int[np.ndarray, "h w"], box: Int[np.ndarray, "4"]) -> Pyramid:
    """The pyramid of a query's box ``x1 y1 x2 y2`` in cells, half-open."""
    words, counts = _count(assignment, _regions(box[None]))
    present = counts[0] > 0
    return Pyramid(words[present], _unit(counts[:, present]))


def window_scores(
    assignment: Int[np.ndarray, "h w"], windows: Int[np.ndarray, "m 4"], query: Pyramid
) -> Float[np.ndarray, " m"]:
    """Likeness of each window to the query: cosines of the regions that correspond, weighted by `LEVEL_WEIGHTS`.

    Divided by the weight of the query's regions that hold words, which ranks alike and lets the query itself score 1.

    Args:
        assignment: of the database image.
        windows: inside the map.
        query: `describe` of the query's box.

    Returns:
        0 to 1, float32; 0 throughout for a query without words.
    """
    words, counts = _count(assignment, _regions(windows))
    _, here, there = np.intersect1d(words, query.words, assume_unique=True, return_indices=True)
    shared = _unit(counts)[:, here].reshape(len(windows), 5, len(here))
    cosines = np.einsum("mru,ru->mr", shared, query.histograms[:, there])
    possible = np.sum(_WEIGHTS, where=query.histograms.any(axis=1))
    return cosines @ _WEIGHTS / (possible or np.float32(1.0))


def locate(assignment: Int[np.ndarray, "h w"], windows: Int[np.ndarray, "m 4"], query: Pyramid, words: int) -> Location:
    """The window of the highest score, the first of equal ones.

    Args:
        assignment: of the database image.
        windows: at least one.
        query: `describe` of the query's box.
        words: size of the vocabulary.
    """
    scores = window_scores(assignment, windows, query)
    best = int(np.argmax(scores))
    found, counts = _count(assignment, windows[best : best + 1])
    histogram = np.zeros(words, np.float32)
    histogram[found] = _unit(counts)[0]
    return Location(windows[best], float(scores[best]), histogram)


def _regions(windows: np.ndarray) -> np.ndarray:
    """[5 m, 4]: each window and its quarters; a side of one cell leaves two of them empty."""
    x1, y1, x2, y2 = windows.T
    x, y = (x1 + x2) // 2, (y1 + y2) // 2
    boxes = [(x1, y1, x2, y2), (x1, y1, x, y), (x, y1, x2, y), (x1, y, x, y2), (x, y, x2, y2)]
    return np.stack([np.stack(box, axis=1) for box in boxes], axis=1).reshape(-1, 4)


def _count(assignment: np.ndarray, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The map's words [u], ascending, and how many cells of each of r boxes hold them [r, u]."""
    height, width = assignment.shape
    x1, y1, x2, y2 = boxes[:, :, None].transpose(1, 0, 2)
    rows = (np.arange(height) >= y1) & (np.arange(height) < y2)
    columns = (np.arange(width) >= x1) & (np.arange(width) < x2)
    box, cell = np.nonzero((rows[:, :, None] & columns[:, None, :]).reshape(len(boxes), -1))
    words, numbers = np.unique(assignment, return_inverse=True)
    keys = box * len(words) + numbers.reshape(-1)[cell]
    counts = np.bincount(keys, minlength=len(boxes) * len(words)).reshape(len(boxes), len(words))
    return words[words >= 0], counts[:, words >= 0]


def _unit(counts: np.ndarray) -> np.ndarray:
    norms = np.sqrt(np.sum(np.square(counts), axis=1, keepdims=True))
    return (counts / np.maximum(norms, 1.0)).astype(np.float32)
