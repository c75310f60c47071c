"""This module plots curves of results like those of Figures 4 and 5b."""

import pathlib
import textwrap
from collections.abc import Mapping, Sequence

from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.results import Row
from experiments.tables import BASELINES, TITLES

Published = Mapping[tuple[str, int], Mapping[int, float]]
"""The paper's mAP at each N_C, by method and N_pca."""

_LINE_STYLES = ("-", "--", "-.", ":")


def sweep(rows: Sequence[Row], title: str, path: pathlib.Path, *, published: Published | None = None) -> None:
    """Plots mAP against N_C: a panel for each strategy, a colour for each N_pca, dashes for steps after the search.

    Args:
        rows: measured rows; baselines become horizontal lines, and rows of other methods are not shown.
        title: title of the whole figure.
        path: PNG file to write.
        published: the paper's values, drawn as hollow markers.
    """
    published = published or {}
    methods = [method for method in TITLES if any(row.method == method for row in rows)] or ["OfA"]
    figure = Figure(figsize=(4.6 * len(methods) + 1, 4.4), layout="constrained")
    axes = figure.subplots(1, len(methods), sharey=True, squeeze=False)[0]
    npcas = sorted({row.npca for row in rows if row.npca is not None} | {npca for _, npca in published})
    colours: dict[int | None, str] = {npca: f"C{i}" for i, npca in enumerate(npcas)}
    baselines = [row for row in rows if row.method in BASELINES and not row.steps()]
    for axis, method in zip(axes, methods, strict=True):
        method_rows = [row for row in rows if row.method == method]
        points = {npca: values for (name, npca), values in published.items() if name == method}
        _plot_curves(axis, method_rows, colours)
        for npca, values in points.items():
            marker_style = {"markerfacecolor": "none", "markersize": 8, "color": colours[npca]}
            axis.plot(list(values), list(values.values()), "o", label=f"paper, $N_{{pca}}$ = {npca}", **marker_style)
        for row, style in zip(baselines, (":", (0, (1, 4)), "-.", "--"), strict=False):
            axis.axhline(row.map, color="0.5", linewidth=1, linestyle=style, label=row.method)
        measured = {row.nc for row in method_rows if row.nc is not None}
        _decorate(axis, TITLES[method], sorted(measured.union(*points.values())))
    axes[0].set_ylabel("mAP")
    handles = {label: handle for axis in axes for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    labels = sorted(handles, key=lambda label: label.startswith("paper"))
    if labels:
        figure.legend([handles[label] for label in labels], labels, loc="outside right center", fontsize=8)
    figure.suptitle(textwrap.fill(title, int(11 * figure.get_figwidth())), fontsize=10, parse_math=False)
    figure.savefig(path, dpi=150)


def _plot_curves(axis: Axes, rows: Sequence[Row], colours: Mapping[int | None, str]) -> None:
    """Plots a curve for each N_pca and each sequence of steps after the search."""
    all_steps = list(dict.fromkeys(row.steps() for row in rows))
    for npca, steps in dict.fromkeys((row.npca, row.steps()) for row in rows):
        curve = sorted((row.nc or 0, row.map) for row in rows if (row.npca, row.steps()) == (npca, steps))
        label = f"$N_{{pca}}$ = {npca}" + (f", {steps}" if steps else "")
        line = _LINE_STYLES[all_steps.index(steps) % len(_LINE_STYLES)]
        axis.plot(*zip(*curve, strict=True), f"o{line}", color=colours[npca], label=label, markersize=4)


def _decorate(axis: Axes, title: str, counts: Sequence[int]) -> None:
    """Sets the title, the labels and the ticks of a panel."""
    axis.set_title(title)
    axis.set_xlabel("$N_C$, number of aggregated class vectors")
    axis.set_xscale("log", base=2)
    axis.set_xticks(counts)
    axis.xaxis.set_major_formatter(ticker.ScalarFormatter())
    axis.xaxis.set_minor_locator(ticker.NullLocator())
    axis.grid(alpha=0.3)
