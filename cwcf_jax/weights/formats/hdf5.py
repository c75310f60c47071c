"""Read a Keras HDF5 file with h5py; run as a program of its own, by `cwcf_jax.weights.formats.keras`.

It is a process apart, with limits, because libhdf5 (h5py 3.16) crashed, looped for ever or took gigabytes on 8 of the
first 2,100 files that `tests.weights.formats.mutations` damaged. Usage: ``python hdf5.py FILE``; it prints a line of
JSON, attributes and the names of the arrays, and then the arrays as an ``.npz`` archive.
"""

import codecs
import io
import json
import math
import os
import pathlib
import sys
from collections.abc import Iterator
from typing import Any, BinaryIO

import h5py  # type: ignore[import-untyped,unused-ignore]
import numpy as np

try:
    import resource
except ImportError:  # not on Windows: no limits there
    resource = None  # type: ignore[assignment]

SECONDS = 5  # of computing; a file of 100 MB takes tenths
MEMORY = 512 << 20  # beyond what the process has when it starts on the file
MAX_ATTRIBUTE = 16 << 20
MAX_DATASETS = 50_000
MAX_DEPTH = 12
NOTES = ("backend", "keras_version", "nb_layers")


class Refused(Exception):  # noqa: N818 - a reason, not a failure of this program
    """Why the file is not read."""


def limit(size: int) -> None:
    """Bounds this process, which reads a file of ``size`` bytes."""
    if resource is None:
        return
    used = pathlib.Path("/proc/self/statm")
    if used.exists():
        most = int(used.read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE") + MEMORY + 2 * size
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS + 2))  # SIGXCPU, then SIGKILL
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


def forbid_file_access() -> None:
    """No further file can be opened; what h5py and numpy import late is imported first."""
    for codec in ("ascii", "cp437", "latin-1", "utf-8"):
        codecs.lookup(codec)
    np.savez(io.BytesIO(), a=np.zeros(1))
    if resource is not None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))


def strings(node: Any, name: str) -> list[str] | None:
    """An attribute of strings, in one piece or, being long, in pieces ``<name>0``, ``<name>1``, ..."""
    if name in node.attrs:
        return _strings(node, name)
    pieces: list[str] = []
    index = 0
    while f"{name}{index}" in node.attrs:
        pieces += _strings(node, f"{name}{index}")
        index += 1
    return pieces if index else None


def _strings(node: Any, name: str) -> list[str]:
    identity = node.attrs.get_id(name)
    if len(identity.shape) != 1 or identity.shape[0] * identity.dtype.itemsize > MAX_ATTRIBUTE:
        raise Refused(f"its attribute {name} is too long, or no list")
    if identity.shape[0] == 0:
        return []  # numpy's empty list of float64
    values = node.attrs[name]
    return [value.decode() if isinstance(value, bytes) else str(value) for value in values]


def follow(node: Any, name: str) -> Any:
    """What lies at ``name`` below ``node``, by links within the file only."""
    for part in name.split("/"):
        if not isinstance(node, h5py.Group) or part in ("", "."):
            raise Refused(f"it has no {name[:100]}")
        link = node.get(part, getlink=True)
        if link is None:
            raise Refused(f"it has no {name[:100]}")
        if not isinstance(link, h5py.HardLink):
            raise Refused(f"{name[:100]} is a link, perhaps to another file: links are not followed")
        node = node[part]
    return node


def values(node: Any, name: str, limit: int) -> np.ndarray:
    """A dataset's values, if they lie within the file as Keras writes them and take at most ``limit`` bytes."""
    found = follow(node, name)
    if not isinstance(found, h5py.Dataset):
        raise Refused(f"{name[:100]} is no dataset")
    plist = found.id.get_create_plist()
    layout = plist.get_layout()
    if plist.get_external_count() or layout == h5py.h5d.VIRTUAL:
        raise Refused(f"the values of {name[:100]} are in another file, which is not read")
    if layout == h5py.h5d.CHUNKED or plist.get_nfilters():
        raise Refused(
            f"{name[:100]} is chunked or compressed, which Keras does not do; undo it with "
            "`h5repack -l CONTI -f NONE old.h5 new.h5`"
        )
    if found.dtype.kind not in "fiub" or found.dtype.itemsize > 8:
        raise Refused(f"{name[:100]} is of type {found.dtype.str!r}, no type of numbers that is read here")
    size = math.prod(found.shape) * found.dtype.itemsize
    if size and layout == h5py.h5d.CONTIGUOUS and found.id.get_offset() is None:
        raise Refused(f"{name[:100]} has no values: the file was not written to its end")
    if size > limit:
        raise Refused(f"{name[:100]} and what comes before it are longer than the file")
    return np.asarray(found[()])


