"""Approximate max-pooling localisation (AML; section 4 of Tolias, Sicre & Jegou 2016): where in a map the query is.

A maximum has no integral image. The 10th root of a sum of 10th powers nearly is a maximum, and sums over many windows
are cheap. They are taken here as products with 0/1 matrices: differences of running sums would lose the small values
beside the large ones in float32.
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
"""Power that makes a sum of powers nearly a maximum."""

LEVELS = 8
"""Largest quantised activation."""

SMALLEST = 2
"""Rows and columns of the smallest window."""

SLACK = 1e-6
"""What float32 errs by in a cosine or an aspect ratio; it must not decide between windows, nor another backend."""

Cosine = Callable[[Float[Array, " k"]], Float[Array, ""]]


def quantize(features: Float[Array, "h w k"], unit: float | Float[Array, ""] = 16.0) -> Float[Array, "h w k"]:
    """Activations as whole numbers from 0 to 8: ``floor(min(X / unit, 8) + 15/16)``.

    The released code searches maps so quantised, and describes the window that it finds with them too. Its ``unit`` of
    16 is absolute and suits VGG-16 and AlexNet on inputs of 0 to 255; for other networks an eighth of a typical maximum
    takes its place.
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
    """The window whose approximate maximum vector is most like the query's, and their cosine.

    Windows of 2, 2 + ``step``, ... rows and columns are tried at every ``step``-th cell. The best of them is refined:
    each side in turn is moved both ways by ``reach`` cells, then by fewer down to 1, and stays where the cosine grows.
    Between equals the first one tried wins. Refinement may leave the aspect ratio. Where no window has it, or none has
    anything in common with the query, refinement starts from the whole valid area. Windows, moves and their order are
    those of the authors' released code; the roots are exact here, there a look-up rounds them to even numbers.

    Args:
        features: activations, not negative, as `quantize` leaves them; what lies outside ``size`` does not count.
        size: valid rows and columns of the map.
        query: maximum of each channel over the query region (`descriptors.max_pool`), of any norm.
        aspect: rows divided by columns of the query region; 0 for windows of any shape.
        step: cells between windows.
        tolerance: factor by which a window's aspect ratio may differ from ``aspect``, at most.
        reach: cells by which the first refinement moves a side.
        iterations: rounds over the four sides with each number of cells.

    Returns:
        The box ``x1 y1 x2 y2`` in cells, the last row and column left out, and the cosine; 0 if nothing is active.
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
    """Cosine of the vector whose channels, divided by ``peaks``, have these sums of powers, with a query of norm 1."""
    return jnp.sum(l2_normalize(peaks * sums ** (1.0 / EXPONENT)) * query)


def _best_window(
    powers: Float[Array, "h w k"],
    size: Int[Array, "2"],
    cosine: Cosine,
    aspect: Float[Array, ""],
    step: int,
    tolerance: float,
) -> Int[Array, "4"]:
    """The first window of largest cosine; the whole area where none of the right shape has a positive one."""
    rows, columns = _spans(powers.shape[0], step), _spans(powers.shape[1], step)
    across = jnp.asarray(_membership(columns, powers.shape[1]))

    def scores_of(down: Float[Array, " h"]) -> Float[Array, " s"]:
        return jax.vmap(cosine)(einsum("sw,wk->sk", across, einsum("h,hwk->wk", down, powers)))

    scores = jax.lax.map(scores_of, jnp.asarray(_membership(rows, powers.shape[0])))
    heights, widths = np.diff(rows).astype(np.float32), np.diff(columns).T.astype(np.float32)
    ratio = aspect * jnp.asarray(widths / heights)
    bound = tolerance * (1.0 + SLACK)
    fits = (aspect <= 0) | ((ratio <= bound) & (ratio * bound >= 1.0))
    inside = (rows[:, 1] <= size[0])[:, None] & (columns[:, 1] <= size[1])[None, :]
    scores = jnp.where(fits & inside, scores, 0.0)
    highest = jnp.max(scores)
    row, column = jnp.unravel_index(jnp.argmax(scores >= highest - SLACK), scores.shape)
    top, left = jnp.asarray(rows)[row], jnp.asarray(columns)[column]
    window = jnp.stack([left[0], top[0], left[1], top[1]])
    whole = jnp.concatenate([jnp.zeros(2, jnp.int32), size[::-1]])
    return jnp.where(highest > SLACK, window, whole)


def _refine(
    powers: Float[Array, "h w k"],
    size: Int[Array, "2"],
    cosine: Cosine,
    start: Int[Array, "4"],
    reach: int,
    iterations: int,
) -> tuple[Int[Array, "4"], Float[Array, ""]]:
    """Coordinate descent on the box; a move that shrinks a side below two cells is not made."""

    def score(box: Int[Array, "4"]) -> Float[Array, ""]:
        return cosine(sum_pool(powers, cell_mask(box, powers.shape[:2])))

    def attempt(
        best: tuple[Int[Array, "4"], Float[Array, ""]], move: Int[Array, "4"]
    ) -> tuple[tuple[Int[Array, "4"], Float[Array, ""]], None]:
        box, value = best
        moved = box + move
        smallest = jnp.minimum(box[2:] - box[:2], SMALLEST)
        allowed = jnp.all((moved[:2] >= 0) & (moved[2:] <= size[::-1]) & (moved[2:] - moved[:2] >= smallest))
        moved_value = score(moved)
        better = allowed & (moved_value > value + SLACK)
        return (jnp.where(better, moved, box), jnp.where(better, moved_value, value)), None

    best, _ = jax.lax.scan(attempt, (start, score(start)), jnp.asarray(_moves(reach, iterations)))
    return best


def _moves(reach: int, iterations: int) -> np.ndarray:
    """What is added to ``x1 y1 x2 y2``, [m, 4]: both ways along y1, y2, x1 and x2, largest moves first."""
    one_round = np.kron(np.eye(4, dtype=np.int32)[[1, 3, 0, 2]], np.array([[-1], [1]], np.int32))
    rounds = [np.tile(cells * one_round, (iterations, 1)) for cells in range(reach, 0, -1)]
    return np.concatenate(rounds) if rounds else np.zeros((0, 4), np.int32)


def _spans(length: int, step: int) -> np.ndarray:
    """First cell and the one after the last of every window along one side, [s, 2]; s >= 1 even if none fits."""
    length = max(length, SMALLEST)
    starts = range(0, length - SMALLEST + 1, step)
    spans = [(start, stop) for start in starts for stop in range(start + SMALLEST, length + 1, step)]
    return np.array(spans, np.int32)


def _membership(spans: np.ndarray, length: int) -> np.ndarray:
    """1 where a cell lies in a span, [s, length] float32."""
    cells = np.arange(length)[None, :]
    return ((cells >= spans[:, :1]) & (cells < spans[:, 1:])).astype(np.float32)
