"""Reading and writing parameters; loading is strict.

A file is either this library's own (``.npz`` with keys like ``inception_3a/conv1x1/kernel``, or an Orbax checkpoint
directory), with the record `Provenance` in it or not, or a foreign ``.npz`` in one of the network's `layouts`.
"""

import hashlib
import pathlib
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cwcf_jax import files
from cwcf_jax.networks import layouts, npz
from cwcf_jax.networks.provenance import RECORD, Provenance
from cwcf_jax.networks.spec import Network, Params, WeightLayout


class CheckpointError(ValueError):
    """A checkpoint that is not the network's; the message names every key that is at fault."""


def load_params(network: Network, path: str | pathlib.Path, *, trunk: bool = False) -> Params:
    """Parameters of ``network`` from a ``.npz`` file or an Orbax checkpoint directory, float32 on the default device.

    Args:
        network: as the file's record describes it, see `adapt`.
        path: the file or directory.
        trunk: only the layers that are not ``network.spec.head``; the file may hold more, or another head.

    Raises:
        FileNotFoundError: there is nothing at ``path``.
        CheckpointError: not a checkpoint, or any key missing, unexpected, mis-shaped or not finite.
    """
    arrays = _read(pathlib.Path(path))
    try:
        return import_params(network, arrays, str(path), trunk=trunk)
    except CheckpointError as error:
        if trunk or not fits(network, arrays, trunk=True):
            raise
        raise CheckpointError(
            f"{error}\nThe layers before the head are there: cwcf_jax.training trains a head on them, with "
            f"TrainingConfig(network={network.spec.name!r}, trunk={str(path)!r}, ...)"
        ) from error


def read_params(path: pathlib.Path) -> Params:
    """Parameters that `save_params` wrote to a ``.npz`` file, compared with no network: that would trace it first.

    Raises:
        FileNotFoundError, CheckpointError: there is no such file; it is damaged, or no archive of arrays.
    """
    return _nest({key: jnp.asarray(array, jnp.float32) for key, array in read_npz(path).items()})


def import_params(
    network: Network, arrays: Mapping[str, np.ndarray], origin: str, *, trunk: bool = False, prefer: str = ""
) -> Params:
    """Parameters of ``network`` from arrays in its own layout or one of its foreign ones; `load_params` says the rest.

    ``origin`` names the file in errors; ``prefer`` is the layout to take where two know the keys equally well.
    """
    found, faults = _matched(network, arrays, trunk=trunk, prefer=prefer)
    _raise(network, origin, faults)
    return _nest({key: jnp.asarray(array, jnp.float32) for key, array in found.items()})


def fits(network: Network, arrays: Mapping[str, np.ndarray], *, trunk: bool = False) -> bool:
    """Whether `import_params` would take these arrays."""
    return not _matched(network, arrays, trunk=trunk)[1]


def _matched(
    network: Network, arrays: Mapping[str, np.ndarray], *, trunk: bool = False, prefer: str = ""
) -> tuple[Mapping[str, np.ndarray], list[str]]:
    """The arrays under the network's own keys, and every fault."""
    shapes = {key: leaf.shape for key, leaf in _flatten(network.shapes()).items()}
    only = _trunk_layers(network) if trunk else None
    wanted = {key: shape for key, shape in shapes.items() if only is None or key.split("/")[0] in only}
    layout = choose_layout(network, arrays, prefer=prefer)
    if layout is not None:
        arrays, faults = layouts.translate(layout, arrays, shapes, only=only)
        if faults:
            return arrays, faults
    elif trunk:
        arrays = {key: array for key, array in arrays.items() if key in wanted}
    faults = _faults(wanted, arrays)
    return arrays, faults + [f"not finite {key}" for key in sorted(arrays) if not _finite(arrays[key])]


def choose_layout(network: Network, keys: Iterable[str], *, prefer: str = "") -> WeightLayout | None:
    """The foreign layout that knows most of ``keys``; None if that is the network's own.

    Among equals the one called ``prefer``, else the network's own.
    """
    known = sorted(network.layouts(), key=lambda layout: layout.name != prefer)
    best = layouts.choose(known, keys)
    own = len(_flatten(network.shapes()).keys() & set(keys))
    count = 0 if best is None else len(best.table.keys() & set(keys))
    return best if best is not None and (count > own or (count == own and best.name == prefer)) else None


def read_provenance(path: str | pathlib.Path) -> Provenance | None:
    """The record in a checkpoint; None where there is none. CheckpointError if it cannot be read."""
    path = pathlib.Path(path)
    try:
        if path.is_dir():
            record = path / RECORD
            return Provenance.from_json(record.read_text(encoding="utf-8")) if record.exists() else None
        text = npz.read_string(path, RECORD)
        return None if text is None else Provenance.from_json(text)
    except (ValueError, OSError) as error:
        raise CheckpointError(f"{path} holds a provenance record that cannot be read: {error}") from error


