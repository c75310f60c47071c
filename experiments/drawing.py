"""This module draws the paper's Figures 2, 3 and 5a and a plot of Table 1b from arrays."""

import pathlib
import textwrap
from collections.abc import Collection, Sequence

import matplotlib
import numpy as np
from jaxtyping import Float, UInt8
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from PIL import Image

COLOUR_MAP = "inferno"
"""The colour map of heat maps; its lightness rises with the value, so that it can be read in greyscale, too."""

HEAT_SHARE = 0.55
"""The weight of the heat map in a pixel of `overlay`; the photograph has the rest."""

TRUTH_COLOUR = "#00d040"

_DPI = 150
_MAX_SIDE = 640  # pixels of the longer side of a photograph in a figure
_LINE_POINTS = 2.2
_DASH_WIDTHS = 4.0  # length of a dash in line widths

Picture = UInt8[np.ndarray, "height width 3"]

Colour = str | tuple[float, float, float, float]

Regions = tuple[Picture, Float[np.ndarray, "t 4"], Sequence[float], Sequence[float] | None, str]
"""A photograph, regions x1 y1 x2 y2 in pixels, the threshold of each region, the true box or None, and a caption."""


def overlay(image: Picture, heat: Float[np.ndarray, "h w"]) -> Picture:
    """Returns the photograph with a heat map over it, which darkens the photograph where its values are low.

    Args:
        image: photograph, RGB.
        heat: heat map, 0 to 1, enlarged bilinearly with half-pixel centres. Values outside are clipped; NaN is 0.
    """
    clipped = np.clip(np.nan_to_num(np.asarray(heat, np.float32), nan=0.0), 0.0, 1.0)
    height, width = image.shape[:2]
    enlarged = np.asarray(Image.fromarray(clipped).resize((width, height), Image.Resampling.BILINEAR))
    colours = matplotlib.colormaps[COLOUR_MAP](enlarged)[..., :3] * 255
    return np.rint((1 - HEAT_SHARE) * image + HEAT_SHARE * colours).astype(np.uint8)


def cam_grid(
    path: pathlib.Path,
    rows: Sequence[tuple[str, Sequence[tuple[Picture, str]]]],
    *,
    columns: Sequence[str] = (),
) -> None:
    """Draws Figure 2: a row for each photograph, with a heat map for each network beside it.

    Args:
        path: PNG file to write.
        rows: title and pictures of each row; each picture has a caption above it, such as ``class (probability)``.
        columns: headings of the columns.
    """
    count = max((len(cells) for _, cells in rows), default=1)
    heights = [max((_relative_height(image) for image, _ in cells), default=1.0) for _, cells in rows] or [1.0]
    figure = Figure(figsize=(0.3 + 2.6 * count, sum(2.4 * height + 0.5 for height in heights)), layout="constrained")
    axes = figure.subplots(len(heights), count, squeeze=False, gridspec_kw={"height_ratios": heights})
    for axis in axes.flat:
        _hide_ticks(axis)
    for axis_row, (title, cells) in zip(axes, rows, strict=False):
        axis_row[0].set_ylabel(textwrap.fill(title, 26), fontsize=8, parse_math=False)
        for axis, (image, text) in zip(axis_row, cells, strict=False):
            axis.imshow(_shrink(image))
            axis.set_title(textwrap.fill(text, 30), fontsize=9, parse_math=False)
    for axis, name in zip(axes[0], columns, strict=False):
        text = axis.get_title()
        axis.set_title(f"{name}\n{text}" if text else name, fontsize=9, parse_math=False)
    figure.savefig(path, dpi=_DPI)


def region_figure(path: pathlib.Path, items: Sequence[Regions]) -> None:
    """Draws Figure 3: photographs with a box for each threshold, and the ground truth in green.

    Boxes that coincide are drawn as one outline of alternating dashes. Boxes without area, or with coordinates that are
    not finite, are not drawn.
    """
    thresholds = sorted({threshold for _, _, box_thresholds, _, _ in items for threshold in box_thresholds})
    shades = np.linspace(0.15, 1.0, max(len(thresholds), 2))
    colours = {value: matplotlib.colormaps["plasma"](shade) for value, shade in zip(thresholds, shades, strict=False)}
    count = min(3, max(1, len(items)))
    item_rows = [items[start : start + count] for start in range(0, len(items), count)] or [()]
    heights = [max((_relative_height(item[0]) for item in item_row), default=1.0) for item_row in item_rows]
    figure = Figure(figsize=(3.4 * count, 0.8 + sum(3.3 * height + 0.3 for height in heights)), layout="constrained")
    axes = figure.subplots(len(item_rows), count, squeeze=False, gridspec_kw={"height_ratios": heights})
    for axis in axes.flat:
        _hide_ticks(axis)
        axis.set_anchor("N")
    for axis, (image, boxes, box_thresholds, truth, caption) in zip(axes.flat, items, strict=False):
        axis.imshow(image)
        margin = 0.5 + 0.008 * max(image.shape)  # room for the outline of a box as large as the photograph
        axis.set_xlim(-margin, image.shape[1] - 1 + margin)
        axis.set_ylim(image.shape[0] - 1 + margin, -margin)
        _draw_boxes(axis, boxes, [colours[threshold] for threshold in box_thresholds])
        if truth is not None:
            _draw_boxes(axis, np.array([truth]), [TRUTH_COLOUR])
        axis.set_title(textwrap.shorten(caption, 48, placeholder="…"), fontsize=8, parse_math=False)
    handles = [Line2D([], [], color=colours[value], linewidth=3, label=f"{100 * value:g} %") for value in thresholds]
    if any(item[3] is not None for item in items):
        handles.append(Line2D([], [], color=TRUTH_COLOUR, linewidth=3, label="ground truth"))
    if handles:
        columns = min(len(handles), 3 * count)
        figure.legend(handles=handles, loc="outside lower center", ncols=columns, fontsize=9, frameon=False)
    figure.savefig(path, dpi=_DPI)


