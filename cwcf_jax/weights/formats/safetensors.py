"""The safetensors format: a JSON table of offsets and the bytes.

Source: https://github.com/huggingface/safetensors (README, "Format"): 8 bytes of little-endian header length, the
header, which starts with ``{`` and may be padded with spaces, and the tensors, little-endian, row-major, without holes
or overlaps. Read here and not with the package because 60 lines with numpy need no further dependency and copy nothing.
"""

import json
import math
import pathlib
from typing import Any

import ml_dtypes
import numpy as np

from cwcf_jax.weights.formats.base import MAX_RANK, Refusal, Source, disjoint, looks_like, mapped, text, view

MAX_HEADER = 100_000_000  # the format's own limit
SMALL_HEADER = 1 << 20  # longer ones must describe more data than they are long themselves
DTYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "i1",
    "U64": "<u8",
    "U32": "<u4",
    "U16": "<u2",
    "U8": "u1",
    "BOOL": "?",
}


def read(path: pathlib.Path) -> Source:
    """The tensors of a ``.safetensors`` file, all of them views of the mapped file."""
    data = mapped(path)
    length = int.from_bytes(data[:8], "little")
    if len(data) < 10 or data[8] != ord("{") or length > len(data) - 8:
        raise Refusal(f"not a safetensors file, or cut off: it looks like {looks_like(data)}")
    body = data[8 + length :]
    if length > MAX_HEADER or length > max(SMALL_HEADER, len(body)):
        raise Refusal(f"its header of {length} bytes is longer than any network needs")
    header = _header(data[8 : 8 + length])
    notes = _notes(header.pop("__metadata__", {}))
    ranges, arrays = [], {}
    for key, entry in header.items():
        name = text(key, "a tensor's name")
        dtype, shape, start, end = _entry(name, entry)
        if end - start != math.prod(shape) * dtype.itemsize or end > len(body):
            raise Refusal(f"{name} is not as long as its shape says, or beyond the end: the file is damaged or cut off")
        ranges.append((start, end, name))
        arrays[name] = view(body, start, dtype, shape, name)
    disjoint(ranges)
    if sum(end - start for start, end, _ in ranges) != len(body):
        raise Refusal("its tensors leave holes: the file is damaged")
    if not arrays:
        raise Refusal("it holds no tensors")
    return Source("safetensors", arrays, notes)


def _header(raw: memoryview) -> dict[str, Any]:
    try:
        header = json.loads(str(raw, "utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise Refusal(f"its header is not valid JSON ({type(error).__name__}): the file is damaged") from None
    if not isinstance(header, dict):
        raise Refusal("its header is no table: the file is damaged")
    return header


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        raise Refusal("its header names something twice: the file is damaged")
    return table


def _no_constant(name: str) -> float:
    raise ValueError(name)


def _notes(metadata: object) -> dict[str, str]:
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise Refusal("its metadata are no table of strings: the file is damaged")
    return metadata


def _entry(name: str, entry: object) -> tuple[np.dtype, list[int], int, int]:
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise Refusal(f"the entry of {name} is not of the format: the file is damaged")
    kind, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not (isinstance(kind, str) and isinstance(shape, list) and isinstance(offsets, list) and len(offsets) == 2):
        raise Refusal(f"the entry of {name} is not of the format: the file is damaged")
    if not all(type(number) is int and 0 <= number < 1 << 63 for number in shape + offsets) or len(shape) > MAX_RANK:
        raise Refusal(f"{name} has an impossible shape or place: the file is damaged")
    if kind != "BF16" and kind not in DTYPES:
        raise Refusal(f"{name} is of type {kind[:20]!r}, which is not read here; save it as F32")
    dtype = np.dtype(ml_dtypes.bfloat16) if kind == "BF16" else np.dtype(DTYPES[kind])
    return dtype, shape, *offsets
