"""This module makes tables of result rows, for terminals and for the report."""

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
    """A `Table` has a title, named columns and cells; text is aligned to the left, everything else to the right."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]


def text(table: Table) -> str:
    """Returns the table as text in fixed-width type."""
    cells = [[str(column) for column in table.columns], *([_cell_text(cell) for cell in row] for row in table.rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    left_columns = [all(isinstance(row[i], str) for row in table.rows) for i in range(len(widths))]
    lines = [
        "  ".join(
            f"{cell:<{w}}" if is_left else f"{cell:>{w}}"
            for cell, w, is_left in zip(row, widths, left_columns, strict=True)
        )
        for row in cells
    ]
    return "\n".join([table.title, *(line.rstrip() for line in lines)])


def settings(title: str, rows: Sequence[Row]) -> Table:
    """Returns a table of rows: method, its parameters, mAP with its interval, the paper's value and the difference."""
    columns = ["method", "network", "dim", "N_C", "N_pca", "R", "QE", "mAP", "95 %", "paper", "difference"]
    return without_empty_columns(Table(title, columns, [_settings_line(row) for row in rows]))


def _settings_line(row: Row) -> list[Cell]:
    """Returns the cells of a row in `settings`."""
    difference = None if row.paper is None else f"{row.map - row.paper:+.3f}"
    setting: list[Cell] = [row.method, row.network, row.dim, row.nc, row.npca, row.rerank or None, row.qe or None]
    return [*setting, f"{row.map:.4f}", interval(row.low, row.high), _three_decimals(row.paper), difference]


def sweeps(rows: Sequence[Row]) -> list[Table]:
    """Returns tables of mAP: the baselines, then a table for each method with a line for each N_C.

    The paper's value follows in brackets if the paper has one.
    """
    baselines = [row for row in rows if row.method in BASELINES]
    sweep_tables = []
    if baselines:
        baseline_lines = [[_with_steps(row.method, row), _map_text(row)] for row in baselines]
        sweep_tables.append(Table("Baselines", ["method", "mAP"], baseline_lines))
    for method, title in TITLES.items():
        method_rows = [row for row in rows if row.method == method]
        if not method_rows:
            continue
        columns = list(dict.fromkeys(_column_name(row) for row in method_rows))
        cells = {(row.nc, _column_name(row)): _map_text(row) for row in method_rows}
        counts = dict.fromkeys(row.nc for row in method_rows)
        lines = [[nc, *(cells.get((nc, column)) for column in columns)] for nc in counts]
        sweep_tables.append(Table(title, ["N_C", *columns], lines))
    return sweep_tables


def interval(low: float | None, high: float | None) -> str | None:
    """Returns ``low to high``, or None if there is no interval."""
    return None if low is None or high is None else f"{low:.3f} to {high:.3f}"


def without_empty_columns(table: Table) -> Table:
    """Returns the table without empty columns."""
    indices = [i for i in range(len(table.columns)) if any(row[i] not in (None, "") for row in table.rows)]
    return Table(table.title, [table.columns[i] for i in indices], [[row[i] for i in indices] for row in table.rows])


def _with_steps(label: str, row: Row) -> str:
    """Returns a label with the steps after the search."""
    steps = row.steps()
    return f"{label}, {steps}" if steps else label


def _column_name(row: Row) -> str:
    """Returns the name of a row's column in `sweeps`."""
    return _with_steps(f"N_pca {row.npca}", row)


def _map_text(row: Row) -> str:
    """Returns the mAP of a row, with the paper's value in brackets."""
    return f"{row.map:.4f}" + ("" if row.paper is None else f" ({row.paper:.3f})")


def _three_decimals(value: float | None) -> str | None:
    """Returns a value with three decimals."""
    return None if value is None else f"{value:.3f}"


def _cell_text(cell: Cell) -> str:
    """Returns the text of a cell."""
    if cell is None:
        return ""
    return f"{cell:.4f}" if isinstance(cell, float) else str(cell)
