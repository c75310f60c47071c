"""Reading and writing parameters; loading is strict.

A file is either this library's own (``.npz`` with keys like ``inception_3a/conv1x1/kernel``, or an Orbax checkpoint
directory) or a foreign ``.npz`` whose layers the network's `sources` table maps (``<layer>/W`` in OIHW order and
``<layer>/b``).
"""

import hashlib
import pathlib
import zipfile
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cwcf_jax.networks.spec import Network, Params


class CheckpointError(ValueError):
    """A checkpoint that is not the network's; the message names every key that is at fault."""


def load_params(network: Network, path: str | pathlib.Path) -> Params:
    """Parameters of ``network`` from a ``.npz`` file or an Orbax checkpoint directory, float32 on the default device.

    Raises:
        FileNotFoundError: there is nothing at ``path``.
        CheckpointError: not a checkpoint, or any key missing, unexpected, mis-shaped or not finite.
    """
    path = pathlib.Path(path)
    if not path.exists():
        raise FileNotFoundError(f"no weights at {path}: see weights/README.md for where they come from")
    arrays = _read_orbax(path) if path.is_dir() else _read_npz(path)
    arrays = _translate(network, arrays)
    _check(network, arrays, path)
    flat = {key: jnp.asarray(array, jnp.float32) for key, array in arrays.items()}
    return _nest(flat)


def save_params(params: Params, path: str | pathlib.Path) -> None:
    """Writes parameters as an Orbax checkpoint, or in float32 as one file where ``path`` ends in ``.npz``.

    Raises:
        FileExistsError: there is something at ``path``; it is left alone.
    """
    path = pathlib.Path(path)
    if path.exists():
        raise FileExistsError(f"{path} exists already; remove it or write elsewhere")
    if path.suffix == ".npz":
        np.savez(path, **{key: np.asarray(array, np.float32) for key, array in _flatten(params).items()})  # type: ignore[arg-type]
        return
    import orbax.checkpoint as ocp  # one second of import that only checkpoints need

    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(path.absolute(), params)


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


def _sha256(file: pathlib.Path) -> "hashlib._Hash":
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256")


def _read_npz(path: pathlib.Path) -> dict[str, np.ndarray]:
    try:
        with path.open("rb") as file:
            archive = np.load(file, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise ValueError("it holds a single array")
            return {key: archive[key] for key in archive.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise CheckpointError(f"{path} is not a readable .npz file of arrays: {error}") from error


def _read_orbax(path: pathlib.Path) -> dict[str, np.ndarray]:
    import orbax.checkpoint as ocp

    try:
        with ocp.StandardCheckpointer() as checkpointer:
            tree = checkpointer.restore(path.absolute())
    except (ValueError, FileNotFoundError, KeyError) as error:
        raise CheckpointError(f"{path} is not an Orbax checkpoint: {error}") from error
    return {key: np.asarray(array) for key, array in _flatten(tree).items()}


def _translate(network: Network, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Renames and transposes a foreign layout; a layer outside the table keeps its name, for `_check` to report."""
    if not any(key.endswith("/W") for key in arrays):
        return dict(arrays)
    table = network.sources().get("caffe", {})
    translated = {}
    for key, array in arrays.items():
        layer, _, kind = key.rpartition("/")
        if layer in table and kind == "W" and array.ndim in (2, 4):
            translated[f"{table[layer]}/kernel"] = array.T if array.ndim == 2 else array.transpose(2, 3, 1, 0)
        elif layer in table and kind == "b":
            translated[f"{table[layer]}/bias"] = array
        else:
            translated[key] = array
    return translated


def check_params(network: Network, params: Params) -> None:
    """CheckpointError names every key of ``params`` that is missing, unexpected, mis-shaped or not floating point."""
    _raise(network, "params", _faults(network, _flatten(params)))


def _check(network: Network, arrays: Mapping[str, np.ndarray], path: pathlib.Path) -> None:
    faults = _faults(network, arrays)
    faults += [f"not finite {key}" for key in sorted(arrays) if not _finite(arrays[key])]
    _raise(network, str(path), faults)


def _faults(network: Network, arrays: Mapping[str, Any]) -> list[str]:
    wanted = {key: leaf.shape for key, leaf in _flatten(network.shapes()).items()}
    faults = [f"missing {key} {wanted[key]}" for key in sorted(wanted.keys() - arrays.keys())]
    faults += [f"unexpected {key} {arrays[key].shape}" for key in sorted(arrays.keys() - wanted.keys())]
    for key in sorted(wanted.keys() & arrays.keys()):
        if arrays[key].shape != wanted[key]:
            faults.append(f"mis-shaped {key}: {arrays[key].shape} instead of {wanted[key]}")
        elif not jnp.issubdtype(arrays[key].dtype, jnp.floating):
            faults.append(f"not floating point {key}: {arrays[key].dtype}")
    return faults


def _finite(array: np.ndarray) -> bool:
    return not jnp.issubdtype(array.dtype, jnp.floating) or bool(np.isfinite(array.astype(np.float32)).all())


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
