"""One web page of all results files below a folder, in the paper's order, that needs nothing outside itself.

    python -m experiments.report --results=results --output=results/report.html

Of several runs of one experiment on the same data, network and protocol the newest is shown and the others are named.
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
"""Headings, in the paper's order; experiments that are not here follow under their own names."""

_MEASURED = ("mAP", "95 %", "paper", "difference")
_COLUMNS = ("experiment", "data", "network", "protocol", "best row", *_MEASURED, "when", "commit")
_NUMBER = re.compile(r"[+-]?\d*\.?\d+( %)?")
_SHAPE = (TypeError, LookupError, AttributeError, ArithmeticError, RecursionError, ValueError)


@dataclasses.dataclass(frozen=True)
class Run:
    """A results file that was found to be one.

    Attributes:
        path: of the file.
        experiment: a key of `EXPERIMENTS`, or any other name.
        same: what a newer run of the same has in common with it.
        time: when it ended, ISO 8601 in UTC.
        line: its cells in the overview.
        section: its part of the page.
        problems: pictures that cannot be shown.
    """

    path: pathlib.Path
    experiment: str
    same: str
    time: str
    line: Sequence[Cell]
    section: str
    problems: Sequence[str]


def define_flags(values: FlagValues) -> None:
    """Defines where results are, and where the page goes."""
    flags.DEFINE_string("results", "results", "Folder below which results.json files are.", flag_values=values)
    text = "The page; default: report.html in the folder of --results."
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
    """The page of every results.json below a folder, ``cache`` folders left out, and what was wrong with them."""
    paths = [path for path in folder.rglob("results.json") if "cache" not in path.relative_to(folder).parts]
    if not paths:
        raise ValueError(f"no results.json below {folder}; python -m experiments.ablation makes one")
    runs, problems = [], []
    for path in sorted(paths):
        try:
            runs.append(read(path))
        except (OSError, ValueError) as error:
            problems.append(f"{path} is left out: {error}")
    chosen, older = newest(runs)
    problems += [problem for run in chosen for problem in run.problems]
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(page(chosen, older, problems), encoding="utf-8", errors="replace")
    return problems


def read(path: pathlib.Path) -> Run:
    """A results file, pictures included; ValueError says why it is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict) or not isinstance(content.get("experiment"), str):
            raise ValueError("no JSON object that names its experiment")
        return _run(path, {key: value for key, value in content.items() if value is not None})
    except _SHAPE as error:
        raise ValueError(f"not a results file ({type(error).__name__}: {error})") from error


def newest(runs: Sequence[Run]) -> tuple[list[Run], list[Run]]:
    """The newest of the runs that are the same, in the paper's order, and the others."""
    latest = {run.same: run for run in sorted(runs, key=lambda run: run.time)}
    order = [*EXPERIMENTS, *sorted({run.experiment for run in runs} - EXPERIMENTS.keys())]
    chosen = sorted(latest.values(), key=lambda run: (order.index(run.experiment), str(run.path)))
    return chosen, [run for run in runs if latest[run.same] is not run]


def page(runs: Sequence[Run], older: Sequence[Run], problems: Sequence[str]) -> str:
    """Problems, the overview, a section an experiment."""
    parts = [f'<div class="problems" role="note">{_list(problems)}</div>'] if problems else []
    overview = tables.without_empty_columns(Table("All results", _COLUMNS, [run.line for run in runs]))
    parts += [_table(overview, [f"#run{i}" for i in range(len(runs))])] if runs else []
    if older:
        parts.append(_fold(f"Older runs of these, not shown: {len(older)}", _list([str(run.path) for run in older])))
    for name, group in itertools.groupby(enumerate(runs), key=lambda pair: pair[1].experiment):
        parts.append(f"<h2>{_text(EXPERIMENTS.get(name, name))}</h2>")
        parts += [f'<section id="run{i}">\n{run.section}\n</section>' for i, run in group]
    return page_head.HEAD + "\n".join(parts) + "\n</main></body></html>\n"


def _run(path: pathlib.Path, content: Mapping[str, Any]) -> Run:
    known = {field.name for field in dataclasses.fields(Row)}
    missing: dict[str, Any] = {"nc": None, "npca": None, "qe": 0, "rerank": 0, "per_query": {}, "paper": None}
    rows = [
        Row(**missing | {key: value for key, value in entry.items() if key in known and value is not None})
        for entry in content.get("rows", [])
    ]
    problems: list[str] = []
    section = [f"<h3>{_text(content.get('title', path.parent.name))}</h3>"]
    section += [f"<p>{_text(note)}</p>" for note in content.get("notes", [])]
    section += [_picture(path, entry, problems) for entry in content.get("pictures", [])]
    compared = [row for row in rows if row.paper is not None]
    section += [_table(tables.settings("Ours beside the paper", compared))] if compared else []
    section += [_table(Table(one.get("title", ""), one["columns"], one["rows"])) for one in content.get("tables", [])]
    section += [_fold(f"All rows: {len(rows)}", _table(_settings(rows)))] if rows else []
    section.append(_fold("Conditions", _conditions(content, path)))
    keys = ("experiment", "network", "feature_layer", "protocol")
    data = [[one.get(key) for key in ("name", "images", "sha256")] for one in content.get("data", [])]
    same = json.dumps([data, sorted(_weights(content)), *map(content.get, keys)], sort_keys=True)
    time, commit = str(content.get("time", "")), str(content.get("commit", ""))
    line = [*_line(content, rows), time[:16].replace("T", " "), commit[:7] + "-dirty" * commit.endswith("-dirty")]
    return Run(path, content["experiment"], same, time, line, "\n".join(section), problems)


