"""Lists, dicts and numpy arrays out of a pickle, without running it: numpy's part of `cwcf_jax.safe_pickle`.

Every name that numpy's own pickles need is answered with a stand-in of this module, which only remembers what it is
told: numpy's own functions would allocate whatever shape a file declares.
"""

import io
import math
import pathlib
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from cwcf_jax import safe_pickle
from cwcf_jax.images.imagesets import DatasetError

MAX_BYTES = 2**26
"""Largest pickle that is read; the published ones have a few MB."""


def read_pickle(path: pathlib.Path) -> Any:
    """Return what a pickle holds, with tuples and numpy arrays as lists; an array of any shape becomes one flat list.

    Raises:
        DatasetError: it cannot be read, or names anything but numpy's arrays and numbers.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise DatasetError(f"{path}: larger than the {MAX_BYTES} bytes that are read")
        return _plain(safe_pickle.load(io.BytesIO(path.read_bytes()), _NAMES), {})
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read as a pickle ({error})") from error
    except ValueError as error:
        raise DatasetError(f"{path}: {error}") from error


class _Dtype:
    def __init__(self, code: Any, *_: Any):
        if isinstance(code, bytes):
            code = code.decode("latin-1")
        if not isinstance(code, str) or not re.fullmatch(r"[<>|=]?(O8?|b1|[iuf][1248]|[US]\d{1,4})", code):
            raise ValueError(f"arrays of kind {code!r}")
        self._code, self._order = code.lstrip("<>|="), "<"

    def __setstate__(self, state: Any) -> None:
        self._order = ">" if state[1] == ">" else "<"

    def decode(self, content: bytes) -> list[Any]:
        return np.frombuffer(content, np.dtype(self._order + self._code)).tolist()

    @property
    def holds_objects(self) -> bool:
        return self._code.startswith("O")


class _Array:
    """What `numpy.ndarray` is to a pickle; knows its numbers once its state is set."""

    values: tuple[Any, ...] | list[Any] = ()

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, _, content = state
        self._set(shape, dtype, content)

    def _set(self, shape: Any, dtype: _Dtype, content: Any) -> None:
        if isinstance(content, str):  # of Python 2
            content = content.encode("latin-1")
        self.values = content if dtype.holds_objects else dtype.decode(bytes(content))
        if not isinstance(self.values, list) or len(self.values) != math.prod(shape):
            raise ValueError("an array whose content does not fit its shape")


def _empty(*_: Any) -> _Array:
    return _Array()


def _from_buffer(content: Any, dtype: _Dtype, shape: Any, _: Any) -> _Array:
    array = _Array()
    array._set(shape, dtype, content)
    return array


def _scalar(dtype: _Dtype, content: Any) -> Any:
    return dtype.decode(content.encode("latin-1") if isinstance(content, str) else content)[0]


def _encode(text: str, encoding: str) -> bytes:
    if encoding not in ("latin1", "latin-1"):
        raise ValueError(f"bytes as {encoding}")
    return text.encode("latin-1")


def _no_bytes() -> bytes:
    return b""


_NAMES: dict[str, Callable[..., Any]] = {
    "numpy.ndarray": _empty,
    "numpy.dtype": _Dtype,
    "_codecs.encode": _encode,
    "__builtin__.bytes": _no_bytes,  # b"" in protocols that know no bytes
    **{f"numpy.{core}.multiarray._reconstruct": _empty for core in ("core", "_core")},
    **{f"numpy.{core}.multiarray.scalar": _scalar for core in ("core", "_core")},
    **{f"numpy.{core}.numeric._frombuffer": _from_buffer for core in ("core", "_core")},
}


def _plain(value: Any, done: dict[int, Any], depth: int = 8) -> Any:
    """The value with lists in place of arrays and tuples; ``done`` keeps what is referred to often from growing."""
    if depth < 0:
        raise ValueError("cannot be read as a pickle (nested too deep)")
    if id(value) in done:
        return done[id(value)]
    if isinstance(value, dict):
        plain: Any = {key: _plain(item, done, depth - 1) for key, item in value.items()}
    elif isinstance(value, list | tuple | _Array):
        items = value.values if isinstance(value, _Array) else value
        plain = [_plain(item, done, depth - 1) for item in items]
    else:
        return value
    done[id(value)] = plain
    return plain
