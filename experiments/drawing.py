"""Drawings of the paper's Figures 2, 3 and 5a and of Table 1b, from arrays."""

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

HEAT = "inferno"
"""A colour map whose lightness rises with the value, so that it says the same in grey."""

SHARE = 0.55
"""Of the heat map's colour in a pixel of `overlay`; the rest is the photograph."""

TRUTH = "#00d040"

_DPI = 150
_WIDEST = 640  # pixels of a photograph in a figure
_LINE = 2.2  # points
_DASH = 4.0  # line widths

Picture = UInt8[np.ndarray, "height width 3"]

Colour = str | tuple[float, float, float, float]

Regions = tuple[Picture, Float[np.ndarray, "t 4"], Sequence[float], Sequence[float] | None, str]
"""A photograph, regions x1 y1 x2 y2 in its pixels, the threshold of each, the true box or None, a caption."""


def overlay(image: Picture, heat: Float[np.ndarray, "h w"]) -> Picture:
    """A class activation map over the photograph, which it dims where it is low.

    Args:
        image: RGB.
        heat: 0 to 1; enlarged bilinearly with half-pixel centres. Values outside are clipped, NaN counts as 0.
    """
    clean = np.clip(np.nan_to_num(np.asarray(heat, np.float32), nan=0.0), 0.0, 1.0)
    height, width = image.shape[:2]
    enlarged = np.asarray(Image.fromarray(clean).resize((width, height), Image.Resampling.BILINEAR))
    colours = matplotlib.colormaps[HEAT](enlarged)[..., :3] * 255
    return np.rint((1 - SHARE) * image + SHARE * colours).astype(np.uint8)


def cam_grid(
    path: pathlib.Path,
    rows: Sequence[tuple[str, Sequence[tuple[Picture, str]]]],
    *,
    columns: Sequence[str] = (),
) -> None:
    """Figure 2: a line a photograph, its maps beside it, a column a network.

    Args:
        path: of the PNG to write.
        rows: a title and the pictures of each line, each with what stands above it: ``class (probability)``.
        columns: what each column shows, above the first line.
    """
    count = max((len(cells) for _, cells in rows), default=1)
    tall = [max((_height(image) for image, _ in cells), default=1.0) for _, cells in rows] or [1.0]
    figure = Figure(figsize=(0.3 + 2.6 * count, sum(2.4 * height + 0.5 for height in tall)), layout="constrained")
    axes = figure.subplots(len(tall), count, squeeze=False, gridspec_kw={"height_ratios": tall})
    for axis in axes.flat:
        _bare(axis)
    for line, (title, cells) in zip(axes, rows, strict=False):
        line[0].set_ylabel(textwrap.fill(title, 26), fontsize=8, parse_math=False)
        for axis, (image, text) in zip(line, cells, strict=False):
            axis.imshow(_shrunk(image))
            axis.set_title(textwrap.fill(text, 30), fontsize=9, parse_math=False)
    for axis, name in zip(axes[0], columns, strict=False):
        text = axis.get_title()
        axis.set_title(f"{name}\n{text}" if text else name, fontsize=9, parse_math=False)
    figure.savefig(path, dpi=_DPI)


def region_figure(path: pathlib.Path, items: Sequence[Regions]) -> None:
    """Figure 3: photographs with a box a threshold, and the ground truth in green.

    Boxes that coincide are one line of alternating dashes. Those without area, or not finite, are not there and are
    not drawn.
    """
    thresholds = sorted({threshold for _, _, own, _, _ in items for threshold in own})
    shades = np.linspace(0.15, 1.0, max(len(thresholds), 2))
    colours = {one: matplotlib.colormaps["plasma"](shade) for one, shade in zip(thresholds, shades, strict=False)}
    count = min(3, max(1, len(items)))
    lines = [items[start : start + count] for start in range(0, len(items), count)] or [()]
    tall = [max((_height(item[0]) for item in line), default=1.0) for line in lines]
    figure = Figure(figsize=(3.4 * count, 0.8 + sum(3.3 * height + 0.3 for height in tall)), layout="constrained")
    axes = figure.subplots(len(lines), count, squeeze=False, gridspec_kw={"height_ratios": tall})
    for axis in axes.flat:
        _bare(axis)
        axis.set_anchor("N")
    for axis, (image, boxes, own, truth, caption) in zip(axes.flat, items, strict=False):
        axis.imshow(image)
        edge = 0.5 + 0.008 * max(image.shape)  # room for the lines of a box as large as the photograph
        axis.set_xlim(-edge, image.shape[1] - 1 + edge)
        axis.set_ylim(image.shape[0] - 1 + edge, -edge)
        _boxes(axis, boxes, [colours[threshold] for threshold in own])
        if truth is not None:
            _boxes(axis, np.array([truth]), [TRUTH])
        axis.set_title(textwrap.shorten(caption, 48, placeholder="…"), fontsize=8, parse_math=False)
    handles = [Line2D([], [], color=colours[one], linewidth=3, label=f"{100 * one:g} %") for one in thresholds]
    if any(item[3] is not None for item in items):
        handles.append(Line2D([], [], color=TRUTH, linewidth=3, label="ground truth"))
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
    """Figure 5a: in which share of ``total`` queries each class appears; classes of ``known`` stand out."""
    known = known or ()
    places = range(len(names))
    marked = [name in known for name in names]
    figure = Figure(figsize=(1.5 + 0.19 * max(len(names), 16), 4.6), layout="constrained")
    axis = figure.subplots()
    colours = ["#b3410e" if mark else "#7f9bb3" for mark in marked]
    axis.bar(places, [count / total if total else 0.0 for count in counts], color=colours, width=0.8)
    labels = [textwrap.shorten(name, 30, placeholder="…") for name in names]
    axis.set_xticks(places, labels, rotation=90, fontsize=7.5, parse_math=False)
    for label, mark in zip(axis.get_xticklabels(), marked, strict=True):
        label.set_fontweight("bold" if mark else "normal")
    axis.set_xlim(-0.8, len(names) - 0.2)
    axis.set_ylim(0, 1)
    axis.set_ylabel(f"share of {total} queries")
    axis.grid(axis="y", alpha=0.3)
    axis.set_axisbelow(True)
    if any(marked):
        axis.legend(handles=[Patch(color="#b3410e", label="named in the paper")], loc="upper right", fontsize=9)
    figure.savefig(path, dpi=_DPI)


