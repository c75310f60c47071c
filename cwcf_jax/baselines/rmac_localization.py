"""This module finds a query in a map by approximate max-pooling localisation (AML; Tolias, Sicre & Jegou 2016, sec. 4).

Sums over many windows are cheap, but maxima are not. The 10th root of a sum of 10th powers is nearly a maximum. This
module computes sums as products with 0/1 matrices. In float32, differences of integral images would lose small values
next to large values.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from cwcf_jax.arrays import Size, einsum, l2_normalize, valid_mask
from cwcf_jax.descriptors import cell_mask, max_pool, sum_pool

EXPONENT = 10
"""The exponent of the sums of powers that approximate maxima."""

LEVELS = 8
"""The largest quantised activation."""

MIN_CELLS = 2
"""The number of rows and columns of the smallest window."""

TOLERANCE = 1e-6
"""The rounding error of a cosine or an aspect ratio in float32; smaller differences do not decide between windows."""

Cosine = Callable[[Float[Array, " k"]], Float[Array, ""]]
"""A function that computes the cosine of a query with a window from the window's sums of powers."""


def quantize(features: Float[Array, "h w k"], unit: float | Float[Array, ""] = 16.0) -> Float[Array, "h w k"]:
    """Quantises activations to whole numbers from 0 to 8: ``floor(min(X / unit, 8) + 15/16)``.

    The authors' released code finds and describes windows in quantised maps. The released code's ``unit`` of 16 suits
    VGG-16 and AlexNet on inputs from 0 to 255. For other networks, use an eighth of a typical maximum.
    """
    return jnp.floor(jnp.minimum(features.astype(jnp.float32) / unit, float(LEVELS)) + 15.0 / 16.0)


def localize(
    features: Float[Array, "h w k"],
    size: Size,
    query: Float[Array, " k"],
    aspect: Float[Array, ""],
    *,
    step: int = 3,
    tolerance: float = 1.1,
    reach: int = 3,
    iterations: int = 5,
) -> tuple[Int[Array, "4"], Float[Array, ""]]:
    """Finds the window with an approximate maximum vector most similar to the query's, and computes their cosine.

    Windows of 2, 2 + ``step``, ... rows and columns are scored at every ``step``-th cell. Then the best window is
    refined: each side in turn moves both ways by ``reach`` cells, then by fewer cells down to 1, and keeps a move that
    increases the cosine. The first of equal windows wins. Refinement may change the aspect ratio. If no window has the
    aspect ratio and a positive cosine, refinement starts from the whole valid area. Windows, moves and their order are
    those of the authors' released code. This function computes exact roots, where the released code rounds them.

    Args:
        features: quantised activations, not negative; activations outside ``size`` are ignored.
        size: valid rows and columns of the map.
        query: the maximum of each channel over the query's box (`descriptors.max_pool`), of any norm.
        aspect: rows divided by columns of the query's box; 0: windows of any shape.
        step: the distance of windows in cells.
        tolerance: the largest factor between a window's aspect ratio and ``aspect``.
        reach: the number of cells of the first refinement's moves.
        iterations: the number of rounds over the four sides for each number of cells.

    Returns:
        The box ``x1 y1 x2 y2`` in cells, half-open, and the cosine; 0 if no cell is active.
    """
    valid = valid_mask(size, features.shape[:2])
    peaks = jnp.maximum(max_pool(features, valid), 0.0)
    scaled = jnp.maximum(features.astype(jnp.float32), 0.0) / jnp.where(peaks > 0, peaks, 1.0)[None, None, :]
    powers = jnp.where(valid[..., None], scaled, 0.0) ** EXPONENT
    highest = jnp.max(peaks)
    peaks = peaks / jnp.where(highest > 0, highest, 1.0)
    cosine = functools.partial(_cosine, peaks=peaks, query=l2_normalize(query))
    size = size.astype(jnp.int32)
    start = _best_window(powers, size, cosine, aspect, step, tolerance)
    return _refine(powers, size, cosine, start, reach, iterations)


def _cosine(sums: Float[Array, " k"], peaks: Float[Array, " k"], query: Float[Array, " k"]) -> Float[Array, ""]:
    """Computes the cosine of a query of norm 1 with the approximate maxima ``peaks sums^(1/10)`` of a window."""
    return jnp.sum(l2_normalize(peaks * sums ** (1.0 / EXPONENT)) * query)


