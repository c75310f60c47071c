"""This module finds regions: boxes around the cells where a heat map is large (section 4.5 of the paper)."""

import functools
import itertools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from cwcf_jax.arrays import Size, valid_mask

RULES = ("component", "contour")
"""The rules that select one of the 8-connected components of a thresholded map; the box bounds that component.

``component``: the component with the most cells, as in the paper. Of equal components, the component whose first cell
comes first, row by row.
``contour``: the component with the largest area inside its outer contour, a polygon through cell centres, as in the
authors' code with OpenCV. Holes belong to the area; a line one cell wide has area 0. Of equal components, the component
whose first cell comes last, row by row.
"""


def boxes(
    heat_map: Float[Array, "h w"], size: Size, thresholds: Float[Array, " t"], *, rule: str = "component"
) -> Int[Array, "t 4"]:
    """Computes the box of one component of ``heat > threshold max(heat)`` for each threshold, on the device.

    The box is the whole valid area if no cell is above the threshold, as in a map that is nowhere positive, or if all
    cells are, as in a constant map. `host_boxes` returns equal boxes.

    Args:
        heat_map: the mean of a few class activation maps, each scaled to [0, 1].
        size: valid rows and columns.
        thresholds: fractions of the map's maximum over the valid cells, not negative.
        rule: one of `RULES`; static.

    Returns:
        ``x1 y1 x2 y2`` in cells, half-open.

    Raises:
        ValueError: the rule is unknown.
    """
    _check_rule(rule)
    heat = jnp.where(valid_mask(size, heat_map.shape), heat_map.astype(jnp.float32), 0.0)
    peak = jnp.max(heat, initial=0.0)
    whole = jnp.stack([jnp.zeros_like(size), size[::-1]]).ravel().astype(jnp.int32)

    def box(threshold: Float[Array, ""]) -> Int[Array, "4"]:
        hot = heat > threshold * peak
        return jnp.where(jnp.any(hot), _bounds(_selected_component(hot, rule)), whole)

    return jax.vmap(box)(thresholds)


def host_boxes(
    heat_maps: Float[np.ndarray, "n h w"],
    sizes: Int[np.ndarray, "n 2"],
    thresholds: Sequence[float] | Float[np.ndarray, " t"],
    rule: str = "component",
) -> Int[np.ndarray, "n t 4"]:
    """Computes the result of `boxes` for each of n maps on the host, one map after the other."""
    _check_rule(rule)
    fractions = np.asarray(thresholds, np.float32)
    result = np.empty((len(heat_maps), len(fractions), 4), np.int32)
    for map_boxes, heat, (height, width) in zip(result, heat_maps.astype(np.float32), sizes, strict=True):
        area = heat[:height, :width]
        peak = area.max(initial=0.0)
        for column, fraction in enumerate(fractions):
            hot = area > fraction * peak
            map_boxes[column] = _host_box(hot, rule) if hot.any() else (0, 0, width, height)
    return result