def save_params(params: Params, path: str | pathlib.Path, provenance: Provenance | None = None) -> None:
    """Writes parameters and their record as an Orbax checkpoint, or as one file where ``path`` ends in ``.npz``.

    All or nothing: a killed process leaves nothing at ``path``. An ``.npz`` file keeps float16, all else becomes
    float32.

    Raises:
        FileExistsError: there is something at ``path``; it is left alone.
    """
    path = pathlib.Path(path)
    if path.exists():
        raise FileExistsError(f"{path} exists already; remove it or write elsewhere")
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npz":
        arrays = {key: _as_saved(array) for key, array in _flatten(params).items()}
        record = {} if provenance is None else {RECORD: np.array(provenance.to_json())}
        with files.replacing(path, shared=True) as partial, partial.open("wb") as stream:
            np.savez(stream, **arrays, **record)  # type: ignore[arg-type]
        return
    import orbax.checkpoint as ocp  # one second of import that only checkpoints need

    with tempfile.TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent) as folder:
        unfinished = pathlib.Path(folder) / path.name
        with ocp.StandardCheckpointer() as checkpointer:
            checkpointer.save(unfinished.absolute(), params)
        if provenance is not None:
            files.write_text(unfinished / RECORD, provenance.to_json())
        shutil.move(unfinished, path)


def _as_saved(array: Any) -> np.ndarray:
    return np.asarray(array) if array.dtype == np.float16 else np.asarray(array, np.float32)


def _trunk_layers(network: Network) -> set[str]:
    return set(network.shapes()) - set(network.spec.head)


def fingerprint(path: str | pathlib.Path) -> str:
    """sha256 of a weights file; of a checkpoint directory, sha256 over the names and sha256s of its files."""
    path = pathlib.Path(path)
    if path.is_file():
        return _sha256(path).hexdigest()
    digest = hashlib.sha256()
    for file in sorted(path.rglob("*")):
        if file.is_file():
            digest.update(file.relative_to(path).as_posix().encode())
            digest.update(_sha256(file).digest())
    return digest.hexdigest()


def fingerprint_params(params: Params) -> str:
    """sha256 over weights in memory with their names and shapes: the same whatever file they were read from."""
    digest = hashlib.sha256()
    for name, array in sorted(_flatten(params).items()):
        values = np.asarray(array, "<f4")
        digest.update(f"{name} {values.shape}\n".encode())
        digest.update(values.tobytes())
    return digest.hexdigest()


def _sha256(file: pathlib.Path) -> "hashlib._Hash":
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256")


def _read(path: pathlib.Path) -> dict[str, np.ndarray]:
    if not path.exists():
        raise FileNotFoundError(f"no weights at {path}; `cwcf weights list` names those that can be downloaded")
    return _read_orbax(path) if path.is_dir() else read_npz(path)


def read_npz(path: pathlib.Path) -> dict[str, np.ndarray]:
    """Return the arrays of a ``.npz`` file, the provenance record left out.

    Raises:
        CheckpointError: damaged, anything but arrays of numbers, or arrays that are not as long as the file says.
    """
    try:
        return npz.read_npz(path, skip=(RECORD,))
    except ValueError as error:
        raise CheckpointError(f"{path} is not a readable .npz file of arrays: {error}") from error


def _read_orbax(path: pathlib.Path) -> dict[str, np.ndarray]:
    import orbax.checkpoint as ocp

    try:
        with ocp.StandardCheckpointer() as checkpointer:
            tree = checkpointer.restore(path.absolute())
    except (ValueError, FileNotFoundError, KeyError) as error:
        raise CheckpointError(f"{path} is not an Orbax checkpoint: {error}") from error
    return {key: np.asarray(array) for key, array in _flatten(tree).items()}


def check_params(network: Network, params: Params) -> None:
    """CheckpointError names every key of ``params`` that is missing, unexpected, mis-shaped or not floating point."""
    wanted = {key: leaf.shape for key, leaf in _flatten(network.shapes()).items()}
    _raise(network, "params", _faults(wanted, _flatten(params)))


def _faults(wanted: Mapping[str, tuple[int, ...]], arrays: Mapping[str, Any]) -> list[str]:
    faults = [f"missing {key} {wanted[key]}" for key in sorted(wanted.keys() - arrays.keys())]
    faults += [f"unexpected {key} {arrays[key].shape}" for key in sorted(arrays.keys() - wanted.keys())]
    for key in sorted(wanted.keys() & arrays.keys()):
        if arrays[key].shape != wanted[key]:
            faults.append(f"mis-shaped {key}: {arrays[key].shape} instead of {wanted[key]}")
        elif not jnp.issubdtype(arrays[key].dtype, jnp.floating):
            faults.append(f"not floating point {key}: {arrays[key].dtype}")
    return faults


def _finite(array: np.ndarray) -> bool:
    return not jnp.issubdtype(array.dtype, jnp.floating) or layouts.finite(array)


def _raise(network: Network, origin: str, faults: list[str]) -> None:
    if faults:
        raise CheckpointError(f"{origin} does not hold {network.spec.name}:\n  " + "\n  ".join(faults))


def _flatten(params: Params) -> dict[str, Any]:
    leaves, _ = jax.tree_util.tree_flatten_with_path(params)
    return {"/".join(str(getattr(entry, "key", entry)) for entry in path): leaf for path, leaf in leaves}


def _nest(flat: Mapping[str, jax.Array]) -> Params:
    nested: Params = {}
    for key, array in flat.items():
        *parents, leaf = key.split("/")
        node = nested
        for parent in parents:
            node = node.setdefault(parent, {})
        node[leaf] = array
    return nested