def _best_window(
    powers: Float[Array, "h w k"],
    size: Int[Array, "2"],
    cosine: Cosine,
    aspect: Float[Array, ""],
    step: int,
    tolerance: float,
) -> Int[Array, "4"]:
    """Returns the first window of the largest cosine; the valid area if no window of ``aspect`` has a positive one."""
    rows, columns = _spans(powers.shape[0], step), _spans(powers.shape[1], step)
    column_masks = jnp.asarray(_membership(columns, powers.shape[1]))

    def score_windows(row_mask: Float[Array, " h"]) -> Float[Array, " s"]:
        return jax.vmap(cosine)(einsum("sw,wk->sk", column_masks, einsum("h,hwk->wk", row_mask, powers)))

    scores = jax.lax.map(score_windows, jnp.asarray(_membership(rows, powers.shape[0])))
    heights, widths = np.diff(rows).astype(np.float32), np.diff(columns).T.astype(np.float32)
    ratio = aspect * jnp.asarray(widths / heights)
    bound = tolerance * (1.0 + TOLERANCE)
    fits = (aspect <= 0) | ((ratio <= bound) & (ratio * bound >= 1.0))
    inside = (rows[:, 1] <= size[0])[:, None] & (columns[:, 1] <= size[1])[None, :]
    scores = jnp.where(fits & inside, scores, 0.0)
    highest = jnp.max(scores)
    row, column = jnp.unravel_index(jnp.argmax(scores >= highest - TOLERANCE), scores.shape)
    top, left = jnp.asarray(rows)[row], jnp.asarray(columns)[column]
    window = jnp.stack([left[0], top[0], left[1], top[1]])
    whole = jnp.concatenate([jnp.zeros(2, jnp.int32), size[::-1]])
    return jnp.where(highest > TOLERANCE, window, whole)


def _refine(
    powers: Float[Array, "h w k"],
    size: Int[Array, "2"],
    cosine: Cosine,
    start: Int[Array, "4"],
    reach: int,
    iterations: int,
) -> tuple[Int[Array, "4"], Float[Array, ""]]:
    """Moves one side of the box after the other as long as the cosine grows; no side becomes smaller than two cells."""

    def score(box: Int[Array, "4"]) -> Float[Array, ""]:
        return cosine(sum_pool(powers, cell_mask(box, powers.shape[:2])))

    def attempt(
        best: tuple[Int[Array, "4"], Float[Array, ""]], move: Int[Array, "4"]
    ) -> tuple[tuple[Int[Array, "4"], Float[Array, ""]], None]:
        box, box_score = best
        moved = box + move
        min_sides = jnp.minimum(box[2:] - box[:2], MIN_CELLS)
        allowed = jnp.all((moved[:2] >= 0) & (moved[2:] <= size[::-1]) & (moved[2:] - moved[:2] >= min_sides))
        moved_score = score(moved)
        better = allowed & (moved_score > box_score + TOLERANCE)
        return (jnp.where(better, moved, box), jnp.where(better, moved_score, box_score)), None

    best, _ = jax.lax.scan(attempt, (start, score(start)), jnp.asarray(_moves(reach, iterations)))
    return best


def _moves(reach: int, iterations: int) -> np.ndarray:
    """Returns the moves [m, 4] to add to ``x1 y1 x2 y2``: both ways for y1, y2, x1 and x2, the largest moves first."""
    one_round = np.kron(np.eye(4, dtype=np.int32)[[1, 3, 0, 2]], np.array([[-1], [1]], np.int32))
    rounds = [np.tile(cells * one_round, (iterations, 1)) for cells in range(reach, 0, -1)]
    return np.concatenate(rounds) if rounds else np.zeros((0, 4), np.int32)


def _spans(length: int, step: int) -> np.ndarray:
    """Returns the half-open spans [s, 2] of all windows along one side; s >= 1 even if no window fits."""
    length = max(length, MIN_CELLS)
    starts = range(0, length - MIN_CELLS + 1, step)
    spans = [(start, stop) for start in starts for stop in range(start + MIN_CELLS, length + 1, step)]
    return np.array(spans, np.int32)


def _membership(spans: np.ndarray, length: int) -> np.ndarray:
    """Returns the membership of cells in spans, [s, length] float32: 1 inside a span, 0 outside."""
    cells = np.arange(length)[None, :]
    return ((cells >= spans[:, :1]) & (cells < spans[:, 1:])).astype(np.float32)
