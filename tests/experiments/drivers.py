"""This module runs drivers within this process, and makes small benchmarks from real photographs."""

import contextlib
import importlib
import io
import itertools
import json
import pathlib
import shutil
import subprocess
import sys

from absl import app, flags

from tests.support import shared

LANDMARK = "ashmolean"


def run(*arguments, check=True, module="experiments.ablation"):
    """Runs ``python -m MODULE ARGUMENTS`` within this process, and returns its output and exit code."""
    program = importlib.import_module(module).PROGRAM
    code, out, err = 0, io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            program.call(*map(str, arguments))
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else 1
            if isinstance(error.code, str):
                print(error.code, file=err)
        except (flags.Error, app.UsageError) as error:
            code = 1
            print(error, file=err)
    process = subprocess.CompletedProcess([module, *arguments], code, out.getvalue(), err.getvalue())
    if check and process.returncode != 0:
        raise AssertionError(
            f"{' '.join(process.args)} ended with {process.returncode}:\n{process.stdout}\n{process.stderr}"
        )
    return process


def run_process(*arguments, module="experiments.ablation"):
    """Runs ``python -m MODULE ARGUMENTS`` as a process, and returns it with its output as text."""
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.run(command, cwd=shared.ROOT, capture_output=True, text=True, check=False)


def parse(module, *arguments):
    """Returns the parsed flags of a program."""
    values = flags.FlagValues()
    importlib.import_module(module).PROGRAM.define_flags(values)
    values([module, *arguments])
    return values


def rows(output, *, rerank=0):
    """Returns the rows of a results file with this re-ranking, keyed by (method, nc, npca, qe)."""
    content = json.loads((pathlib.Path(output) / "results.json").read_text())
    reranked = [row for row in content["rows"] if row["rerank"] == rerank]
    return {(row["method"], row["nc"], row["npca"], row["qe"]): row for row in reranked}


def small_benchmark(folder):
    """Makes a benchmark in Oxford layout: two queries of one landmark, 7 positives, 2 junk and 12 other images."""
    source = shared.require("data/oxford_dev")
    labels = {kind: _names(source / "lab" / f"{LANDMARK}_1_{kind}.txt") for kind in ("good", "ok", "junk")}
    queries = {i: (source / "lab" / f"{LANDMARK}_{i}_query.txt").read_text() for i in (1, 2)}
    images = [text.split()[0].removeprefix("oxc1_") for text in queries.values()]
    names_by_kind = {"good": labels["good"][:6], "ok": labels["ok"][:1], "junk": labels["junk"][:2]}
    others = [name for name in _names(source / "imlist.txt") if not name.startswith(LANDMARK)][:12]
    names = sorted({*images, *others, *itertools.chain(*names_by_kind.values())})
    (folder / "jpg").mkdir(parents=True)
    (folder / "lab").mkdir()
    for name in names:
        shutil.copyfile(source / "jpg" / f"{name}.jpg", folder / "jpg" / f"{name}.jpg")
    for i, text in queries.items():
        (folder / "lab" / f"{LANDMARK}_{i}_query.txt").write_text(text)
        for kind, kind_names in names_by_kind.items():
            (folder / "lab" / f"{LANDMARK}_{i}_{kind}.txt").write_text("".join(f"{name}\n" for name in kind_names))
    return folder


def small_collection(folder, count=20):
    """Makes a folder of photographs of other things, all of one size, so that they share one compilation."""
    folder.mkdir(parents=True)
    for path in sorted(shared.require("data/boofcv_triplets/jpg").glob("vac_*.jpg"))[:count]:
        shutil.copyfile(path, folder / path.name)
    return folder


def _names(file):
    return file.read_text().split()
