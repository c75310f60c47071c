"""What all readers share: the errors, the result, the mapped file and the telling of one kind of file from another."""

import dataclasses
import math
import mmap
import pathlib
from collections.abc import Iterable, Sequence

import numpy as np

MAX_RANK = 16
MAX_NAME = 1024  # characters of a name; the longest in circulation have about 100

MAGIC = (
    (b"PK\x03\x04", "a zip archive"),
    (b"PK\x05\x06", "an empty zip archive"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    (b"\x93NUMPY", "a single NumPy array (.npy)"),
    (b"\x1f\x8b", "gzip-compressed data: unpack it first"),
    (b"BZh", "bzip2-compressed data: unpack it first"),
    (b"\xfd7zXZ\x00", "xz-compressed data: unpack it first"),
    (b"\x28\xb5\x2f\xfd", "zstd-compressed data: unpack it first"),
    (b"7z\xbc\xaf", "a 7z archive: unpack it first"),
    (b"MATLAB ", "a MATLAB file"),
    (b"version https://git-lfs", "a git-lfs pointer, not the file itself: run `git lfs pull`"),
)


class FormatError(ValueError):
    """A file that is not what its name says, is damaged or would run code.

    The message starts with the path and says why, and the way out where there is one.
    """


class Refusal(Exception):  # noqa: N818 - it is never seen outside: `formats.read` makes it a FormatError
    """Why a file is not read, without its path."""


@dataclasses.dataclass(frozen=True)
class Source:
    """The arrays of a weights file under the file's own keys.

    Attributes:
        format: "caffe", "keras", "torch", "safetensors" or "npz".
        arrays: read-only; most are views of the mapped file, which must not be overwritten while they are in use.
        notes: facts that the file states about itself, and what the reader decided.
    """

    format: str
    arrays: dict[str, np.ndarray]
    notes: dict[str, str]


def mapped(path: pathlib.Path) -> memoryview:
    """The file's bytes, mapped and not read."""
    with path.open("rb") as file:
        if path.stat().st_size == 0:
            raise Refusal("the file is empty: the download or the copy failed; fetch it again")
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def looks_like(data: memoryview) -> str:
    """What the first bytes say a file is, for error messages."""
    head = bytes(data[:512])
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype", b"<html")):
        return "a web page (HTML): the download failed and its error or log-in page was saved; fetch it again"
    for magic, name in MAGIC:
        if head.startswith(magic):
            return name
    if head[257:262] == b"ustar":
        return "a tar archive"
    if head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return "a Python pickle (a PyTorch file of before 1.6, perhaps)"
    if head[8:10] == b'{"' and int.from_bytes(head[:8], "little") <= len(data):
        return "a safetensors file"
    if text.startswith((b"name:", b"layer {", b"layers {", b"input:")):
        return "a Caffe network description (.prototxt), which holds no weights: its .caffemodel is needed"
    if not head.strip(b"\0"):
        return "zeros: the download or the copy was cut off; fetch it again"
    if head.isascii() and b"\0" not in head:
        return "a text file"
    return "nothing known: the start of the file is damaged, or the download failed"


def view(data: memoryview, start: int, dtype: np.dtype, shape: Sequence[int], what: str) -> np.ndarray:
    """A read-only array over ``data`` from byte ``start`` on, after checking that it lies within.

    Args:
        data: the bytes.
        start: where the array starts.
        dtype: its type; a boolean's bytes must be 0 or 1.
        shape: its shape, anything that the file declared.
        what: how to call it in an error.
    """
    if len(shape) > MAX_RANK or any(size < 0 for size in shape):
        raise Refusal(f"{what} has an impossible shape: the file is damaged")
    count = math.prod(shape)
    if start < 0 or start + count * dtype.itemsize > len(data):
        raise Refusal(f"{what} does not lie within the file: it is damaged or was cut off; fetch it again")
    flat = np.frombuffer(data, np.uint8 if dtype.kind == "b" else dtype, count, start)
    if dtype.kind == "b":
        if count and flat.max() > 1:
            raise Refusal(f"{what} is boolean and holds other values than 0 and 1: the file is damaged")
        flat = flat.view(bool)
    flat = flat.reshape(tuple(shape))
    flat.flags.writeable = False
    return flat


def disjoint(ranges: Iterable[tuple[int, int, str]]) -> None:
    """Refuses parts ``(start, end, name)`` of a file that overlap."""
    last, owner = 0, "the header"
    for start, end, name in sorted(ranges):
        if start < last and end > start:
            raise Refusal(f"{name} and {owner} overlap: the file is damaged")
        if end > start:
            last, owner = end, name


def text(raw: bytes | memoryview | str, what: str) -> str:
    """A name out of a file; refused unless it is printable UTF-8 of a sane length."""
    if len(raw) > 4 * MAX_NAME:
        raise Refusal(f"{what} is {len(raw)} characters long: the file is damaged")
    try:
        name = raw if isinstance(raw, str) else bytes(raw).decode()
    except UnicodeDecodeError:
        raise Refusal(f"{what} is not text: the file is damaged") from None
    if not name or len(name) > MAX_NAME or not name.isprintable():
        raise Refusal(f"{what} is empty or not printable: the file is damaged")
    return name