def _line(content: Mapping[str, Any], rows: Sequence[Row]) -> list[Cell]:
    """The overview's columns up to the difference."""
    name = content["experiment"]
    data = next((str(one.get("name", "")) for one in content.get("data", [])), "")  # the others are in the conditions
    fields = _differing(content)
    preset = str(content.get("protocol", {}).get("name", "")) + (f" + {len(fields)} changed" if fields else "")
    cells: list[Cell] = [EXPERIMENTS.get(name, name).partition(":")[0], data, ", ".join(_weights(content)), preset]
    best = max(rows, key=lambda row: row.map, default=None)
    if best is None:
        return [*cells, *[None] * 5]
    found = tables.settings("", [best])
    values = dict(zip(found.columns, found.rows[0], strict=True))
    setting = [best.method, *(f"{name} {values[name]}" for name in ("N_C", "N_pca", "R", "QE") if name in values)]
    return [*cells, ", ".join(setting), *map(values.get, _MEASURED)]


def _settings(rows: Sequence[Row]) -> Table:
    """Every row with all that was measured of it."""
    table = tables.settings("mAP with its 95 % interval over queries", rows)
    names = list(dict.fromkeys(name for row in rows for name in row.metrics))
    lines = [[*line, *map(row.metrics.get, names)] for line, row in zip(table.rows, rows, strict=True)]
    return Table(table.title, [*table.columns, *names], lines)


def _conditions(content: Mapping[str, Any], path: pathlib.Path) -> str:
    preset, fields = content.get("protocol", {}).get("name", ""), _differing(content)
    values = {
        "file": path,
        **{key: content.get(key) for key in ("command", "commit", "time")},
        "network": f"{content.get('network', '')} {content.get('feature_layer', '')}",
        "weights": _pairs(_weights(content)),
        "protocol": f"{preset}, but {_pairs(fields)}" if fields else preset,
        "data": "; ".join(_pairs(one) for one in content.get("data", [])),
        **{key: _pairs(content.get(key, {})) for key in ("hardware", "packages")},
        "seconds": _pairs(content.get("timings_s", {})),
        "left out": "; ".join(map(str, content.get("left_out", []))) or "no picture",
    }
    shown = [f"<dt>{key}</dt><dd>{_text(value)}</dd>" for key, value in values.items() if value]
    return f"<dl>{''.join(shown)}</dl>"


def _differing(content: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of the protocol that are not as in the preset it names; all of them if there is no such preset."""
    fields = content.get("protocol", {})
    preset = protocol.PROTOCOLS.get(fields.get("name"))
    known = {"name": fields.get("name")} | (dataclasses.asdict(preset) if preset else {})
    return {key: value for key, value in fields.items() if key not in known or known[key] != value}


def _weights(content: Mapping[str, Any]) -> dict[str, Any]:
    """Fingerprints by network."""
    found = content.get("weights_sha256", "")
    return found if isinstance(found, dict) else {content.get("network", ""): found}


def _picture(path: pathlib.Path, entry: Mapping[str, Any], problems: list[str]) -> str:
    """A figure with the picture inside; a problem and the caption alone if it cannot be shown."""
    caption = _text(entry.get("caption", entry["file"]))
    try:
        file = (path.parent / entry["file"]).resolve()
        if not file.is_relative_to(path.parent.resolve()):
            raise ValueError("it is not in the folder of its results")
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
    """Numbers to the right, the rest to the left; the first column heads its line."""
    cells = [
        ["" if cell is None else f"{cell:.4f}" if isinstance(cell, float) else str(cell) for cell in row]
        for row in table.rows
    ]
    right = [all(not cell or _NUMBER.fullmatch(cell) for cell in column) for column in zip(*cells, strict=True)]
    kinds = [' class="n"' if one else "" for one in right] or [""] * len(table.columns)
    head = "".join(f'<th scope="col"{kind}>{_text(one)}</th>' for one, kind in zip(table.columns, kinds, strict=True))
    body = []
    for row, link in itertools.zip_longest(cells, links):
        first = f'<a href="{_text(link)}">{_text(row[0])}</a>' if link else _text(row[0])
        rest = "".join(f"<td{kind}>{_text(one)}</td>" for one, kind in zip(row[1:], kinds[1:], strict=True))
        body.append(f'<tr><th scope="row"{kinds[0]}>{first}</th>{rest}</tr>')
    inside = f"<caption>{_text(table.title)}</caption><thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody>"
    scroll = f'class="scroll" role="group" tabindex="0" aria-label="{_text(table.title)}"'
    return f"<div {scroll}><table>{inside}</table></div>"


def _fold(summary: str, content: str) -> str:
    return f"<details><summary>{_text(summary)}</summary>{content}</details>"


def _list(texts: Sequence[str]) -> str:
    return f"<ul>{''.join(f'<li>{_text(text)}</li>' for text in texts)}</ul>"


def _pairs(values: Mapping[str, Any]) -> str:
    rounded = {key: round(value, 3) if isinstance(value, float) else value for key, value in values.items()}
    return ", ".join(f"{key} {value}" for key, value in rounded.items())


def _text(value: object) -> str:
    return html.escape(str(value))


PROGRAM = Program("report", define_flags, run)

if __name__ == "__main__":
    PROGRAM.main()
