"""This module is the command ``cwcf export``."""

import argparse
import json
import pathlib
from collections.abc import Callable

import pyarrow
import pyarrow.parquet

from cwcf_jax import files
from cwcf_jax.cli.finding import find_index
from cwcf_jax.index import Snapshot


def main(arguments: argparse.Namespace) -> int:
    """Writes the file, and replaces an existing one in one step."""
    writers: dict[str, Callable[[Snapshot, pathlib.Path], None]] = {".parquet": _write_parquet, ".faiss": _write_faiss}
    file = arguments.file.expanduser()
    if file.suffix not in writers:
        raise ValueError(f"{file}: unknown ending; known: {', '.join(writers)}")
    snapshot = find_index(arguments.index).snapshot()
    with files.replacing(file) as partial:
        writers[file.suffix](snapshot, partial)
    if file.suffix == ".faiss":
        paths = [entry.path for entry in snapshot.entries]
        files.write_text(file.with_name(f"{file.name}.json"), json.dumps(paths, indent=0) + "\n")
    print(f"{len(snapshot.entries)} pictures in {file}")
    return 0


def _write_parquet(snapshot: Snapshot, file: pathlib.Path) -> None:
    dim = snapshot.descriptors.shape[1]
    columns = {
        name: [getattr(entry, name) for entry in snapshot.entries]
        for name in ("path", "content", "size", "modified", "width", "height")
    }
    flat = pyarrow.array(snapshot.descriptors.reshape(-1))
    columns["descriptor"] = pyarrow.FixedSizeListArray.from_arrays(flat, dim)
    pyarrow.parquet.write_table(pyarrow.table(columns), file)


def _write_faiss(snapshot: Snapshot, file: pathlib.Path) -> None:
    """Writes a flat index of inner products, which are cosines, since descriptors have norm 1."""
    try:
        import faiss
    except ModuleNotFoundError as error:
        raise ValueError("faiss is not installed; pip install faiss-cpu") from error
    index = faiss.IndexFlatIP(snapshot.descriptors.shape[1])
    index.add(snapshot.descriptors)
    faiss.write_index(index, str(file))
