"""This module writes small datasets in the published layouts, without code of the library."""

import io
import os
import pathlib
import pickle
import tarfile
import zipfile

import numpy as np
from PIL import Image

OLD, NEW = 1_180_000_000.0, 1_650_000_000.0  # timestamps: May 2007, April 2022


def jpeg(seed, width=40, height=20):
    """Encodes a picture of one colour, which depends on the seed; its bytes are the same on all machines."""
    stream = io.BytesIO()
    Image.new("RGB", (width, height), (seed * 7 % 256, seed * 31 % 256, seed * 101 % 256)).save(stream, "JPEG")
    return stream.getvalue()


def write_tar(path, files, modified=OLD):
    """Writes ``files``, contents by path inside the archive, in this order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w" if path.suffix == ".tar" else "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mtime = len(content), modified
            archive.addfile(member, io.BytesIO(content))


def write_zip(path, files, year=2007):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name, (year, 5, 1, 0, 0, 0)), content)


def write_folder(path, files, modified=OLD):
    for name, content in files.items():
        file = path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        os.utime(file, (modified, modified))


def labels(queries):
    """Returns the label files of ``queries``: (line, good, ok, junk) by name, each group as a text of names."""
    files = {}
    for name, (line, *groups) in queries.items():
        files[f"{name}_query.txt"] = line.encode()
        for kind, group in zip(("good", "ok", "junk"), groups, strict=True):
            files[f"{name}_{kind}.txt"] = "".join(f"{picture}\n" for picture in group.split()).encode()
    return files


OXFORD = {f"{name}.jpg": jpeg(i) for i, name in enumerate(("hall_3", "hall_10", "all_1", "gate_2", "oxford_7"))}
OXFORD_LABELS = labels(
    {
        "hall_1": ("oxc1_hall_10 1 2 30.5 19", "hall_10", "hall_3", "gate_2 elsewhere"),
        "all_2": ("oxc1_all_1 0 0 40 20", "", "all_1 hall_3", ""),
    }
)
PARIS = {
    f"paris/{folder}/paris_{folder}_00000{i}.jpg": jpeg(10 + i)
    for i, folder in enumerate(("defense", "eiffel", "louvre", "louvre"))
}
CORRUPT = {"paris/louvre/paris_louvre_000136.jpg": b"<html>302 Found</html>"}
PARIS_LABELS = labels(
    {"defense_1": ("paris_defense_000000 1 1 9 9", "", "paris_defense_000000", "paris_eiffel_000001")}
)
FLICKR = {f"oxc1_100k/{tag}/{tag}_{i}.jpg": jpeg(20 + i) for i, tag in enumerate(("paris", "oxford", "oxford"))}
MILLION = [{f"./c{i}/c{i}a.jpg": jpeg(30 + i), f"./c{i}/c{i}b.jpg": jpeg(40 + i)} for i in range(2)]
MILLION_LIST = "c1/c1b.jpg\nc0/c0a.jpg\nc0/c0b.jpg\n\nc1/c1a.jpg\n"
REVISITED = {
    "imlist": ["oxford_7", "hall_3", "gate_2"],
    "qimlist": ["hall_10", "all_1"],
    "gnd": [
        {"bbx": [1.5, 2.0, 30.0, 19.0], "easy": [1], "hard": [2], "junk": []},
        {"bbx": [0.0, 0.0, 40.0, 20.0], "easy": [], "hard": [0, 2], "junk": [1]},
    ],
}
INSTRE = {f"INSTRE-S1/{folder}/00{i}.jpg": jpeg(50 + i) for i in (1, 2) for folder in ("01a_book", "02b_mug")}
INSTRE_LISTS = {
    "imlist": ["INSTRE-S1/01a_book/001.jpg", "INSTRE-S1/02b_mug/001.jpg"],
    "qimlist": ["INSTRE-S1/02b_mug/002.jpg", "INSTRE-S1/01a_book/002.jpg"],
    "gnd": [{"ok": [1], "bbx": [1, 1, 39, 19]}, {"ok": [0], "bbx": [2, 3, 20, 18]}],
}


def write_pickle(path, content, protocol=2):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(content, protocol))


def write_mat(path, content):
    """Writes the MATLAB layout: cells of texts, a struct array, indices counted from 1."""
    import scipy.io

    def cell(texts):
        cells = np.empty((1, len(texts)), object)
        cells[0, :] = texts
        return cells

    gnd = np.empty((1, len(content["gnd"])), [("ok", object), ("bbx", object)])
    for i, entry in enumerate(content["gnd"]):
        ok = np.asarray(entry["ok"], np.float64)[None] + 1
        gnd[0, i] = (ok, np.asarray(entry["bbx"], np.float64)[None])
    path.parent.mkdir(parents=True, exist_ok=True)
    scipy.io.savemat(
        path, {"imlist": cell(content["imlist"]), "qimlist": cell(content["qimlist"]), "gnd": gnd}, do_compression=True
    )


def folder_of(test_case):
    return pathlib.Path(test_case.create_tempdir().full_path)
