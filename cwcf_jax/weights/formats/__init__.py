"""This package reads files of weights in the formats of Caffe, Keras, PyTorch, safetensors and numpy.

`read` returns the arrays of a file under the file's own keys, independent of any network. Code in a file is never run.
A file that cannot be read with certainty is refused.
"""

import pathlib
from collections.abc import Callable

import cwcf_jax.weights.formats.keras as keras
import cwcf_jax.weights.formats.pytorch as pytorch
import cwcf_jax.weights.formats.safetensors as safetensors
from cwcf_jax.networks.npz import read_npz
from cwcf_jax.weights.formats import caffemodel
from cwcf_jax.weights.formats.base import DAMAGED, FormatError, Refusal, WeightsFile, check_name, identify

__all__ = ["FormatError", "WeightsFile", "read"]


def _read_npz(path: pathlib.Path) -> WeightsFile:
    try:
        return WeightsFile("npz", read_npz(path), {})
    except ValueError as error:
        raise Refusal(f"not a .npz archive of arrays ({error}); it looks like {identify(path)}") from error


READERS: dict[str, Callable[[pathlib.Path], WeightsFile]] = {
    ".caffemodel": caffemodel.read,
    ".npz": _read_npz,
    ".pt": pytorch.read,
    ".pth": pytorch.read,
    ".safetensors": safetensors.read,
}
KERAS_SUFFIXES = (".h5", ".hdf5")


def read(path: str | pathlib.Path, *, kernel_order: str | None = None) -> WeightsFile:
    """Reads the arrays of a file of weights; the suffix selects the reader, which checks the content.

    Args:
        path: a ``.caffemodel``, ``.h5``, ``.hdf5``, ``.npz``, ``.pt``, ``.pth`` or ``.safetensors`` file.
        kernel_order: order of a Keras file's convolution kernels, one of `keras.KERNEL_ORDERS`; None: detected.

    Raises:
        FileNotFoundError: there is no file at ``path``.
        FormatError: the file has another format, is damaged, or would run code.
        ImportError: a package that the format needs is missing; the message has the command that installs it.
    """
    path = pathlib.Path(path)
    if not path.exists():
        raise FileNotFoundError(f"no weights at {path}; `cwcf weights list` lists the weights that can be downloaded")
    try:
        source = _read(path, kernel_order)
        if not source.arrays:
            raise Refusal(f"it holds no weights: it looks like {identify(path)}")
        for key, array in source.arrays.items():
            check_name(key, "the name of an array")
            array.flags.writeable = False
    except Refusal as refusal:
        raise FormatError(f"{path}: {refusal}") from refusal
    except ModuleNotFoundError as error:
        raise ImportError(f"{path}: reading it needs {error.name}: pip install 'cwcf-jax[weights]'") from error
    except MemoryError as error:
        raise FormatError(f"{path}: the file needs more memory than is available, or {DAMAGED}") from error
    return source


def _read(path: pathlib.Path, kernel_order: str | None) -> WeightsFile:
    suffixes = ", ".join(sorted((*READERS, *KERAS_SUFFIXES)))
    suffix = path.suffix.lower()
    if path.is_dir():
        raise Refusal(f"this is a directory; a file is needed, one of {suffixes}")
    if not path.is_file():
        raise Refusal(f"this is no regular file; one of {suffixes} is needed")
    if kernel_order is not None and suffix not in KERAS_SUFFIXES:
        raise Refusal(f"--kernel_order is for Keras files ({', '.join(KERAS_SUFFIXES)}), not for {suffix or 'this'}")
    if suffix == ".keras":
        raise Refusal("a .keras archive is not read; unzip it and read the model.weights.h5 inside")
    if suffix not in READERS and suffix not in KERAS_SUFFIXES:
        raise Refusal(f"the suffix {suffix!r} is not known; known are {suffixes}")
    if path.stat().st_size == 0:
        raise Refusal("the file is empty: the download or the copy failed; fetch it again")
    return keras.read(path, kernel_order) if suffix in KERAS_SUFFIXES else READERS[suffix](path)
