"""This module stores rows of named float32 arrays on disk, row by row, so that a killed run can be resumed.

A store is a folder with ``fingerprint.json``, one flat little-endian float32 file per field, and ``done``, which has
one byte per image, written after the image's data. After a kill, the next run writes the rows that are not done.
"""

import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cwcf_jax.store.folder import StaleStoreError, StoreFolder

FORMAT = 2


class RowStore(StoreFolder):
    """A `RowStore` holds, for every image of a list, one row of each of several fields.

    Attributes:
        length: number of rows, done or not.
        arrays: arrays [n, ...] by field, memory-mapped and read-only.
    """

    def __init__(
        self,
        folder: str | pathlib.Path,
        fingerprint: Mapping[str, Any],
        *,
        length: int,
        fields: Mapping[str, tuple[int, ...]],
    ) -> None:
        """Opens the store in ``folder``, or starts a new one.

        Args:
            folder: folder of the store, created with its parents if missing.
            fingerprint: fingerprint of the rows; any JSON object.
            length: number of images.
            fields: shape of one row of each field.

        Raises:
            StaleStoreError: the folder holds a store with another fingerprint or shape, or other files.
            StoreBusyError: another process has the store open.
        """
        self._descriptors: dict[str, int] = {}
        super().__init__(folder, {"format": FORMAT, "length": length, "fields": fields, **fingerprint})
        self.length = length
        shapes = {name: (length, *shape) for name, shape in fields.items()}
        try:
            self._descriptors["done"] = _allocate(self.folder / "done", length, fixed=False)
            has_rows = any(os.pread(self._descriptors["done"], length, 0))
            for name, shape in shapes.items():
                self._descriptors[name] = _allocate(self.folder / f"{name}.f32", 4 * _count(shape), fixed=has_rows)
            self.arrays = {
                name: np.memmap(self.folder / f"{name}.f32", "<f4", "r", shape=shape) for name, shape in shapes.items()
            }
        except BaseException:
            self.close()
            raise

    @property
    def done(self) -> np.ndarray:
        """Returns which rows are written, [n] bool."""
        return np.frombuffer(os.pread(self._descriptors["done"], self.length, 0), np.uint8).astype(bool)

    def missing(self) -> np.ndarray:
        """Returns the indices of the rows that are not written yet."""
        return np.flatnonzero(~self.done)

    def write(self, index: int, /, **rows: np.ndarray) -> None:
        """Writes one row; ``rows`` must have all fields and no others."""
        if not 0 <= index < self.length:
            raise IndexError(f"there is no row {index} in a store of {self.length} rows")
        if rows.keys() != self.arrays.keys():
            raise ValueError(f"a row has the fields {', '.join(self.arrays)}, not {', '.join(rows)}")
        for name, row in rows.items():
            expected = self.arrays[name].shape[1:]
            if row.shape != expected:
                raise ValueError(f"{name} must have shape {expected}, not {row.shape}")
        for name, row in rows.items():
            self._write(name, np.ascontiguousarray(row, "<f4").tobytes(), index)
        os.pwrite(self._descriptors["done"], b"\1", index)

    def _write(self, name: str, data: bytes, index: int) -> None:
        written = 0
        try:
            while written < len(data):
                written += os.pwrite(self._descriptors[name], data[written:], index * len(data) + written)
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self.folder / name)) from error

    def close(self) -> None:
        """Releases the store for other processes; a second call does nothing."""
        while self._descriptors:
            os.close(self._descriptors.popitem()[1])
        super().close()


def _allocate(path: pathlib.Path, size: int, *, fixed: bool) -> int:
    actual = path.stat().st_size if path.exists() else 0
    if fixed and actual != size:
        raise StaleStoreError(f"{path} has {actual} bytes instead of {size}; remove {path.parent} to start it anew")
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    if os.fstat(descriptor).st_size != size:
        os.ftruncate(descriptor, size)
    return descriptor


def _count(shape: Sequence[int]) -> int:
    return int(np.prod(shape, dtype=np.int64))
