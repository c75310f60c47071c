"""Where the evidence for classes lies in an image: boxes round a map's hottest cells (section 4.5 of the paper)."""

import functools
import itertools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from cwcf_jax.arrays import Size, valid_mask

RULES = ("component", "contour")
"""Which of a thresholded map's 8-connected components the box is put round.

``component``: the one of most cells, as the paper has it; of equals the one whose first cell comes first, row by row.
``contour``: the one whose outer contour encloses the largest polygon through cell centres, as the authors' code has it
with OpenCV: holes count, a line one cell wide has area 0; of equals the one whose first cell comes last.
"""


def boxes(
    heat_map: Float[Array, "h w"], size: Size, thresholds: Float[Array, " t"], *, rule: str = "component"
) -> Int[Array, "t 4"]:
    """The box of the winning component of ``heat > threshold max(heat)`` for each threshold.

    Where no cell is above the threshold, as in a map that is nowhere positive, and where all are, as in a constant one,
    the box is the whole valid area. Equal to `host_boxes`; to be `vmap`-ed over images.

    Args:
        heat_map: the mean of a few class activation maps, each scaled to [0, 1].
        size: rows and columns that are valid.
        thresholds: fractions of the map's maximum over its valid cells, none negative.
        rule: one of `RULES`; static.

    Returns:
        ``x1 y1 x2 y2`` in cells, half-open.

    Raises:
        ValueError: there is no such rule.
    """
    _check_rule(rule)
    heat = jnp.where(valid_mask(size, heat_map.shape), heat_map.astype(jnp.float32), 0.0)
    peak = jnp.max(heat, initial=0.0)
    whole = jnp.stack([jnp.zeros_like(size), size[::-1]]).ravel().astype(jnp.int32)

    def box(threshold: Float[Array, ""]) -> Int[Array, "4"]:
        hot = heat > threshold * peak
        return jnp.where(jnp.any(hot), _bounds(_winner(hot, rule)), whole)

    return jax.vmap(box)(thresholds)


def host_boxes(
    heat_maps: Float[np.ndarray, "n h w"],
    sizes: Int[np.ndarray, "n 2"],
    thresholds: Sequence[float] | Float[np.ndarray, " t"],
    rule: str = "component",
) -> Int[np.ndarray, "n t 4"]:
    """What `boxes` gives for each of n maps, on the host, one map after the other."""
    _check_rule(rule)
    cuts = np.asarray(thresholds, np.float32)
    found = np.empty((len(heat_maps), len(cuts), 4), np.int32)
    for row, heat, (height, width) in zip(found, heat_maps.astype(np.float32), sizes, strict=True):
        area = heat[:height, :width]
        peak = area.max(initial=0.0)
        for place, cut in enumerate(cuts):
            hot = area > cut * peak
            row[place] = _host_box(hot, rule) if hot.any() else (0, 0, width, height)
    return found


