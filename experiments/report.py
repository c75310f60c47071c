"""This program makes one self-contained web page of all results files below a folder, in the paper's order.

    python -m experiments.report --results=results --output=results/report.html

If an experiment was run several times on the same data, network and protocol, the page shows the newest run and lists
the others.
"""

import base64
import dataclasses
import html
import itertools
import json
import pathlib
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from absl import flags
from absl.flags import FlagValues
from PIL import Image

from cwcf_jax.evaluation import protocol
from experiments import page_head, tables
from experiments.program import Program
from experiments.results import Row
from experiments.tables import Cell, Table

EXPERIMENTS = {
    "figure2": "Figure 2: class activation maps",
    "figure3": "Figure 3: regions of interest",
    "table1a": "Table 1a: baselines and networks",
    "table1b": "Table 1b: cost of class activation maps",
    "figure4": "Figure 4: number of classes",
    "figure5a": "Figure 5a: the most frequent classes",
    "figure5b": "Figure 5b: predefined classes",
    "table2a": "Table 2a: comparison with other methods",
    "table2b": "Table 2b: after re-ranking and query expansion",
    "ablation": "Ablation",
    "protocols": "Protocols: the paper's text against its code",
    "stores": "Stores: online aggregation over fewer bytes",
}
"""The headings, in the paper's order; other experiments follow under their own names."""

_MEASURED_COLUMNS = ("mAP", "95 %", "paper", "difference")
_OVERVIEW_COLUMNS = ("experiment", "data", "network", "protocol", "best row", *_MEASURED_COLUMNS, "when", "commit")
_NUMBER = re.compile(r"[+-]?\d*\.?\d+( %)?")
_FORMAT_ERRORS = (TypeError, LookupError, AttributeError, ArithmeticError, RecursionError, ValueError)


@dataclasses.dataclass(frozen=True)
class Run:
    """A `Run` is a results file that has been read.

    Attributes:
        path: path of the file.
        experiment: a key of `EXPERIMENTS`, or another name.
        settings_key: text that is equal for runs with the same experiment, data, network and protocol.
        time: end of the run, ISO 8601 in UTC.
        line: cells of the run in the overview.
        section: HTML of the run's section of the page.
        problems: messages about pictures that cannot be shown.
    """

    path: pathlib.Path
    experiment: str
    settings_key: str
    time: str
    line: Sequence[Cell]
    section: str
    problems: Sequence[str]


def define_flags(values: FlagValues) -> None:
    """Defines the flags of the folder of the results, and of the page."""
    text = "Folder that is searched for results.json files, with its sub-folders."
    flags.DEFINE_string("results", "results", text, flag_values=values)
    text = "File that the page is written to; default: report.html in the folder of --results."
    flags.DEFINE_string("output", None, text, flag_values=values)


def run(values: FlagValues, arguments: Sequence[str]) -> None:
    """Writes the page; an error ends the program with one line."""
    del arguments
    folder = pathlib.Path(values.results)
    output = pathlib.Path(values.output or folder / "report.html")
    try:
        problems = write(folder, output)
    except (ValueError, OSError) as error:
        sys.exit(f"report: {error}")
    for problem in problems:
        print(f"report: {problem}", file=sys.stderr)
    print(f"written to {output}")


def write(folder: pathlib.Path, output: pathlib.Path) -> list[str]:
    """Writes the page of every results.json below a folder, except in ``cache`` folders, and returns the problems."""
    paths = [path for path in folder.rglob("results.json") if "cache" not in path.relative_to(folder).parts]
    if not paths:
        raise ValueError(f"no results.json below {folder}; python -m experiments.ablation writes one")
    runs, problems = [], []
    for path in sorted(paths):
        try:
            runs.append(read(path))
        except (OSError, ValueError) as error:
            problems.append(f"{path} is left out: {error}")
    latest, older = newest(runs)
    problems += [problem for run in latest for problem in run.problems]
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(page(latest, older, problems), encoding="utf-8", errors="replace")
    return problems


def read(path: pathlib.Path) -> Run:
    """Reads a results file and its pictures; ValueError if it is not a results file."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict) or not isinstance(content.get("experiment"), str):
            raise ValueError("it is not a JSON object that names its experiment")
        return _run(path, {key: value for key, value in content.items() if value is not None})
    except _FORMAT_ERRORS as error:
        raise ValueError(f"not a results file ({type(error).__name__}: {error})") from error


def newest(runs: Sequence[Run]) -> tuple[list[Run], list[Run]]:
    """Returns the newest of the runs with equal `Run.settings_key`, in the paper's order, and all other runs."""
    latest_by_key = {run.settings_key: run for run in sorted(runs, key=lambda run: run.time)}
    order = [*EXPERIMENTS, *sorted({run.experiment for run in runs} - EXPERIMENTS.keys())]
    latest = sorted(latest_by_key.values(), key=lambda run: (order.index(run.experiment), str(run.path)))
    return latest, [run for run in runs if latest_by_key[run.settings_key] is not run]


