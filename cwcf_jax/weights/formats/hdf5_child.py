"""Lists the datasets of a Keras HDF5 file; run as a program of its own, by `cwcf_jax.weights.formats.keras`.

The HDF5 library has a long record of crashes, loops and wild allocations on damaged files, so it runs in a child
process with limits, which prints JSON: attributes, and for each dataset its shape, type and place. The parent reads the
values from the place itself. Usage: ``python hdf5_child.py FILE...``; one line per file.
"""

import codecs
import json
import os
import pathlib
import sys
from collections.abc import Iterator
from typing import Any

import h5py  # type: ignore[import-untyped,unused-ignore]

try:
    import resource
except ImportError:  # not on Windows: no limits there
    resource = None  # type: ignore[assignment]

SECONDS = 5  # of computing; a file takes hundredths
MEMORY = 512 << 20  # beyond what the process has when it starts on the file
MAX_ATTRIBUTE = 16 << 20
MAX_DATASETS = 50_000
MAX_DEPTH = 12
NOTES = ("backend", "keras_version", "nb_layers")


class Refused(Exception):  # noqa: N818 - a reason, not a failure of this program
    """Why the file is not read."""


def limit() -> None:
    """Bounds this process; from here on it cannot open files either, whatever the library is told to follow."""
    if resource is None:
        return
    used = pathlib.Path("/proc/self/statm")
    if used.exists():
        most = int(used.read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE") + MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS + 2))  # SIGXCPU, then SIGKILL
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


def seal() -> None:
    """No further file can be opened; what h5py imports late is imported first."""
    for codec in ("ascii", "latin-1", "utf-8"):
        codecs.lookup(codec)
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


def dataset(node: Any, name: str) -> dict[str, Any]:
    """Where a dataset's values are."""
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
    place = {"name": name, "shape": list(found.shape), "dtype": found.dtype.str, "offset": found.id.get_offset()}
    if layout == h5py.h5d.COMPACT:
        if found.id.get_storage_size() > 1 << 16:
            raise Refused(f"{name[:100]} is too long for its layout")
        place["content"] = found[()].tobytes().hex()
    return place


def named(root: Any) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """The layers of Keras 1 and 2."""
    for layer in strings(root, "layer_names") or []:
        group = follow(root, layer)
        yield layer, [dataset(group, name) for name in strings(group, "weight_names") or []]


def numbered(root: Any) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """The layers of Keras 0."""
    for index in range(min(int(root.attrs["nb_layers"]), MAX_DATASETS)):
        group = follow(root, f"layer_{index}")
        count = min(int(group.attrs.get("nb_params", 0)), MAX_DATASETS)
        yield f"layer_{index}", [dataset(group, f"param_{param}") for param in range(count)]


def nested(node: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """The layers of Keras 3: groups ``vars`` with datasets 0, 1, ..."""
    if len(path) > MAX_DEPTH:
        raise Refused("its groups are nested too deeply")
    for name in node:
        child = follow(node, name)
        if name == "vars":
            count = len(child)
            places = [dataset(child, str(index)) for index in range(min(count, MAX_DATASETS))]
            yield "/".join(part for part in path if part != "layers"), places
        elif isinstance(child, h5py.Group) and not (name == "optimizer" and not path):
            yield from nested(child, (*path, name))


def table(path: str) -> dict[str, Any]:
    """What the parent needs to know of the file."""
    with h5py.File(path, "r", locking=False) as file:
        seal()
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
        layers, count = [], 0
        for layer, places in walk:
            layers.append({"name": layer, "weights": places})
            count += len(places) + 1
            if count > MAX_DATASETS:
                raise Refused("it has more layers than any network")
        return {"layout": layout, "notes": notes, "layers": layers}


def answer(path: str) -> str:
    """The table as JSON, or why there is none."""
    try:
        return json.dumps(table(path))
    except Refused as reason:
        return json.dumps({"refused": str(reason)})
    except (Exception, RecursionError, MemoryError) as error:  # noqa: BLE001, RUF100 - whatever h5py raises
        return json.dumps({"refused": f"the HDF5 library cannot read it ({type(error).__name__}): the file is damaged"})


def main() -> None:
    """Answers for the file that is named on the command line."""
    limit()
    sys.stdout.write(answer(sys.argv[1]) + "\n")
    sys.stdout.flush()
    os._exit(0)  # without the library's clean-up, which damaged files upset as well


if __name__ == "__main__":
    main()
