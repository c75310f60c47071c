"""This module re-ranks bags of words by the best window of an assignment map (Mohedano et al. 2016).

An assignment map is [h, w], the word of each cell of the valid area, negative for no word. A map has few of a
vocabulary's words. Therefore the functions of this module count only the words that occur, on the host.
"""

import dataclasses

import numpy as np
from jaxtyping import Float, Int

DIVISORS = (1, 2, 4)
"""The divisors of a map's sides: windows are W, W/2 or W/4 wide and H, H/2 or H/4 high."""

LEVEL_WEIGHTS = (0.5, 1.0)
"""The weights of the cosines of the window and of each of its quarters: 1 / 2^(L - l) at level l of L = 2.

These weights and the comparison of aspect ratios in `sliding_windows` were written from memory of the paper, and are
unverified; the paper's released code has no re-ranking.
"""

_WEIGHTS = np.asarray([LEVEL_WEIGHTS[0]] + 4 * [LEVEL_WEIGHTS[1]], np.float32)


def sliding_windows(height: int, width: int, *, aspect: float = 1.0, threshold: float = 0.4) -> Int[np.ndarray, "m 4"]:
    """Returns windows with sides of all pairs of `DIVISORS`; neighbours overlap by half.

    Sides are rounded down to at least one cell. An axis with divisor s has 2 s - 1 windows, evenly from edge to edge,
    or fewer if the axis has fewer cells. Windows of a different shape than ``aspect`` are left out, except for the
    whole map.

    Args:
        height: rows of the map's valid area.
        width: columns of the map's valid area.
        aspect: the reference width / height, in the paper that of the query's box; 1 is a square.
        threshold: the smallest ``min(a, aspect) / max(a, aspect)`` of a window with width / height ``a``.

    Returns:
        ``x1 y1 x2 y2`` in cells, half-open: the whole map first, larger windows before smaller windows, row by row.
    """
    if height < 1 or width < 1 or not aspect > 0:
        raise ValueError(f"a map of {height} x {width} cells has no windows with the aspect {aspect}")
    windows = []
    for rows, columns in sorted(((r, c) for r in DIVISORS for c in DIVISORS), key=lambda pair: pair[0] * pair[1]):
        window_height, window_width = max(1, height // rows), max(1, width // columns)
        ratio = window_width / window_height
        if rows * columns == 1 or min(ratio, aspect) / max(ratio, aspect) >= threshold:
            tops, lefts = _starts(height, window_height, rows), _starts(width, window_width, columns)
            windows += [(left, top, left + window_width, top + window_height) for top in tops for left in lefts]
    return np.asarray(list(dict.fromkeys(windows)), np.int32)


def _starts(length: int, side: int, divisor: int) -> list[int]:
    steps = 2 * divisor - 2
    return [i * (length - side) // steps for i in range(steps + 1)] if steps else [0]


@dataclasses.dataclass(frozen=True)
class Pyramid:
    """A `Pyramid` describes a box in two levels: the box itself and its quarters.

    Attributes:
        words: [u], the words in the box, ascending.
        histograms: [5, u] l2-normalised counts of the box and of its upper left, upper right, lower left and lower
            right quarter; 0 for a quarter without words.
    """

    words: Int[np.ndarray, " u"]
    histograms: Float[np.ndarray, "5 u"]


@dataclasses.dataclass(frozen=True)
class Location:
    """A `Location` is the best window of an image for a query.

    Attributes:
        window: [4], ``x1 y1 x2 y2`` in cells.
        score: the window's score, 0 to 1.
        histogram: [words], the window's l2-normalised histogram, for query expansion.
    """

    window: Int[np.ndarray, "4"]
    score: float
    histogram: Float[np.ndarray, " words"]


def describe(assignment: Int[np.ndarray, "h w"], box: Int[np.ndarray, "4"]) -> Pyramid:
    """Computes the pyramid of a query's box ``x1 y1 x2 y2`` in cells, half-open."""
    words, counts = _count(assignment, _regions(box[None]))
    present = counts[0] > 0
    return Pyramid(words[present], _normalize(counts[:, present]))


def window_scores(
    assignment: Int[np.ndarray, "h w"], windows: Int[np.ndarray, "m 4"], query: Pyramid
) -> Float[np.ndarray, " m"]:
    """Scores each window: the weighted mean of the cosines of corresponding regions of window and query.

    The weights are `LEVEL_WEIGHTS`. The sum is divided by the weights of the query's regions with words. The division
    does not change rankings, and gives the query itself the score 1.

    Args:
        assignment: the assignment map of the database image.
        windows: windows inside the map.
        query: the pyramid of the query's box.

    Returns:
        Scores from 0 to 1, float32; all 0 for a query without words.
    """
    words, counts = _count(assignment, _regions(windows))
    _, columns, query_columns = np.intersect1d(words, query.words, assume_unique=True, return_indices=True)
    common = _normalize(counts)[:, columns].reshape(len(windows), 5, len(columns))
    cosines = np.einsum("mru,ru->mr", common, query.histograms[:, query_columns])
    highest = np.sum(_WEIGHTS, where=query.histograms.any(axis=1))
    return cosines @ _WEIGHTS / (highest or np.float32(1.0))


def locate(assignment: Int[np.ndarray, "h w"], windows: Int[np.ndarray, "m 4"], query: Pyramid, words: int) -> Location:
    """Returns the window of the highest score, or the first of several such windows.

    Args:
        assignment: the assignment map of the database image.
        windows: windows inside the map, at least one.
        query: the pyramid of the query's box.
        words: the size of the vocabulary.
    """
    scores = window_scores(assignment, windows, query)
    best = int(np.argmax(scores))
    map_words, counts = _count(assignment, windows[best : best + 1])
    histogram = np.zeros(words, np.float32)
    histogram[map_words] = _normalize(counts)[0]
    return Location(windows[best], float(scores[best]), histogram)


def _regions(windows: np.ndarray) -> np.ndarray:
    """Returns each window and its four quarters, [5 m, 4]; two quarters of a window of one row or column are empty."""
    x1, y1, x2, y2 = windows.T
    x, y = (x1 + x2) // 2, (y1 + y2) // 2
    boxes = [(x1, y1, x2, y2), (x1, y1, x, y), (x, y1, x2, y), (x1, y, x, y2), (x, y, x2, y2)]
    return np.stack([np.stack(box, axis=1) for box in boxes], axis=1).reshape(-1, 4)


def _count(assignment: np.ndarray, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the words [u] of a map, ascending, and the number of cells [r, u] with each word in each of r boxes."""
    height, width = assignment.shape
    x1, y1, x2, y2 = boxes[:, :, None].transpose(1, 0, 2)
    rows = (np.arange(height) >= y1) & (np.arange(height) < y2)
    columns = (np.arange(width) >= x1) & (np.arange(width) < x2)
    box, cell = np.nonzero((rows[:, :, None] & columns[:, None, :]).reshape(len(boxes), -1))
    words, numbers = np.unique(assignment, return_inverse=True)
    keys = box * len(words) + numbers.reshape(-1)[cell]
    counts = np.bincount(keys, minlength=len(boxes) * len(words)).reshape(len(boxes), len(words))
    return words[words >= 0], counts[:, words >= 0]


def _normalize(counts: np.ndarray) -> np.ndarray:
    norms = np.sqrt(np.sum(np.square(counts), axis=1, keepdims=True))
    return (counts / np.maximum(norms, 1.0)).astype(np.float32)