def page(runs: Sequence[Run], older: Sequence[Run], problems: Sequence[str]) -> str:
    """Returns the HTML of the page: problems, the overview, and a section for each experiment."""
    parts = [f'<div class="problems" role="note">{_list(problems)}</div>'] if problems else []
    overview = tables.without_empty_columns(Table("All results", _OVERVIEW_COLUMNS, [run.line for run in runs]))
    parts += [_table(overview, [f"#run{i}" for i in range(len(runs))])] if runs else []
    if older:
        parts.append(_fold(f"Older runs, not shown: {len(older)}", _list([str(run.path) for run in older])))
    for name, group in itertools.groupby(enumerate(runs), key=lambda pair: pair[1].experiment):
        parts.append(f"<h2>{_text(EXPERIMENTS.get(name, name))}</h2>")
        parts += [f'<section id="run{i}">\n{run.section}\n</section>' for i, run in group]
    return page_head.HEAD + "\n".join(parts) + "\n</main></body></html>\n"


def _run(path: pathlib.Path, content: Mapping[str, Any]) -> Run:
    """Returns the run of a results file with this content."""
    row_fields = {field.name for field in dataclasses.fields(Row)}
    defaults: dict[str, Any] = {"nc": None, "npca": None, "qe": 0, "rerank": 0, "per_query": {}, "paper": None}
    rows = [
        Row(**defaults | {key: value for key, value in entry.items() if key in row_fields and value is not None})
        for entry in content.get("rows", [])
    ]
    problems: list[str] = []
    section = [f"<h3>{_text(content.get('title', path.parent.name))}</h3>"]
    section += [f"<p>{_text(note)}</p>" for note in content.get("notes", [])]
    section += [_picture(path, entry, problems) for entry in content.get("pictures", [])]
    published_rows = [row for row in rows if row.paper is not None]
    section += [_table(tables.settings("Measured and published values", published_rows))] if published_rows else []
    section += [
        _table(Table(table.get("title", ""), table["columns"], table["rows"])) for table in content.get("tables", [])
    ]
    section += [_fold(f"All rows: {len(rows)}", _table(_settings(rows)))] if rows else []
    section.append(_fold("Conditions", _conditions(content, path)))
    keys = ("experiment", "network", "feature_layer", "protocol")
    data = [[dataset.get(key) for key in ("name", "images", "sha256")] for dataset in content.get("data", [])]
    settings_key = json.dumps([data, sorted(_weights(content)), *map(content.get, keys)], sort_keys=True)
    time, commit = str(content.get("time", "")), str(content.get("commit", ""))
    line = [*_line(content, rows), time[:16].replace("T", " "), commit[:7] + "-dirty" * commit.endswith("-dirty")]
    return Run(path, content["experiment"], settings_key, time, line, "\n".join(section), problems)


def _line(content: Mapping[str, Any], rows: Sequence[Row]) -> list[Cell]:
    """Returns the cells of a run in the overview, up to the difference from the paper."""
    name = content["experiment"]
    data = next((str(dataset.get("name", "")) for dataset in content.get("data", [])), "")  # the benchmark is first
    fields = _changed_fields(content)
    preset = str(content.get("protocol", {}).get("name", "")) + (f" + {len(fields)} changed" if fields else "")
    cells: list[Cell] = [EXPERIMENTS.get(name, name).partition(":")[0], data, ", ".join(_weights(content)), preset]
    best = max(rows, key=lambda row: row.map, default=None)
    if best is None:
        return [*cells, *[None] * 5]
    table = tables.settings("", [best])
    values = dict(zip(table.columns, table.rows[0], strict=True))
    setting = [best.method, *(f"{name} {values[name]}" for name in ("N_C", "N_pca", "R", "QE") if name in values)]
    return [*cells, ", ".join(setting), *map(values.get, _MEASURED_COLUMNS)]


def _settings(rows: Sequence[Row]) -> Table:
    """Returns a table of all rows, with all their metrics."""
    table = tables.settings("mAP with its 95 % interval over queries", rows)
    names = list(dict.fromkeys(name for row in rows for name in row.metrics))
    lines = [[*line, *map(row.metrics.get, names)] for line, row in zip(table.rows, rows, strict=True)]
    return Table(table.title, [*table.columns, *names], lines)


