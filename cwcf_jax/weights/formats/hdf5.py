"""This program reads a Keras HDF5 file with h5py for `cwcf_jax.weights.formats.keras`, in a process with limits.

A separate process is necessary: libhdf5 (h5py 3.16) crashed, did not terminate or allocated gigabytes on 8 of the first
2,100 files that `tests.weights.formats.mutations` damaged. Usage: ``python hdf5.py FILE``. The program prints one line
of JSON with attributes and names of the arrays, then the arrays as an ``.npz`` archive.
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
except ImportError:  # Windows has no limits
    resource = None  # type: ignore[assignment]

CPU_LIMIT_S = 5  # a file of 100 MB takes tenths of a second
MEMORY_LIMIT_BYTES = 512 << 20  # in addition to the memory of the process before it opens the file
MAX_ATTRIBUTE_BYTES = 16 << 20
MAX_DATASETS = 50_000
MAX_DEPTH = 12
NOTE_ATTRIBUTES = ("backend", "keras_version", "nb_layers")


class Refused(Exception):  # noqa: N818 - callers never see it: `write_answer` reports it
    """Raised when the file is refused; the message has the reason."""


def limit_resources(size: int) -> None:
    """Limits memory and computing time of this process, which reads a file of ``size`` bytes."""
    if resource is None:
        return
    statm = pathlib.Path("/proc/self/statm")
    if statm.exists():
        limit_bytes = int(statm.read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE") + MEMORY_LIMIT_BYTES + 2 * size
        resource.setrlimit(resource.RLIMIT_AS, (limit_bytes, limit_bytes))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_LIMIT_S, CPU_LIMIT_S + 2))  # SIGXCPU, then SIGKILL
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


def forbid_file_access() -> None:
    """Forbids this process to open further files, after the late imports of h5py and numpy."""
    for codec in ("ascii", "cp437", "latin-1", "utf-8"):
        codecs.lookup(codec)
    np.savez(io.BytesIO(), a=np.zeros(1))
    if resource is not None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))


def read_strings(node: Any, name: str) -> list[str] | None:
    """Reads an attribute of strings; Keras splits a long attribute into ``<name>0``, ``<name>1``, ..."""
    if name in node.attrs:
        return _read_attribute(node, name)
    pieces: list[str] = []
    index = 0
    while f"{name}{index}" in node.attrs:
        pieces += _read_attribute(node, f"{name}{index}")
        index += 1
    return pieces if index else None


def _read_attribute(node: Any, name: str) -> list[str]:
    identity = node.attrs.get_id(name)
    if len(identity.shape) != 1 or identity.shape[0] * identity.dtype.itemsize > MAX_ATTRIBUTE_BYTES:
        raise Refused(f"its attribute {name} is too long, or no list")
    if identity.shape[0] == 0:
        return []  # h5py would return an empty array of float64
    values = node.attrs[name]
    return [value.decode() if isinstance(value, bytes) else str(value) for value in values]


def follow(node: Any, name: str) -> Any:
    """Returns the object at ``name`` below ``node``; refuses links to other objects or files."""
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


def read_values(node: Any, name: str, max_bytes: int) -> np.ndarray:
    """Reads a dataset of at most ``max_bytes``; refuses external, chunked, compressed or incomplete values."""
    dataset = follow(node, name)
    if not isinstance(dataset, h5py.Dataset):
        raise Refused(f"{name[:100]} is no dataset")
    plist = dataset.id.get_create_plist()
    layout = plist.get_layout()
    if plist.get_external_count() or layout == h5py.h5d.VIRTUAL:
        raise Refused(f"the values of {name[:100]} are in another file, which is not read")
    if layout == h5py.h5d.CHUNKED or plist.get_nfilters():
        raise Refused(
            f"{name[:100]} is chunked or compressed, which Keras does not do; undo it with "
            "`h5repack -l CONTI -f NONE old.h5 new.h5`"
        )
    if dataset.dtype.kind not in "fiub" or dataset.dtype.itemsize > 8:
        raise Refused(f"{name[:100]} is of type {dataset.dtype.str!r}, no type of numbers that is read here")
    size = math.prod(dataset.shape) * dataset.dtype.itemsize
    if size and layout == h5py.h5d.CONTIGUOUS and dataset.id.get_offset() is None:
        raise Refused(f"{name[:100]} has no values: the file was not written to its end")
    if size > max_bytes:
        raise Refused(f"{name[:100]} and the arrays before it are longer than the file")
    return np.asarray(dataset[()])


def keras2_layers(root: Any) -> Iterator[tuple[str, Any, list[str]]]:
    """Yields the layers of a Keras 1 or 2 file: name, group, names of the datasets."""
    for layer in read_strings(root, "layer_names") or []:
        group = follow(root, layer)
        yield layer, group, read_strings(group, "weight_names") or []


def keras0_layers(root: Any) -> Iterator[tuple[str, Any, list[str]]]:
    """Yields the layers of a Keras 0 file, as `keras2_layers`."""
    for index in range(min(int(root.attrs["nb_layers"]), MAX_DATASETS)):
        group = follow(root, f"layer_{index}")
        count = min(int(group.attrs.get("nb_params", 0)), MAX_DATASETS)
        yield f"layer_{index}", group, [f"param_{param}" for param in range(count)]


def keras3_layers(node: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any, list[str]]]:
    """Yields the layers of a Keras 3 file, as `keras2_layers`: groups ``vars`` with datasets 0, 1, ..."""
    if len(path) > MAX_DEPTH:
        raise Refused("its groups are nested too deeply")
    for name in node:
        child = follow(node, name)
        if name == "vars":
            datasets = [str(index) for index in range(min(len(child), MAX_DATASETS))]
            yield "/".join(part for part in path if part != "layers"), child, datasets
        elif isinstance(child, h5py.Group) and not (name == "optimizer" and not path):
            yield from keras3_layers(child, (*path, name))


def read_file(path: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Returns layout, notes and layers of the file, and the arrays numbered in the order of the layers."""
    bytes_left = pathlib.Path(path).stat().st_size
    with h5py.File(path, "r", locking=False) as file:
        forbid_file_access()
        root = follow(file, "model_weights") if "model_weights" in file else file
        notes = {name: str(root.attrs[name])[:100] for name in NOTE_ATTRIBUTES if name in root.attrs}
        if read_strings(root, "layer_names") is not None:
            layout, layer_iterator = "keras1or2", keras2_layers(root)
        elif "nb_layers" in root.attrs:
            layout, layer_iterator = "keras0", keras0_layers(root)
        elif "layers" in root or "vars" in root or "_layer_checkpoint_dependencies" in root:
            layout, layer_iterator = "keras3", keras3_layers(root)
        else:
            raise Refused("it has neither layer_names nor layers: it is no weights file of Keras")
        layers: list[dict[str, Any]] = []
        arrays: dict[str, np.ndarray] = {}
        for layer, group, names in layer_iterator:
            if len(layers) + len(arrays) + len(names) > MAX_DATASETS:
                raise Refused("it has more layers than any network")
            layers.append({"name": layer, "weights": names})
            for name in names:
                array = arrays[str(len(arrays))] = read_values(group, name, bytes_left)
                bytes_left -= array.nbytes
        return {"layout": layout, "notes": notes, "layers": layers}, arrays


def write_answer(path: str, stream: BinaryIO) -> None:
    """Writes the content of the file to ``stream``, or the reason why the file is refused."""
    arrays: dict[str, np.ndarray] = {}
    try:
        table, arrays = read_file(path)
    except Refused as reason:
        table = {"refused": str(reason)}
    except (Exception, RecursionError, MemoryError) as error:  # noqa: BLE001, RUF100 - h5py raises nearly anything
        table = {"refused": f"the HDF5 library cannot read it ({type(error).__name__}): the file is damaged"}
    stream.write(json.dumps(table).encode() + b"\n")
    if arrays:
        np.savez(stream, **arrays)  # type: ignore[arg-type]
    stream.flush()


def main() -> None:
    """Writes the answer for the file that is named on the command line."""
    limit_resources(pathlib.Path(sys.argv[1]).stat().st_size)
    write_answer(sys.argv[1], sys.stdout.buffer)
    os._exit(0)  # skips the library's clean-up, which can crash on damaged files


if __name__ == "__main__":
    main()
