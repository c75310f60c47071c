"""This module reads lists, dicts and numpy arrays from a pickle without running code, by `cwcf_jax.safe_pickle`.

Every global that pickles of numpy name is replaced by a stand-in of this module, which only stores its arguments. The
functions of numpy itself would allocate any shape that a file declares.
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
"""The size of the largest pickle that is read; the published ones have a few MB."""


def read_pickle(path: pathlib.Path) -> Any:
    """Returns the content of a pickle, with tuples as lists and numpy arrays as flat lists.

    Raises:
        DatasetError: the pickle cannot be read, or names globals other than numpy's arrays and numbers.
    """
    try:
        size = path.stat().st_size
        if size <= MAX_BYTES:
            return _to_lists(safe_pickle.load(io.BytesIO(path.read_bytes()), _STAND_INS), {})
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read as a pickle ({error})") from error
    except ValueError as error:
        raise DatasetError(f"{path}: {error}") from error
    raise DatasetError(f"{path}: has {size} bytes, more than the {MAX_BYTES} that a pickle may have")


class _Dtype:
    """A `_Dtype` stands in for `numpy.dtype`: numbers, booleans, strings of up to 9,999 characters, or objects."""

    def __init__(self, code: Any, *_: Any):
        if isinstance(code, bytes):
            code = code.decode("latin-1")
        if not isinstance(code, str) or not re.fullmatch(r"[<>|=]?(O8?|b1|[iuf][1248]|[US]\d{1,4})", code):
            raise ValueError(f"arrays of type {code!r} are not read")
        self._code, self._order = code.lstrip("<>|="), "<"

    def __setstate__(self, state: Any) -> None:
        self._order = ">" if state[1] == ">" else "<"

    def decode(self, content: bytes) -> list[Any]:
        return np.frombuffer(content, np.dtype(self._order + self._code)).tolist()

    @property
    def holds_objects(self) -> bool:
        return self._code.startswith("O")


class _Array:
    """An `_Array` stands in for `numpy.ndarray`; its values are known once the pickle has set its state."""

    values: tuple[Any, ...] | list[Any] = ()

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, _, content = state
        self._set(shape, dtype, content)

    def _set(self, shape: Any, dtype: _Dtype, content: Any) -> None:
        if isinstance(content, str):  # written by Python 2
            content = content.encode("latin-1")
        self.values = content if dtype.holds_objects else dtype.decode(bytes(content))
        if not isinstance(self.values, list) or len(self.values) != math.prod(shape):
            raise ValueError("an array has content that does not fit its shape")


def _reconstruct(*_: Any) -> _Array:
    return _Array()


def _from_buffer(content: Any, dtype: _Dtype, shape: Any, _: Any) -> _Array:
    array = _Array()
    array._set(shape, dtype, content)
    return array


def _scalar(dtype: _Dtype, content: Any) -> Any:
    return dtype.decode(content.encode("latin-1") if isinstance(content, str) else content)[0]


def _encode(text: str, encoding: str) -> bytes:
    if encoding not in ("latin1", "latin-1"):
        raise ValueError(f"bytes in the encoding {encoding} are not read")
    return text.encode("latin-1")


def _empty_bytes() -> bytes:
    return b""


_STAND_INS: dict[str, Callable[..., Any]] = {
    "numpy.ndarray": _reconstruct,
    "numpy.dtype": _Dtype,
    "_codecs.encode": _encode,
    "__builtin__.bytes": _empty_bytes,  # b"" in protocols without a type for bytes
    **{f"numpy.{core}.multiarray._reconstruct": _reconstruct for core in ("core", "_core")},
    **{f"numpy.{core}.multiarray.scalar": _scalar for core in ("core", "_core")},
    **{f"numpy.{core}.numeric._frombuffer": _from_buffer for core in ("core", "_core")},
}


def _to_lists(value: Any, converted: dict[int, Any], levels_left: int = 8) -> Any:
    """Returns the value with lists in place of arrays and tuples.

    ``converted`` maps the id of each converted value to its list, so that a value with many references is stored once.
    """
    if levels_left < 0:
        raise ValueError("cannot be read as a pickle (nested too deep)")
    if id(value) in converted:
        return converted[id(value)]
    if isinstance(value, dict):
        lists: Any = {key: _to_lists(item, converted, levels_left - 1) for key, item in value.items()}
    elif isinstance(value, list | tuple | _Array):
        items = value.values if isinstance(value, _Array) else value
        lists = [_to_lists(item, converted, levels_left - 1) for item in items]
    else:
        return value
    converted[id(value)] = lists
    return lists