def _conditions(content: Mapping[str, Any], path: pathlib.Path) -> str:
    """Returns the HTML list of the conditions of a run."""
    preset, fields = content.get("protocol", {}).get("name", ""), _changed_fields(content)
    values = {
        "file": path,
        **{key: content.get(key) for key in ("command", "commit", "time")},
        "network": f"{content.get('network', '')} {content.get('feature_layer', '')}",
        "weights": _pairs(_weights(content)),
        "protocol": f"{preset}, but {_pairs(fields)}" if fields else preset,
        "data": "; ".join(_pairs(dataset) for dataset in content.get("data", [])),
        **{key: _pairs(content.get(key, {})) for key in ("hardware", "packages")},
        "seconds": _pairs(content.get("timings_s", {})),
        "left out": "; ".join(map(str, content.get("left_out", []))) or "no picture",
    }
    shown = [f"<dt>{key}</dt><dd>{_text(value)}</dd>" for key, value in values.items() if value]
    return f"<dl>{''.join(shown)}</dl>"


def _changed_fields(content: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the protocol's fields that differ from the preset that it names, or all fields without such a preset."""
    fields = content.get("protocol", {})
    preset = protocol.PROTOCOLS.get(fields.get("name"))
    preset_fields = {"name": fields.get("name")} | (dataclasses.asdict(preset) if preset else {})
    return {key: value for key, value in fields.items() if key not in preset_fields or preset_fields[key] != value}


def _weights(content: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the fingerprints of the weights by network."""
    fingerprints = content.get("weights_sha256", "")
    return fingerprints if isinstance(fingerprints, dict) else {content.get("network", ""): fingerprints}


def _picture(path: pathlib.Path, entry: Mapping[str, Any], problems: list[str]) -> str:
    """Returns the HTML of a picture and its caption; a picture that cannot be read becomes one of ``problems``."""
    caption = _text(entry.get("caption", entry["file"]))
    try:
        file = (path.parent / entry["file"]).resolve()
        if not file.is_relative_to(path.parent.resolve()):
            raise ValueError("the file is not in the folder of its results")
        with Image.open(file, formats=("PNG", "JPEG", "WEBP")) as image:
            (width, height), kind = image.size, image.get_format_mimetype()
        content = base64.b64encode(file.read_bytes()).decode()
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        problems.append(f"{path}: the picture {entry['file']} cannot be shown: {error}")
        return f"<p>Not shown: {caption}</p>"
    size = f'width="{width}" height="{height}" class="{"wide" if width > max(1200, 1.6 * height) else "narrow"}"'
    shown = f'<img src="data:{kind};base64,{content}" {size} alt="{caption}">'
    return f'<figure><div class="scroll" tabindex="0">{shown}</div><figcaption>{caption}</figcaption></figure>'


def _table(table: Table, links: Sequence[str] = ()) -> str:
    """Returns the HTML of a table, with columns of numbers aligned to the right; the first column has row headings."""
    cells = [
        ["" if cell is None else f"{cell:.4f}" if isinstance(cell, float) else str(cell) for cell in row]
        for row in table.rows
    ]
    numeric = [all(not cell or _NUMBER.fullmatch(cell) for cell in column) for column in zip(*cells, strict=True)]
    kinds = [' class="n"' if is_numeric else "" for is_numeric in numeric] or [""] * len(table.columns)
    head = "".join(f'<th scope="col"{css}>{_text(name)}</th>' for name, css in zip(table.columns, kinds, strict=True))
    body = []
    for row, link in itertools.zip_longest(cells, links):
        first = f'<a href="{_text(link)}">{_text(row[0])}</a>' if link else _text(row[0])
        rest = "".join(f"<td{kind}>{_text(cell)}</td>" for cell, kind in zip(row[1:], kinds[1:], strict=True))
        body.append(f'<tr><th scope="row"{kinds[0]}>{first}</th>{rest}</tr>')
    inside = f"<caption>{_text(table.title)}</caption><thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody>"
    scroll = f'class="scroll" role="group" tabindex="0" aria-label="{_text(table.title)}"'
    return f"<div {scroll}><table>{inside}</table></div>"


def _fold(summary: str, content: str) -> str:
    """Returns the HTML of a section that can be unfolded."""
    return f"<details><summary>{_text(summary)}</summary>{content}</details>"


def _list(texts: Sequence[str]) -> str:
    """Returns an HTML list of texts."""
    return f"<ul>{''.join(f'<li>{_text(text)}</li>' for text in texts)}</ul>"


def _pairs(values: Mapping[str, Any]) -> str:
    """Returns names and values as text, with rounded numbers."""
    rounded = {key: round(value, 3) if isinstance(value, float) else value for key, value in values.items()}
    return ", ".join(f"{key} {value}" for key, value in rounded.items())


def _text(value: object) -> str:
    """Returns a value as escaped HTML text."""
    return html.escape(str(value))


PROGRAM = Program("report", define_flags, run)

if __name__ == "__main__":
    PROGRAM.main()