def grid_boxes(size: tuple[int, int], levels: Sequence[int]) -> Int[np.ndarray, "t 4"]:
    """Returns a fixed grid of l x l windows at each level l; neighbours overlap by half, and each level covers the map.

    The sides of a window are 2 / (l + 1) of the map's sides, rounded outwards to whole cells. The source is R-MAC
    (Tolias, Sicre & Jegou 2016); these windows have the map's aspect ratio, where R-MAC has squares.

    Args:
        size: rows and columns of the map, at least 1.
        levels: levels, each at least 1; the only window of level 1 is the whole map.

    Returns:
        ``x1 y1 x2 y2`` in cells, half-open, in the order of levels, and row by row in each level.
    """
    windows = []
    for level in levels:
        ends = np.arange(level)[:, None] + np.array([0, 2])  # starts and stops, in units of side / (level + 1)
        spans = [
            np.stack([ends[:, 0] * side // (level + 1), -(-ends[:, 1] * side // (level + 1))], axis=1) for side in size
        ]
        for (top, bottom), (left, right) in itertools.product(*spans):
            windows.append((left, top, right, bottom))
    return np.array(windows, np.int32)


def select_boxes(boxes: Int[np.ndarray, "*n 4"], minimum: int = 5) -> Bool[np.ndarray, "*n"]:
    """Returns, for each box, whether both sides have at least ``minimum`` cells.

    The authors' code has a minimum of 5, and ranks an image without such a box last. The paper uses all boxes.
    """
    return np.all(boxes[..., 2:] - boxes[..., :2] >= minimum, axis=-1)


def _check_rule(rule: str) -> None:
    if rule not in RULES:
        raise ValueError(f"unknown rule {rule!r}; known: {', '.join(RULES)}")


def _selected_component(hot: Bool[Array, "h w"], rule: str) -> Bool[Array, "h w"]:
    """Returns a mask of the component that ``rule`` selects, with its holes filled if ``rule`` is ``contour``."""
    filled = _fill_holes(hot) if rule == "contour" else hot
    labels = _components(filled, diagonal=True)
    if rule == "component":
        weights, owners = filled.astype(jnp.int32), labels
    else:
        weights, owners = _twice_block_areas(filled), _block_labels(labels)
    # The weights of a component are added at its first cell; the background's label is out of range and dropped.
    totals = jnp.zeros(labels.size, jnp.int32).at[owners.ravel()].add(weights.ravel(), mode="drop")
    totals = jnp.where(labels.ravel() == jnp.arange(labels.size), totals, -1)
    best = jnp.argmax(totals) if rule == "component" else labels.size - 1 - jnp.argmax(totals[::-1])
    return filled & (labels == best)


def _components(mask: Bool[Array, "h w"], *, diagonal: bool) -> Int[Array, "h w"]:
    """Labels each cell with the index, row by row, of the first cell of its component; ``mask.size`` outside the mask.

    Every cell points to a cell of its component, at first to itself. One step computes the smallest pointer among a
    cell and its neighbours, writes the minimum also to the cell that is pointed to, and then replaces each pointer by
    the pointer of its target. A spiral of n cells needs about log n steps instead of n (Shiloach & Vishkin 1982; Zhang,
    Azad & Hu 2020).
    """
    outside = mask.size

    def step(state: tuple[Array, Array]) -> tuple[Array, Array]:
        labels, _ = state
        smallest = jnp.where(mask, _neighbour_minimum(labels, outside, diagonal), outside).ravel()
        target = jnp.minimum(smallest, labels.ravel()).at[labels.ravel()].min(smallest, mode="drop")
        new = jnp.append(target, outside)[target].reshape(mask.shape)
        return new, jnp.any(new != labels)

    start = jnp.where(mask, jnp.arange(outside).reshape(mask.shape), outside)
    labels, _ = jax.lax.while_loop(lambda state: state[1], step, (start, jnp.array(True)))
    return labels


def _neighbour_minimum(labels: Int[Array, "h w"], outside: int, diagonal: bool) -> Int[Array, "h w"]:
    """Computes the smallest label among each cell and its 8 neighbours, or its 4 neighbours if not ``diagonal``."""
    padded = jnp.pad(labels, 1, constant_values=outside)
    across = jnp.minimum(jnp.minimum(padded[:, :-2], padded[:, 1:-1]), padded[:, 2:])
    rows = across if diagonal else padded[:, 1:-1]
    return jnp.minimum(across[1:-1], jnp.minimum(rows[:-2], rows[2:]))


def _fill_holes(mask: Bool[Array, "h w"]) -> Bool[Array, "h w"]:
    """Fills the holes of a mask: the background cells without a 4-connected path of background to the border."""
    background = ~jnp.pad(mask, 1)
    return (_components(background, diagonal=False) != 0)[1:-1, 1:-1]


def _twice_block_areas(filled: Bool[Array, "h w"]) -> Int[Array, "h w"]:
    """Computes twice the area inside contours, for the 2 x 2 block of each cell and its right and lower neighbours.

    A contour runs through cell centres. The area of a block is 1 (a square) with 4 cells of the mask, 1/2 (a triangle)
    with 3 cells, and 0 (a line or a point) with fewer cells. The areas of a component's blocks sum to the area inside
    the component's contour, so that contours need not be traced.
    """
    padded = jnp.pad(filled.astype(jnp.int32), ((0, 1), (0, 1)))
    across = padded[:, :-1] + padded[:, 1:]
    return jnp.maximum(across[:-1] + across[1:] - 2, 0)


def _block_labels(labels: Int[Array, "h w"]) -> Int[Array, "h w"]:
    """Returns the label of the only component in each 2 x 2 block; cells of one block are neighbours."""
    padded = jnp.pad(labels, ((0, 1), (0, 1)), constant_values=labels.size)
    across = jnp.minimum(padded[:, :-1], padded[:, 1:])
    return jnp.minimum(across[:-1], across[1:])


def _bounds(mask: Bool[Array, "h w"]) -> Int[Array, "4"]:
    columns, rows = jnp.any(mask, axis=0), jnp.any(mask, axis=1)
    first = jnp.stack([jnp.argmax(columns), jnp.argmax(rows)])
    last = jnp.stack([columns.size - jnp.argmax(columns[::-1]), rows.size - jnp.argmax(rows[::-1])])
    return jnp.concatenate([first, last]).astype(jnp.int32)


def _host_box(hot: np.ndarray, rule: str) -> tuple[int, int, int, int]:
    from scipy import ndimage  # type: ignore[import-untyped]  # here, because the import takes seconds and opens files

    eight_connected = np.ones((3, 3), np.int32)
    if rule == "component":
        labels, _ = ndimage.label(hot, eight_connected)
        best = int(np.argmax(np.bincount(labels.ravel())[1:]))
    else:
        background, _ = ndimage.label(~np.pad(hot, 1))
        filled = (background != background[0, 0]).astype(np.int32)
        labels, count = ndimage.label(filled, eight_connected)
        corners = labels[:-1, :-1], labels[:-1, 1:], labels[1:, :-1], labels[1:, 1:]
        twice_areas = np.maximum(sum((corner > 0).astype(np.int32) for corner in corners) - 2, 0)
        areas = np.bincount(functools.reduce(np.maximum, corners).ravel(), twice_areas.ravel(), count + 1)[1:]
        best = count - 1 - int(np.argmax(areas[::-1]))
        labels = labels[1:-1, 1:-1]
    rows, columns = ndimage.find_objects(labels)[best]
    return columns.start, rows.start, columns.stop, rows.stop
