"""Runs a driver as its users do, and makes small benchmarks out of real photographs."""

import itertools
import json
import pathlib
import shutil
import subprocess
import sys

from tests.support import shared

LANDMARK = "ashmolean"


def run(*flags, check=True, module="experiments.ablation"):
    """The finished process; its output as text."""
    command = [sys.executable, "-m", module, *flags]
    done = subprocess.run(command, cwd=shared.ROOT, capture_output=True, text=True, check=False)
    if check and done.returncode != 0:
        raise AssertionError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
    return done


def rows(output, *, rerank=0):
    """The rows of a results file with this re-ranking, keyed by (method, nc, npca, qe)."""
    content = json.loads((pathlib.Path(output) / "results.json").read_text())
    chosen = [row for row in content["rows"] if row["rerank"] == rerank]
    return {(row["method"], row["nc"], row["npca"], row["qe"]): row for row in chosen}


def small_benchmark(folder):
    """Two queries of one landmark with 7 positives, 2 junk and 12 others, in Oxford layout."""
    source = shared.require("data/oxford_dev")
    labels = {kind: _names(source / "lab" / f"{LANDMARK}_1_{kind}.txt") for kind in ("good", "ok", "junk")}
    queries = {i: (source / "lab" / f"{LANDMARK}_{i}_query.txt").read_text() for i in (1, 2)}
    images = [text.split()[0].removeprefix("oxc1_") for text in queries.values()]
    kept = {"good": labels["good"][:6], "ok": labels["ok"][:1], "junk": labels["junk"][:2]}
    others = [name for name in _names(source / "imlist.txt") if not name.startswith(LANDMARK)][:12]
    names = sorted({*images, *others, *itertools.chain(*kept.values())})
    (folder / "jpg").mkdir(parents=True)
    (folder / "lab").mkdir()
    for name in names:
        shutil.copyfile(source / "jpg" / f"{name}.jpg", folder / "jpg" / f"{name}.jpg")
    for i, text in queries.items():
        (folder / "lab" / f"{LANDMARK}_{i}_query.txt").write_text(text)
        for kind, listed in kept.items():
            (folder / "lab" / f"{LANDMARK}_{i}_{kind}.txt").write_text("".join(f"{name}\n" for name in listed))
    return folder


def small_collection(folder, count=20):
    """Photographs of other things, all of one size, so that one compilation serves them."""
    folder.mkdir(parents=True)
    for path in sorted(shared.require("data/boofcv_triplets/jpg").glob("vac_*.jpg"))[:count]:
        shutil.copyfile(path, folder / path.name)
    return folder


def _names(file):
    return file.read_text().split()