def grid_boxes(size: tuple[int, int], levels: Sequence[int]) -> Int[np.ndarray, "t 4"]:
    """Windows that overlap by half, whatever is in the image: l x l of them at level l, over all of it.

    Sides of a window are 2 / (l + 1) of the image's, rounded outwards to whole cells; a window of a map of one row or
    column is that. Source: the regions of R-MAC (Tolias, Sicre & Jegou 2016), with the image's aspect ratio instead of
    squares.

    Args:
        size: rows and columns of the map, at least 1.
        levels: each at least 1; level 1 is the whole image.

    Returns:
        ``x1 y1 x2 y2`` in cells, half-open, level after level, each row by row.
    """
    found = []
    for level in levels:
        ends = np.arange(level)[:, None] + np.array([0, 2])  # of windows, in parts of level + 1
        spans = [
            np.stack([ends[:, 0] * side // (level + 1), -(-ends[:, 1] * side // (level + 1))], axis=1) for side in size
        ]
        for (top, bottom), (left, right) in itertools.product(*spans):
            found.append((left, top, right, bottom))
    return np.array(found, np.int32)


def select_boxes(boxes: Int[np.ndarray, "*n 4"], minimum: int = 5) -> Bool[np.ndarray, "*n"]:
    """Which boxes have both sides of ``minimum`` cells or more: those that are searched.

    The authors' code has a minimum of 5 and puts an image without such a box last; the paper takes every box.
    """
    return np.all(boxes[..., 2:] - boxes[..., :2] >= minimum, axis=-1)


def _check_rule(rule: str) -> None:
    if rule not in RULES:
        raise ValueError(f"unknown rule {rule!r}; known: {', '.join(RULES)}")


def _winner(hot: Bool[Array, "h w"], rule: str) -> Bool[Array, "h w"]:
    """The cells of the component that wins, holes included under ``contour``; none of an empty mask."""
    filled = _fill_holes(hot) if rule == "contour" else hot
    labels = _components(filled, diagonal=True)
    if rule == "component":
        weights, owners = filled.astype(jnp.int32), labels
    else:
        weights, owners = _enclosed(filled), _block_labels(labels)
    # What belongs to a component is added up at its first cell; the background's label is no cell and falls away.
    totals = jnp.zeros(labels.size, jnp.int32).at[owners.ravel()].add(weights.ravel(), mode="drop")
    totals = jnp.where(labels.ravel() == jnp.arange(labels.size), totals, -1)
    best = jnp.argmax(totals) if rule == "component" else labels.size - 1 - jnp.argmax(totals[::-1])
    return filled & (labels == best)


def _components(mask: Bool[Array, "h w"], *, diagonal: bool) -> Int[Array, "h w"]:
    """Each cell's component, named by the index of its first cell row by row; ``mask.size`` outside the mask.

    Every cell points to another of its component, at first to itself. A step takes the least of what the neighbours
    point to, hands it on to the cell pointed to, and lets every cell point to where that one points: a spiral of n
    cells takes about log n steps instead of n (Shiloach & Vishkin 1982; Zhang, Azad & Hu 2020).
    """
    outside = mask.size

    def step(state: tuple[Array, Array]) -> tuple[Array, Array]:
        labels, _ = state
        least = jnp.where(mask, _neighbour_minimum(labels, outside, diagonal), outside).ravel()
        target = jnp.minimum(least, labels.ravel()).at[labels.ravel()].min(least, mode="drop")
        new = jnp.append(target, outside)[target].reshape(mask.shape)
        return new, jnp.any(new != labels)

    start = jnp.where(mask, jnp.arange(outside).reshape(mask.shape), outside)
    labels, _ = jax.lax.while_loop(lambda state: state[1], step, (start, jnp.array(True)))
    return labels


def _neighbour_minimum(labels: Int[Array, "h w"], outside: int, diagonal: bool) -> Int[Array, "h w"]:
    """The least label among a cell and its 8 neighbours, or 4 without the diagonal ones."""
    padded = jnp.pad(labels, 1, constant_values=outside)
    across = jnp.minimum(jnp.minimum(padded[:, :-2], padded[:, 1:-1]), padded[:, 2:])
    rows = across if diagonal else padded[:, 1:-1]
    return jnp.minimum(across[1:-1], jnp.minimum(rows[:-2], rows[2:]))


def _fill_holes(mask: Bool[Array, "h w"]) -> Bool[Array, "h w"]:
    """The mask and what it encloses: all that no path of 4-connected background leads to from outside."""
    background = ~jnp.pad(mask, 1)
    return (_components(background, diagonal=False) != 0)[1:-1, 1:-1]


def _enclosed(filled: Bool[Array, "h w"]) -> Int[Array, "h w"]:
    """Twice the area that contours enclose in the block of each cell and those right of and below it.

    Through cell centres, 4 cells of a block are a unit square, 3 a triangle of half of it, fewer a line or a point. A
    component without holes is their union: summed over its blocks they are the polygon's area, which nobody traces.
    """
    padded = jnp.pad(filled.astype(jnp.int32), ((0, 1), (0, 1)))
    across = padded[:, :-1] + padded[:, 1:]
    return jnp.maximum(across[:-1] + across[1:] - 2, 0)


def _block_labels(labels: Int[Array, "h w"]) -> Int[Array, "h w"]:
    """The component that those blocks lie in: cells of one block are neighbours, so there is one at most."""
    padded = jnp.pad(labels, ((0, 1), (0, 1)), constant_values=labels.size)
    across = jnp.minimum(padded[:, :-1], padded[:, 1:])
    return jnp.minimum(across[:-1], across[1:])


def _bounds(mask: Bool[Array, "h w"]) -> Int[Array, "4"]:
    columns, rows = jnp.any(mask, axis=0), jnp.any(mask, axis=1)
    first = jnp.stack([jnp.argmax(columns), jnp.argmax(rows)])
    last = jnp.stack([columns.size - jnp.argmax(columns[::-1]), rows.size - jnp.argmax(rows[::-1])])
    return jnp.concatenate([first, last]).astype(jnp.int32)


def _host_box(hot: np.ndarray, rule: str) -> tuple[int, int, int, int]:
    from scipy import ndimage  # type: ignore[import-untyped]  # here: it takes seconds and opens files when imported

    eight = np.ones((3, 3), np.int32)
    if rule == "component":
        labels, _ = ndimage.label(hot, eight)
        best = int(np.argmax(np.bincount(labels.ravel())[1:]))
    else:
        background, _ = ndimage.label(~np.pad(hot, 1))
        filled = (background != background[0, 0]).astype(np.int32)
        labels, count = ndimage.label(filled, eight)
        corners = labels[:-1, :-1], labels[:-1, 1:], labels[1:, :-1], labels[1:, 1:]
        twice = np.maximum(sum((corner > 0).astype(np.int32) for corner in corners) - 2, 0)
        areas = np.bincount(functools.reduce(np.maximum, corners).ravel(), twice.ravel(), count + 1)[1:]
        best = count - 1 - int(np.argmax(areas[::-1]))
        labels = labels[1:-1, 1:-1]
    rows, columns = ndimage.find_objects(labels)[best]
    return columns.start, rows.start, columns.stop, rows.stop
