"""Readers of the file formats in which trained networks circulate.

`read` returns the arrays of a file under the file's own keys. It knows nothing of networks; it never runs code that a
file brings along; it refuses what it cannot read for certain.
"""

import pathlib
from collections.abc import Callable

import cwcf_jax.weights.formats.keras as keras
import cwcf_jax.weights.formats.pytorch as pytorch
import cwcf_jax.weights.formats.safetensors as safetensors
from cwcf_jax.networks.npz import read_npz
from cwcf_jax.weights.formats import caffemodel
from cwcf_jax.weights.formats.base import DAMAGED, FormatError, Refusal, WeightsFile, check_name, looks_like

__all__ = ["FormatError", "WeightsFile", "read"]


def _read_npz(path: pathlib.Path) -> WeightsFile:
    try:
        return WeightsFile("npz", read_npz(path), {})
    except ValueError as error:
        raise Refusal(f"not a .npz archive of arrays ({error}); it looks like {looks_like(path)}") from error


READERS: dict[str, Callable[[pathlib.Path], WeightsFile]] = {
    ".caffemodel": caffemodel.read,
    ".npz": _read_npz,
    ".pt": pytorch.read,
    ".pth": pytorch.read,
    ".safetensors": safetensors.read,
}
KERAS = (".h5", ".hdf5")


def read(path: str | pathlib.Path, *, kernel_order: str | None = None) -> WeightsFile:
    """Return the arrays of a weights file; the reader is chosen by the suffix and checks the content.

    Args:
        path: a ``.caffemodel``, ``.h5``, ``.hdf5``, ``.npz``, ``.pt``, ``.pth`` or ``.safetensors`` file.
        kernel_order: what a Keras file's convolutions are, one of `keras.ORDERS`, instead of deciding it by the file.

    Raises:
        FileNotFoundError: there is nothing at ``path``.
        FormatError: the file is none of these, is damaged, or would run code.
        ImportError: a package is missing that the format needs; the message says how to install it.
    """
    path = pathlib.Path(path)
    if not path.exists():
        raise FileNotFoundError(f"no weights at {path}; `cwcf weights list` names those that can be downloaded")
    try:
        source = _read(path, kernel_order)
        if not source.arrays:
            raise Refusal(f"it holds no weights: it looks like {looks_like(path)}")
        for key, array in source.arrays.items():
            check_name(key, "the name of an array")
            array.flags.writeable = False
    except Refusal as refusal:
        raise FormatError(f"{path}: {refusal}") from refusal
    except ModuleNotFoundError as error:
        raise ImportError(f"{path}: reading it needs {error.name}: pip install 'cwcf-jax[weights]'") from error
    except MemoryError as error:
        raise FormatError(f"{path}: it needs more memory than there is, or {DAMAGED}") from error
    return source


def _read(path: pathlib.Path, kernel_order: str | None) -> WeightsFile:
    known = ", ".join(sorted((*READERS, *KERAS)))
    suffix = path.suffix.lower()
    if path.is_dir():
        raise Refusal(f"this is a directory; a file is needed, one of {known}")
    if not path.is_file():
        raise Refusal(f"this is no regular file; one of {known} is needed")
    if kernel_order is not None and suffix not in KERAS:
        raise Refusal(f"--kernel_order is for Keras files ({', '.join(KERAS)}), not for {suffix or 'this'}")
    if suffix == ".keras":
        raise Refusal("a .keras archive is not read; unzip it and read the model.weights.h5 that is in it")
    if suffix not in READERS and suffix not in KERAS:
        raise Refusal(f"the suffix {suffix!r} is not known; known are {known}")
    if path.stat().st_size == 0:
        raise Refusal("the file is empty: the download or the copy failed; fetch it again")
    return keras.read(path, kernel_order) if suffix in KERAS else READERS[suffix](path)
