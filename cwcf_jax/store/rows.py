"""Rows of named float32 arrays on disk: filled row by row, resumable, never mixed.

A store is a folder with ``fingerprint.json``, one flat little-endian float32 file per field and ``done``, one byte per
image, written after the image's data. A killed run leaves rows that are done and rows that are not; the next run fills
in the latter.
"""

import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cwcf_jax.store.folder import StaleStoreError, StoreFolder

FORMAT = 2


class RowStore(StoreFolder):
    """One row of each of several fields for every image of a list.

    Attributes:
        length: how many rows there are, done or not.
        arrays: ``{field: [n, ...]}``, memory-mapped and read-only.
        done: [n] bool, which rows hold an image.
    """

    def __init__(
        self,
        folder: str | pathlib.Path,
        fingerprint: Mapping[str, Any],
        *,
        length: int,
        fields: Mapping[str, tuple[int, ...]],
    ) -> None:
        """Opens the store in ``folder``, or makes it.

        Args:
            folder: made with its parents if missing.
            fingerprint: what the rows depend on; anything JSON can hold.
            length: how many images.
            fields: shape of one row of each field.

        Raises:
            StaleStoreError: the folder holds a store with another fingerprint or shape, or something else.
            StoreBusyError: another process has it open.
        """
        self._files: dict[str, int] = {}
        super().__init__(folder, {"format": FORMAT, "length": length, "fields": fields, **fingerprint})
        self.length = length
        shapes = {name: (length, *shape) for name, shape in fields.items()}
        try:
            self._files["done"] = _allocate(self.folder / "done", length, fixed=False)
            begun = any(os.pread(self._files["done"], length, 0))
            for name, shape in shapes.items():
                self._files[name] = _allocate(self.folder / f"{name}.f32", 4 * _count(shape), fixed=begun)
            self.arrays = {
                name: np.memmap(self.folder / f"{name}.f32", "<f4", "r", shape=shape) for name, shape in shapes.items()
            }
        except BaseException:
            self.close()
            raise

    @property
    def done(self) -> np.ndarray:
        """[n] bool, which rows hold an image."""
        return np.frombuffer(os.pread(self._files["done"], self.length, 0), np.uint8).astype(bool)

    def missing(self) -> np.ndarray:
        """Indices of the rows that hold nothing yet."""
        return np.flatnonzero(~self.done)

    def write(self, index: int, /, **rows: np.ndarray) -> None:
        """Fills one row: every field, and no other."""
        if not 0 <= index < self.length:
            raise IndexError(f"row {index} of a store of {self.length}")
        if rows.keys() != self.arrays.keys():
            raise ValueError(f"a row has the fields {', '.join(self.arrays)}, not {', '.join(rows)}")
        for name, row in rows.items():
            expected = self.arrays[name].shape[1:]
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

    def close(self) -> None:
        """Lets other processes have it; twice does no harm."""
        while self._files:
            os.close(self._files.popitem()[1])
        super().close()


def _allocate(path: pathlib.Path, size: int, *, fixed: bool) -> int:
    found = path.stat().st_size if path.exists() else 0
    if fixed and found != size:
        raise StaleStoreError(f"{path} has {found} bytes instead of {size}; remove {path.parent} to make it anew")
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    if os.fstat(file).st_size != size:
        os.ftruncate(file, size)
    return file


def _count(shape: Sequence[int]) -> int:
    return int(np.prod(shape, dtype=np.int64))
