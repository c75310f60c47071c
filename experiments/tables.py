"""Rows of results as tables, for terminals and for the report."""

import dataclasses
from collections.abc import Sequence

from experiments.results import Row

BASELINES = ("Raw", "Raw+CroW", "Raw+PCA", "Raw+CroW+PCA")
TITLES = {
    "OfA": "Offline aggregation (OfA)",
    "OnA": "Online aggregation (OnA)",
    "Predefined": "Predefined classes (OfA)",
}

Cell = str | int | float | None


@dataclasses.dataclass(frozen=True)
class Table:
    """A title, the names of the columns and the cells; text to the left, the rest to the right."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]


def text(table: Table) -> str:
    """The table in fixed-width type."""
    cells = [[str(column) for column in table.columns], *([_shown(cell) for cell in row] for row in table.rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    left = [all(isinstance(row[i], str) for row in table.rows) for i in range(len(widths))]
    lines = [
        "  ".join(
            f"{cell:<{w}}" if is_left else f"{cell:>{w}}" for cell, w, is_left in zip(row, widths, left, strict=True)
        )
        for row in cells
    ]
    return "\n".join([table.title, *(line.rstrip() for line in lines)])


def settings(title: str, rows: Sequence[Row]) -> Table:
    """A line a row: method, its parameters, mAP with its interval, the paper's value and the difference."""
    columns = ["method", "network", "dim", "N_C", "N_pca", "R", "QE", "mAP", "95 %", "paper", "difference"]
    return without_empty_columns(Table(title, columns, [_line(row) for row in rows]))


def _line(row: Row) -> list[Cell]:
    difference = None if row.paper is None else f"{row.map - row.paper:+.3f}"
    setting: list[Cell] = [row.method, row.network, row.dim, row.nc, row.npca, row.rerank or None, row.qe or None]
    return [*setting, f"{row.map:.4f}", interval(row.low, row.high), _short(row.paper), difference]


def sweeps(rows: Sequence[Row]) -> list[Table]:
    """mAP of every row: the baselines, then a table for each method with a line for each N_C.

    The paper's value follows in brackets where it has one.
    """
    baselines = [row for row in rows if row.method in BASELINES]
    result = []
    if baselines:
        lines = [[_expanded(row.method, row), _cell(row)] for row in baselines]
        result.append(Table("Baselines", ["method", "mAP"], lines))
    for method, title in TITLES.items():
        chosen = [row for row in rows if row.method == method]
        if not chosen:
            continue
        columns = list(dict.fromkeys(_setting(row) for row in chosen))
        cells = {(row.nc, _setting(row)): _cell(row) for row in chosen}
        counts = dict.fromkeys(row.nc for row in chosen)
        grid = [[nc, *(cells.get((nc, column)) for column in columns)] for nc in counts]
        result.append(Table(title, ["N_C", *columns], grid))
    return result


def interval(low: float | None, high: float | None) -> str | None:
    """``low to high``, or nothing."""
    return None if low is None or high is None else f"{low:.3f} to {high:.3f}"


def without_empty_columns(table: Table) -> Table:
    """The table without columns that say nothing."""
    kept = [i for i in range(len(table.columns)) if any(row[i] not in (None, "") for row in table.rows)]
    return Table(table.title, [table.columns[i] for i in kept], [[row[i] for i in kept] for row in table.rows])


def _expanded(label: str, row: Row) -> str:
    steps = row.steps()
    return f"{label}, {steps}" if steps else label


def _setting(row: Row) -> str:
    return _expanded(f"N_pca {row.npca}", row)


def _cell(row: Row) -> str:
    return f"{row.map:.4f}" + ("" if row.paper is None else f" ({row.paper:.3f})")


def _short(value: float | None) -> str | None:
    return None if value is None else f"{value:.3f}"


def _shown(cell: Cell) -> str:
    if cell is None:
        return ""
    return f"{cell:.4f}" if isinstance(cell, float) else str(cell)
