"""Readers of the file formats in which trained networks circulate.

`read` returns the arrays of a file under the file's own keys. It knows nothing of networks; it never runs code that a
file brings along; it refuses what it cannot read for certain.
"""

import pathlib
from collections.abc import Callable

import cwcf_jax.weights.formats.keras as keras
import cwcf_jax.weights.formats.pytorch as pytorch
from cwcf_jax.weights.formats import caffemodel, npz, safetensors
from cwcf_jax.weights.formats.base import FormatError, Refusal, Source

__all__ = ["FormatError", "Source", "read"]

READERS: dict[str, Callable[[pathlib.Path], Source]] = {
    ".caffemodel": caffemodel.read,
    ".npz": npz.read,
    ".pt": pytorch.read,
    ".pth": pytorch.read,
    ".safetensors": safetensors.read,
}
KERAS = (".h5", ".hdf5")


def read(path: str | pathlib.Path, *, kernel_order: str | None = None) -> Source:
    """The arrays of a weights file; the reader is chosen by the suffix and checks the content.

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
        raise FileNotFoundError(f"no weights at {path}: see weights/README.md for where they come from")
    try:
        return _read(path, kernel_order)
    except Refusal as refusal:
        raise FormatError(f"{path}: {refusal}") from refusal


def _read(path: pathlib.Path, kernel_order: str | None) -> Source:
    known = ", ".join(sorted((*READERS, *KERAS)))
    suffix = path.suffix.lower()
    if path.is_dir():
        raise Refusal(f"this is a directory; a file is needed, one of {known}")
    if not path.is_file():
        raise Refusal(f"this is no regular file; one of {known} is needed")
    if suffix in KERAS:
        return keras.read(path, kernel_order)
    if kernel_order is not None:
        raise Refusal(f"--kernel_order is for Keras files ({', '.join(KERAS)}), not for {suffix or 'this'}")
    if suffix == ".keras":
        raise Refusal("a .keras archive is not read; unzip it and read the model.weights.h5 that is in it")
    if suffix not in READERS:
        raise Refusal(f"the suffix {suffix!r} is not known; known are {known}")
    return READERS[suffix](path)