def class_ratio(
    path: pathlib.Path,
    names: Sequence[str],
    counts: Sequence[int],
    total: int,
    *,
    known: Collection[str] | None = None,
) -> None:
    """Draws Figure 5a: the share of ``total`` queries that each class appears in; classes in ``known`` stand out."""
    known = known or ()
    positions = range(len(names))
    is_known = [name in known for name in names]
    figure = Figure(figsize=(1.5 + 0.19 * max(len(names), 16), 4.6), layout="constrained")
    axis = figure.subplots()
    colours = ["#b3410e" if highlight else "#7f9bb3" for highlight in is_known]
    axis.bar(positions, [count / total if total else 0.0 for count in counts], color=colours, width=0.8)
    labels = [textwrap.shorten(name, 30, placeholder="…") for name in names]
    axis.set_xticks(positions, labels, rotation=90, fontsize=7.5, parse_math=False)
    for label, highlight in zip(axis.get_xticklabels(), is_known, strict=True):
        label.set_fontweight("bold" if highlight else "normal")
    axis.set_xlim(-0.8, len(names) - 0.2)
    axis.set_ylim(0, 1)
    axis.set_ylabel(f"share of {total} queries")
    axis.grid(axis="y", alpha=0.3)
    axis.set_axisbelow(True)
    if any(is_known):
        axis.legend(handles=[Patch(color="#b3410e", label="named in the paper")], loc="upper right", fontsize=9)
    figure.savefig(path, dpi=_DPI)


def timing(
    path: pathlib.Path, labels: Sequence[str], ratios: Sequence[float], low: Sequence[float], high: Sequence[float]
) -> None:
    """Draws Table 1b: the cost of each setting relative to the first one, with its range from ``low`` to ``high``."""
    figure = Figure(figsize=(6.0, 0.9 + 0.42 * len(labels)), layout="constrained")
    axis = figure.subplots()
    below = [max(0.0, ratio - lowest) for ratio, lowest in zip(ratios, low, strict=True)]
    above = [max(0.0, highest - ratio) for ratio, highest in zip(ratios, high, strict=True)]
    positions = range(len(labels))
    axis.barh(positions, ratios, xerr=[below, above], color="#7f9bb3", ecolor="0.2", capsize=3, height=0.65)
    for position, ratio, excess in zip(positions, ratios, above, strict=True):
        axis.annotate(
            f"{ratio:.2f}", (ratio + excess, position), (6, 0), textcoords="offset points", va="center", fontsize=9
        )
    axis.axvline(1.0, color="0.4", linewidth=1, linestyle=":")
    axis.set_yticks(positions, labels, parse_math=False)
    axis.invert_yaxis()
    axis.margins(x=0.14)
    axis.set_xlim(left=0)
    axis.set_xlabel(f"seconds of a query, {labels[0]} = 1" if labels else "", parse_math=False)
    figure.savefig(path, dpi=_DPI)


def _relative_height(image: Picture) -> float:
    """Returns the height of an image over its width, limited to 0.3 to 2."""
    return float(np.clip(image.shape[0] / image.shape[1], 0.3, 2.0))


def _shrink(image: Picture) -> Picture:
    """Returns the image with a longer side of at most `_MAX_SIDE` pixels."""
    scale = _MAX_SIDE / max(image.shape[:2])
    if scale >= 1:
        return image
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS))


def _hide_ticks(axis: Axes) -> None:
    """Hides the ticks and the frame."""
    axis.set_xticks([])
    axis.set_yticks([])
    axis.set_frame_on(False)


def _draw_boxes(axis: Axes, boxes: Float[np.ndarray, "t 4"], colours: Sequence[Colour]) -> None:
    """Draws boxes x1 y1 x2 y2 in pixels, each in its colour."""
    colours_by_box: dict[tuple[float, ...], list[Colour]] = {}
    for box, colour in zip(boxes.tolist(), colours, strict=True):
        x1, y1, x2, y2 = box
        if np.isfinite(box).all() and x2 > x1 and y2 > y1:
            colours_by_box.setdefault((x1, y1, x2, y2), []).append(colour)
    outline = [patheffects.withStroke(linewidth=_LINE_POINTS + 1.2, foreground="black")]
    for (x1, y1, x2, y2), box_colours in colours_by_box.items():
        corner, width, height = (x1 - 0.5, y1 - 0.5), x2 - x1, y2 - y1  # pixel 0 lies between -0.5 and 0.5
        for i, colour in enumerate(box_colours):
            # Later dashes cover parts of longer earlier ones, so that no gap shows the photograph.
            dashes = (0, (_DASH_WIDTHS * (len(box_colours) - i), _DASH_WIDTHS * i)) if i else "-"
            effects = [] if i else outline
            axis.add_patch(
                Rectangle(
                    corner, width, height, fill=False, edgecolor=colour, linewidth=_LINE_POINTS, linestyle=dashes,
                    path_effects=effects, capstyle="butt", joinstyle="miter",
                )
            )  # fmt: skip
