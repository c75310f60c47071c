"""The ablation's rows as a table for the terminal and as a plot in the manner of Figure 4."""

import pathlib
from collections.abc import Sequence

from experiments.results import Row

BASELINES = ("Raw", "Raw+CroW", "Raw+PCA", "Raw+CroW+PCA")
TITLES = {
    "OfA": "Offline aggregation (OfA)",
    "OnA": "Online aggregation (OnA)",
    "Predefined": "Predefined classes (OfA)",
}


def table(rows: Sequence[Row]) -> str:
    """mAP of every row: the baselines in a list, then a block for each method with a line for each N_C.

    The paper's value follows in brackets where it has one.
    """
    lines = [f"{_expanded(row.method, row.qe):<24} {_cell(row)}" for row in rows if row.method in BASELINES]
    for method, title in TITLES.items():
        chosen = [row for row in rows if row.method == method]
        if not chosen:
            continue
        columns = list(dict.fromkeys(_setting(row) for row in chosen))
        width = max(map(len, [*columns, *map(_cell, chosen)]))
        lines += ["", title, "  N_C" + "".join(f"  {column:>{width}}" for column in columns)]
        for nc in dict.fromkeys(row.nc for row in chosen):
            cells = {_setting(row): _cell(row) for row in chosen if row.nc == nc}
            lines.append(f"{nc:>5}" + "".join(f"  {cells[column]:>{width}}" for column in columns))
    return "\n".join(lines)


def plot(rows: Sequence[Row], title: str, path: pathlib.Path) -> None:
    """mAP against N_C, one panel a strategy, one colour an N_pca, dashed with query expansion, baselines as lines."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot, ticker

    methods = [method for method in TITLES if any(row.method == method for row in rows)] or ["OfA"]
    figure, axes = pyplot.subplots(
        1, len(methods), figsize=(4.6 * len(methods) + 1, 4.4), sharey=True, squeeze=False, layout="constrained"
    )
    npcas = sorted({row.npca for row in rows if row.npca is not None})
    colours: dict[int | None, str] = {npca: f"C{i}" for i, npca in enumerate(npcas)}
    for axis, method in zip(axes[0], methods, strict=True):
        chosen = [row for row in rows if row.method == method]
        for npca, qe in dict.fromkeys((row.npca, row.qe) for row in chosen):
            curve = sorted((row.nc or 0, row.map) for row in chosen if (row.npca, row.qe) == (npca, qe))
            label = _expanded(f"$N_{{pca}}$ = {npca}", qe)
            axis.plot(*zip(*curve, strict=True), "o--" if qe else "o-", color=colours[npca], label=label, markersize=4)
        baselines = [row for row in rows if row.method in BASELINES and row.qe == 0]
        for row, style in zip(baselines, (":", (0, (1, 4)), "-.", "--"), strict=False):
            axis.axhline(row.map, color="0.5", linewidth=1, linestyle=style, label=row.method)
        axis.set_title(TITLES[method])
        axis.set_xlabel("$N_C$, class vectors aggregated")
        axis.set_xscale("log", base=2)
        axis.set_xticks(sorted({row.nc for row in chosen if row.nc is not None}))
        axis.xaxis.set_major_formatter(ticker.ScalarFormatter())
        axis.xaxis.set_minor_locator(ticker.NullLocator())
        axis.grid(alpha=0.3)
    axes[0][0].set_ylabel("mAP")
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", fontsize=8)
    figure.suptitle(title, fontsize=10)
    figure.savefig(path, dpi=150)
    pyplot.close(figure)


def _expanded(text: str, qe: int) -> str:
    return f"{text}, QE {qe}" if qe else text


def _setting(row: Row) -> str:
    return _expanded(f"N_pca {row.npca}", row.qe)


def _cell(row: Row) -> str:
    return f"{row.map:.4f}" + ("" if row.paper is None else f" ({row.paper:.3f})")