def named(root: Any) -> Iterator[tuple[str, Any, list[str]]]:
    """The layers of Keras 1 and 2: name, group, names of the datasets."""
    for layer in strings(root, "layer_names") or []:
        group = follow(root, layer)
        yield layer, group, strings(group, "weight_names") or []


def numbered(root: Any) -> Iterator[tuple[str, Any, list[str]]]:
    """The layers of Keras 0."""
    for index in range(min(int(root.attrs["nb_layers"]), MAX_DATASETS)):
        group = follow(root, f"layer_{index}")
        count = min(int(group.attrs.get("nb_params", 0)), MAX_DATASETS)
        yield f"layer_{index}", group, [f"param_{param}" for param in range(count)]


def nested(node: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any, list[str]]]:
    """The layers of Keras 3: groups ``vars`` with datasets 0, 1, ..."""
    if len(path) > MAX_DEPTH:
        raise Refused("its groups are nested too deeply")
    for name in node:
        child = follow(node, name)
        if name == "vars":
            datasets = [str(index) for index in range(min(len(child), MAX_DATASETS))]
            yield "/".join(part for part in path if part != "layers"), child, datasets
        elif isinstance(child, h5py.Group) and not (name == "optimizer" and not path):
            yield from nested(child, (*path, name))


def content(path: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """What the parent needs to know of the file, and its arrays under their running number."""
    left = pathlib.Path(path).stat().st_size
    with h5py.File(path, "r", locking=False) as file:
        forbid_file_access()
        root = follow(file, "model_weights") if "model_weights" in file else file
        notes = {name: str(root.attrs[name])[:100] for name in NOTES if name in root.attrs}
        if strings(root, "layer_names") is not None:
            layout, walk = "keras1or2", named(root)
        elif "nb_layers" in root.attrs:
            layout, walk = "keras0", numbered(root)
        elif "layers" in root or "vars" in root or "_layer_checkpoint_dependencies" in root:
            layout, walk = "keras3", nested(root)
        else:
            raise Refused("it has neither layer_names nor layers: it is no weights file of Keras")
        layers: list[dict[str, Any]] = []
        arrays: dict[str, np.ndarray] = {}
        for layer, group, names in walk:
            if len(layers) + len(arrays) + len(names) > MAX_DATASETS:
                raise Refused("it has more layers than any network")
            layers.append({"name": layer, "weights": names})
            for name in names:
                array = arrays[str(len(arrays))] = values(group, name, left)
                left -= array.nbytes
        return {"layout": layout, "notes": notes, "layers": layers}, arrays


def answer(path: str, stream: BinaryIO) -> None:
    """Writes what is in the file, or why it is not read."""
    arrays: dict[str, np.ndarray] = {}
    try:
        table, arrays = content(path)
    except Refused as reason:
        table = {"refused": str(reason)}
    except (Exception, RecursionError, MemoryError) as error:  # noqa: BLE001, RUF100 - whatever h5py raises
        table = {"refused": f"the HDF5 library cannot read it ({type(error).__name__}): the file is damaged"}
    stream.write(json.dumps(table).encode() + b"\n")
    if arrays:
        np.savez(stream, **arrays)  # type: ignore[arg-type]
    stream.flush()


def main() -> None:
    """Answers for the file that is named on the command line."""
    limit(pathlib.Path(sys.argv[1]).stat().st_size)
    answer(sys.argv[1], sys.stdout.buffer)
    os._exit(0)  # without the library's clean-up, which damaged files upset as well


if __name__ == "__main__":
    main()