def timing(
    path: pathlib.Path, labels: Sequence[str], ratios: Sequence[float], low: Sequence[float], high: Sequence[float]
) -> None:
    """Table 1b: the cost of each setting as a ratio to the first, with the range from ``low`` to ``high``."""
    figure = Figure(figsize=(6.0, 0.9 + 0.42 * len(labels)), layout="constrained")
    axis = figure.subplots()
    below = [max(0.0, ratio - least) for ratio, least in zip(ratios, low, strict=True)]
    above = [max(0.0, most - ratio) for ratio, most in zip(ratios, high, strict=True)]
    places = range(len(labels))
    axis.barh(places, ratios, xerr=[below, above], color="#7f9bb3", ecolor="0.2", capsize=3, height=0.65)
    for place, ratio, more in zip(places, ratios, above, strict=True):
        axis.annotate(
            f"{ratio:.2f}", (ratio + more, place), (6, 0), textcoords="offset points", va="center", fontsize=9
        )
    axis.axvline(1.0, color="0.4", linewidth=1, linestyle=":")
    axis.set_yticks(places, labels, parse_math=False)
    axis.invert_yaxis()
    axis.margins(x=0.14)
    axis.set_xlim(left=0)
    axis.set_xlabel(f"seconds of a query, {labels[0]} = 1" if labels else "", parse_math=False)
    figure.savefig(path, dpi=_DPI)


def _height(image: Picture) -> float:
    """Over the width, within reason."""
    return float(np.clip(image.shape[0] / image.shape[1], 0.3, 2.0))


def _shrunk(image: Picture) -> Picture:
    step = _WIDEST / max(image.shape[:2])
    if step >= 1:
        return image
    size = (max(1, round(image.shape[1] * step)), max(1, round(image.shape[0] * step)))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS))


def _bare(axis: Axes) -> None:
    axis.set_xticks([])
    axis.set_yticks([])
    axis.set_frame_on(False)


def _boxes(axis: Axes, boxes: Float[np.ndarray, "t 4"], colours: Sequence[Colour]) -> None:
    places: dict[tuple[float, ...], list[Colour]] = {}
    for box, colour in zip(boxes.tolist(), colours, strict=True):
        x1, y1, x2, y2 = box
        if np.isfinite(box).all() and x2 > x1 and y2 > y1:
            places.setdefault((x1, y1, x2, y2), []).append(colour)
    outline = [patheffects.withStroke(linewidth=_LINE + 1.2, foreground="black")]
    for (x1, y1, x2, y2), here in places.items():
        corner, width, height = (x1 - 0.5, y1 - 0.5), x2 - x1, y2 - y1  # pixel 0 lies between -0.5 and 0.5
        for i, colour in enumerate(here):
            # Later dashes lie upon longer earlier ones, so that no gap shows the photograph.
            dashes = (0, (_DASH * (len(here) - i), _DASH * i)) if i else "-"
            effects = [] if i else outline
            axis.add_patch(
                Rectangle(
                    corner, width, height, fill=False, edgecolor=colour, linewidth=_LINE, linestyle=dashes,
                    path_effects=effects, capstyle="butt", joinstyle="miter",
                )
            )  # fmt: skip
