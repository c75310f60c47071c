"""This module defines what all readers share: errors, the result, and the identification of a file's content."""

import dataclasses
import pathlib

import numpy as np

MAX_NAME_CHARS = 1024  # the longest names in published files have about 100 characters
DAMAGED = "the file is damaged or was cut off; fetch it again"
MAGIC_BYTES = (
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
    """Raised when a file has another format than its suffix says, is damaged or would run code.

    The message starts with the path, gives the reason and, where possible, a remedy.
    """


class Refusal(Exception):  # noqa: N818 - callers never see it: `formats.read` turns it into a FormatError
    """Raised by a reader that refuses a file; the message has the reason, without the path."""


@dataclasses.dataclass(frozen=True)
class WeightsFile:
    """A `WeightsFile` holds the arrays of a file of weights under the file's own keys.

    Attributes:
        format: "caffe", "keras", "torch", "safetensors" or "npz".
        arrays: read-only arrays by key; some are views of the mapped file, which must not be overwritten meanwhile.
        notes: facts that the file states about itself, and decisions of the reader.
    """

    format: str
    arrays: dict[str, np.ndarray]
    notes: dict[str, str]


def identify(path: pathlib.Path) -> str:
    """Returns the kind of a file according to its first bytes, for error messages."""
    with path.open("rb") as file:
        head = file.read(512)
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype", b"<html")):
        return "a web page (HTML): the download failed and its error or log-in page was saved; fetch it again"
    for magic, name in MAGIC_BYTES:
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


def check_name(name: str, subject: str) -> str:
    """Returns a name from a file; raises Refusal if it is empty, not printable or longer than `MAX_NAME_CHARS`."""
    if not 0 < len(name) <= MAX_NAME_CHARS or not name.isprintable():
        raise Refusal(f"{subject} is empty, too long or not printable: {DAMAGED}")
    return name


def decode_name(raw: bytes, subject: str) -> str:
    """Decodes a name that a file has as UTF-8; raises Refusal as in `check_name`, or if the name is not UTF-8."""
    try:
        return check_name(raw.decode(), subject)
    except UnicodeDecodeError:
        raise Refusal(f"{subject} is not text: {DAMAGED}") from None
