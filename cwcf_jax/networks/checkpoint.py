"""This module reads and writes the parameters of networks; any missing or unexpected array is an error.

The project's own checkpoints are ``.npz`` files, with keys such as ``inception_3a/conv1x1/kernel``, or Orbax
directories, with or without a provenance record. A foreign ``.npz`` file must follow one of the network's layouts.
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
    """Raised when a checkpoint does not fit its network; the message names every key at fault."""


def load_params(network: Network, path: str | pathlib.Path, *, trunk: bool = False) -> Params:
    """Reads the parameters of a network from a ``.npz`` file or an Orbax directory, float32 on the default device.

    Args:
        network: the network with the classes and the preprocessing of the provenance record, see `adapt`.
        path: the file or directory.
        trunk: whether to read only the layers before ``network.spec.head``; the file may hold any other head.

    Raises:
        FileNotFoundError: there is nothing at ``path``.
        CheckpointError: the file is no checkpoint, or an array is missing, unexpected, mis-shaped or not finite.
    """
    arrays = _read(pathlib.Path(path))
    try:
        return import_params(network, arrays, str(path), trunk=trunk)
    except CheckpointError as error:
        if trunk or not fits(network, arrays, trunk=True):
            raise
        raise CheckpointError(
            f"{error}\nThe layers before the head fit: cwcf_jax.training trains a head on them, with "
            f"TrainingConfig(network={network.spec.name!r}, trunk={str(path)!r}, ...)"
        ) from error


def read_params(path: pathlib.Path) -> Params:
    """Reads a ``.npz`` file of `save_params` without a comparison with the network, which would have to be traced.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: the file is damaged, or not an archive of arrays.
    """
    return _nest({key: jnp.asarray(array, jnp.float32) for key, array in read_npz(path).items()})


def import_params(
    network: Network, arrays: Mapping[str, np.ndarray], origin: str, *, trunk: bool = False, prefer: str = ""
) -> Params:
    """Returns the parameters of a network from arrays in the network's own layout or in one of its foreign layouts.

    Args:
        network: the network, see `load_params`.
        arrays: all arrays of the file by their keys.
        origin: name of the file in errors.
        trunk: whether to read only the layers before the head, see `load_params`.
        prefer: name of the layout that is chosen if another layout has as many of the keys.

    Raises:
        CheckpointError: an array is missing, unexpected, mis-shaped or not finite.
    """
    own_arrays, faults = _match(network, arrays, trunk=trunk, prefer=prefer)
    _raise_faults(network, origin, faults)
    return _nest({key: jnp.asarray(array, jnp.float32) for key, array in own_arrays.items()})


def fits(network: Network, arrays: Mapping[str, np.ndarray], *, trunk: bool = False) -> bool:
    """Tells whether `import_params` accepts these arrays."""
    return not _match(network, arrays, trunk=trunk)[1]


def _match(
    network: Network, arrays: Mapping[str, np.ndarray], *, trunk: bool = False, prefer: str = ""
) -> tuple[Mapping[str, np.ndarray], list[str]]:
    """Returns the arrays under the network's own keys, and a description of every fault."""
    shapes = {key: leaf.shape for key, leaf in _flatten(network.shapes()).items()}
    layers = _trunk_layers(network) if trunk else None
    expected = {key: shape for key, shape in shapes.items() if layers is None or key.split("/")[0] in layers}
    layout = choose_layout(network, arrays, prefer=prefer)
    if layout is not None:
        arrays, faults = layouts.translate(layout, arrays, shapes, layers=layers)
        if faults:
            return arrays, faults
    elif trunk:
        arrays = {key: array for key, array in arrays.items() if key in expected}
    faults = _compare(expected, arrays)
    return arrays, faults + [f"not finite {key}" for key in sorted(arrays) if not _is_finite(arrays[key])]


