"""NumPy's ``.npz`` archives of ``.npy`` arrays.

Source: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html: a magic string, a version, the length
of the header, a Python literal of a dict with exactly ``descr``, ``fortran_order`` and ``shape``, and the bytes. The
header is matched and not evaluated, types that need pickle are refused, and sizes are compared before anything is
allocated.
"""

import math
import pathlib
import re

import numpy as np

from cwcf_jax.weights.formats.archives import Archive
from cwcf_jax.weights.formats.base import Refusal, Source, mapped, text, view

HEADER = re.compile(
    rb"\{ *'descr': *'(?P<descr>[^']{1,16})', *'fortran_order': *(?P<fortran>True|False), *"
    rb"'shape': *\((?P<shape>[0-9L, ]{0,200})\),? *\} *\n"
)
DESCR = re.compile(r"[<>=|]?(f[248]|[iu][1248]|b1)")
DAMAGED = "the archive is damaged; fetch or write it again"


def read(path: pathlib.Path) -> Source:
    """The arrays of a ``.npz`` file; views of the mapped file where it is not compressed."""
    archive = Archive(mapped(path))
    arrays = {}
    for name in archive.members:
        if not name.endswith(".npy"):
            raise Refusal(f"it holds {name}, which is no array: this is no .npz file of numpy.savez")
        key = text(name.removesuffix(".npy"), "a key")
        arrays[key] = _array(archive.read(name), key)
    if not arrays:
        raise Refusal("it holds no arrays")
    return Source("npz", arrays, {})


def _array(data: memoryview, key: str) -> np.ndarray:
    if bytes(data[:6]) != b"\x93NUMPY" or len(data) < 12 or data[6] not in (1, 2, 3):
        raise Refusal(f"{key} is no NumPy array: {DAMAGED}")
    width = 2 if data[6] == 1 else 4
    start = 8 + width + int.from_bytes(data[8 : 8 + width], "little")
    if start > min(len(data), 65536):
        raise Refusal(f"the header of {key} is too long: {DAMAGED}")
    match = HEADER.fullmatch(data[8 + width : start])
    if not match:
        raise Refusal(f"the header of {key} is not one that NumPy writes for an array of numbers: {DAMAGED}")
    descr = match["descr"].decode("latin-1")
    if "O" in descr:
        raise Refusal(f"{key} holds pickled Python objects, which are never loaded; save arrays of numbers instead")
    if not DESCR.fullmatch(descr):
        raise Refusal(f"{key} is of type {descr!r}, no type of numbers that is read here; save it as float32")
    dtype = np.dtype(descr)
    shape = _shape(match["shape"].decode("ascii"), key)
    if math.prod(shape) * dtype.itemsize != len(data) - start:
        raise Refusal(f"{key} is not as long as its header says: {DAMAGED}")
    if match["fortran"] == b"True":
        return view(data, start, dtype, shape[::-1], key).transpose()
    return view(data, start, dtype, shape, key)


def _shape(literal: str, key: str) -> list[int]:
    parts = [part.strip().removesuffix("L") for part in literal.split(",")]
    if parts[-1] == "":
        parts.pop()  # the comma after the last one, or no dimension at all
    if not all(part.isdecimal() and len(part) < 20 for part in parts):
        raise Refusal(f"{key} has an impossible shape: {DAMAGED}")
    return [int(part) for part in parts]
