"""What one pass leaves of each image, on disk: filled row by row, resumable, never mixed.

A store is a folder with ``fingerprint.json``, one flat little-endian float32 file per field and ``done``, one byte per
image, written after the image's data. A killed run leaves rows that are done and rows that are not; the next run fills
in the latter.
"""

import fcntl
import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

import numpy as np

FORMAT = 1
BEGUN = ("lock", "fingerprint.partial")


class StaleStoreError(ValueError):
    """A store that was made with other weights, settings or files; the message says which."""


class StoreBusyError(RuntimeError):
    """A store that another process is writing."""


class PooledStore:
    """Rows of `encoder.Pooled` over all classes for a list of images.

    Attributes:
        sums: [n, k] raw features.
        channel_weights: [n, k].
        class_sums: [n, classes, k], row c of image i at ``class_sums[i, c]``.
        logits: [n, classes].
        done: [n] bool, which rows hold an image.

    The arrays are memory-mapped and read-only.
    """

    def __init__(
        self, folder: str | pathlib.Path, fingerprint: Mapping[str, Any], *, length: int, classes: int, dim: int
    ) -> None:
        """Opens the store in ``folder``, or makes it.

        Args:
            folder: made with its parents if missing.
            fingerprint: what the rows depend on; anything JSON can hold.
            length: how many images.
            classes: class vectors of each image.
            dim: channels of a class vector.

        Raises:
            StaleStoreError: the folder holds a store with another fingerprint or shape, or something else.
            StoreBusyError: another process has it open.
        """
        self.folder = pathlib.Path(folder)
        shapes = {
            "sums": (length, dim),
            "channel_weights": (length, dim),
            "class_sums": (length, classes, dim),
            "logits": (length, classes),
        }
        header = json.loads(json.dumps({"format": FORMAT, "length": length, "classes": classes, "dim": dim}))
        header |= json.loads(json.dumps(fingerprint))
        self.folder.mkdir(parents=True, exist_ok=True)
        file = self.folder / "fingerprint.json"
        if not file.exists() and any(path.name not in BEGUN for path in self.folder.iterdir()):
            raise StaleStoreError(f"{self.folder} is not empty and not a store; name another folder")
        self._files: dict[str, int] = {}
        self._lock: int | None = _lock(self.folder)
        try:
            self._open(header, shapes, length)
        except BaseException:
            self.close()
            raise

    def _open(self, header: dict[str, Any], shapes: Mapping[str, tuple[int, ...]], length: int) -> None:
        file = self.folder / "fingerprint.json"
        if file.exists():
            _compare(file, header)
        else:  # first: a kill before leaves nothing else, a kill after leaves a store without rows
            partial = file.with_suffix(".partial")
            partial.write_text(json.dumps(header, indent=1) + "\n")
            partial.replace(file)
        self._files["done"] = _allocate(self.folder / "done", length, fixed=False)
        begun = any(os.pread(self._files["done"], length, 0))
        for name, shape in shapes.items():
            self._files[name] = _allocate(self.folder / f"{name}.f32", 4 * _count(shape), fixed=begun)
        arrays = {
            name: np.memmap(self.folder / f"{name}.f32", "<f4", "r", shape=shape) for name, shape in shapes.items()
        }
        self.sums, self.channel_weights = arrays["sums"], arrays["channel_weights"]
        self.class_sums, self.logits = arrays["class_sums"], arrays["logits"]

    @property
    def length(self) -> int:
        """How many rows there are, done or not."""
        return int(self.sums.shape[0])

    @property
    def done(self) -> np.ndarray:
        """[n] bool, which rows hold an image."""
        return np.frombuffer(os.pread(self._files["done"], self.length, 0), np.uint8).astype(bool)

    def missing(self) -> np.ndarray:
        """Indices of the rows that hold nothing yet."""
        return np.flatnonzero(~self.done)

    def write(
        self, index: int, *, sums: np.ndarray, channel_weights: np.ndarray, class_sums: np.ndarray, logits: np.ndarray
    ) -> None:
        """Fills one row."""
        rows = {"sums": sums, "channel_weights": channel_weights, "class_sums": class_sums, "logits": logits}
        if not 0 <= index < self.length:
            raise IndexError(f"row {index} of a store of {self.length}")
        for name, row in rows.items():
            expected = getattr(self, name).shape[1:]
            if row.shape != expected:
                raise ValueError(f"{name} must have shape {expected}, not {row.shape}")
        for name, row in rows.items():
            self._write(name, np.ascontiguousarray(row, "<f4").tobytes(), index)
        os.pwrite(self._files["done"], b"\1", index)

    def _write(self, name: str, data: bytes, index: int) -> None:
        written = 0
        try:
            while written < len(data):
                written += os.pwrite(self._files[name], data[written:], index * len(data) + written)
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self.folder / name)) from error

    def class_vectors(self, rows: slice | np.ndarray, class_ids: np.ndarray) -> np.ndarray:
        """Class vectors (Eq. 4) [rows, n, k] of the given rows; ``class_ids`` [n], or [rows, n] for each its own."""
        indices = np.arange(self.length)[rows]
        chosen = np.asarray(self.class_sums[indices[:, None], class_ids])
        chosen *= self.channel_weights[rows][:, None, :]
        return chosen

    def close(self) -> None:
        """Lets other processes have it; twice does no harm."""
        while self._files:
            os.close(self._files.popitem()[1])
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> "PooledStore":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _lock(folder: pathlib.Path) -> int:
    file = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(file)
        raise StoreBusyError(f"{folder} is in use by another process; wait for it or name another folder") from error
    return file


def _allocate(path: pathlib.Path, size: int, *, fixed: bool) -> int:
    found = path.stat().st_size if path.exists() else 0
    if fixed and found != size:
        raise StaleStoreError(f"{path} has {found} bytes instead of {size}; remove {path.parent} to make it anew")
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    if os.fstat(file).st_size != size:
        os.ftruncate(file, size)
    return file


def _compare(file: pathlib.Path, header: Mapping[str, Any]) -> None:
    try:
        stored = json.loads(file.read_text())
        if not isinstance(stored, dict):
            raise ValueError("not an object")
    except (OSError, ValueError) as error:
        raise StaleStoreError(f"{file} cannot be read ({error}); remove {file.parent} to make it anew") from error
    differing = [key for key in sorted(stored.keys() | header.keys()) if stored.get(key) != header.get(key)]
    if differing:
        reasons = "\n  ".join(
            f"{key}: {_brief(stored.get(key))} there, {_brief(header.get(key))} now" for key in differing
        )
        raise StaleStoreError(
            f"{file.parent} was made under other conditions and is left alone:\n  {reasons}\n"
            "Remove it, or name another folder."
        )


def _brief(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _count(shape: Sequence[int]) -> int:
    return int(np.prod(shape, dtype=np.int64))