def choose_layout(network: Network, keys: Iterable[str], *, prefer: str = "") -> WeightLayout | None:
    """Returns the foreign layout that has most of ``keys``; None if the network's own layout has as many.

    The layout called ``prefer`` wins against all layouts that have as many of the keys, also the network's own.
    """
    foreign = sorted(network.layouts(), key=lambda layout: layout.name != prefer)
    best = layouts.choose(foreign, keys)
    own_count = len(_flatten(network.shapes()).keys() & set(keys))
    count = 0 if best is None else len(best.table.keys() & set(keys))
    return best if best is not None and (count > own_count or (count == own_count and best.name == prefer)) else None


def read_provenance(path: str | pathlib.Path) -> Provenance | None:
    """Returns the provenance record of a checkpoint; None if there is none. CheckpointError if it cannot be read."""
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
    """Writes parameters and their provenance record as a ``.npz`` file or, for other names, as an Orbax directory.

    The checkpoint appears at ``path`` only when it is complete, even if the process is killed. A ``.npz`` file keeps
    float16 arrays; all other arrays become float32.

    Raises:
        FileExistsError: ``path`` exists already; it is not changed.
    """
    path = pathlib.Path(path)
    if path.exists():
        raise FileExistsError(f"{path} exists already; remove it or write elsewhere")
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npz":
        arrays = {key: _to_saved_dtype(array) for key, array in _flatten(params).items()}
        record = {} if provenance is None else {RECORD: np.array(provenance.to_json())}
        with files.replacing(path, shared=True) as partial, partial.open("wb") as stream:
            np.savez(stream, **arrays, **record)  # type: ignore[arg-type]
        return
    import orbax.checkpoint as ocp  # late, since the import takes a second

    with tempfile.TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent) as folder:
        unfinished = pathlib.Path(folder) / path.name
        with ocp.StandardCheckpointer() as checkpointer:
            checkpointer.save(unfinished.absolute(), params)
        if provenance is not None:
            files.write_text(unfinished / RECORD, provenance.to_json())
        shutil.move(unfinished, path)


def _to_saved_dtype(array: Any) -> np.ndarray:
    return np.asarray(array) if array.dtype == np.float16 else np.asarray(array, np.float32)


def _trunk_layers(network: Network) -> set[str]:
    return set(network.shapes()) - set(network.spec.head)


def fingerprint(path: str | pathlib.Path) -> str:
    """Returns the sha256 of a file; for a directory, the sha256 of the names and sha256s of all its files."""
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
    """Returns the sha256 of the names, shapes and values of parameters, which does not depend on their file."""
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
    """Returns the arrays of a ``.npz`` file without the provenance record.

    Raises:
        CheckpointError: the file is damaged, holds anything but arrays of numbers, or declares wrong lengths.
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
    """Raises CheckpointError unless all of a network's parameters have the right shapes and are floating point."""
    expected = {key: leaf.shape for key, leaf in _flatten(network.shapes()).items()}
    _raise_faults(network, "params", _compare(expected, _flatten(params)))


def _compare(expected: Mapping[str, tuple[int, ...]], arrays: Mapping[str, Any]) -> list[str]:
    faults = [f"missing {key} {expected[key]}" for key in sorted(expected.keys() - arrays.keys())]
    faults += [f"unexpected {key} {arrays[key].shape}" for key in sorted(arrays.keys() - expected.keys())]
    for key in sorted(expected.keys() & arrays.keys()):
        if arrays[key].shape != expected[key]:
            faults.append(f"mis-shaped {key}: {arrays[key].shape} instead of {expected[key]}")
        elif not jnp.issubdtype(arrays[key].dtype, jnp.floating):
            faults.append(f"not floating point {key}: {arrays[key].dtype}")
    return faults


def _is_finite(array: np.ndarray) -> bool:
    return not jnp.issubdtype(array.dtype, jnp.floating) or layouts.is_finite(array)


def _raise_faults(network: Network, origin: str, faults: list[str]) -> None:
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
