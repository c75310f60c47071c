"""What the readers of all formats share: the errors, the result, and what a file looks like by its first bytes."""

import dataclasses
import pathlib

import numpy as np

MAX_NAME = 1024  # characters of a name; the longest in circulation have about 100
DAMAGED = "the file is damaged or was cut off; fetch it again"
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
class WeightsFile:
    """The arrays of a weights file under the file's own keys.

    Attributes:
        format: "caffe", "keras", "torch", "safetensors" or "npz".
        arrays: read-only; some are views of the mapped file, which must not be overwritten while they are in use.
        notes: facts that the file states about itself, and what the reader decided.
    """

    format: str
    arrays: dict[str, np.ndarray]
    notes: dict[str, str]


def looks_like(path: pathlib.Path) -> str:
    """Return what the first bytes say a file is, for error messages."""
    with path.open("rb") as file:
        head = file.read(512)
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
    if head[8:10] == b'{"' and int.from_bytes(head[:8], "little") <= path.stat().st_size:
        return "a safetensors file"
    if text.startswith((b"name:", b"layer {", b"layers {", b"input:")):
        return "a Caffe network description (.prototxt), which holds no weights: its .caffemodel is needed"
    if not head.strip(b"\0"):
        return "zeros: the download or the copy was cut off; fetch it again"
    if head.isascii() and b"\0" not in head:
        return "a text file"
    return "nothing known: the start of the file is damaged, or the download failed"


def check_name(name: str, what: str) -> str:
    """Return a name out of a file; Refusal unless it is printable and of a sane length."""
    if not 0 < len(name) <= MAX_NAME or not name.isprintable():
        raise Refusal(f"{what} is empty, too long or not printable: {DAMAGED}")
    return name


def decode_name(raw: bytes, what: str) -> str:
    """Return a name that a file holds as UTF-8; Refusal as in `check_name`."""
    try:
        return check_name(raw.decode(), what)
    except UnicodeDecodeError:
        raise Refusal(f"{what} is not text: {DAMAGED}") from None
