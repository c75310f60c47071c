"""Maps of images on disk, for what needs more of an image than its pooled rows: regions, re-ranking, pictures.

A store is a folder with ``fingerprint.json`` and one ``.npz`` file an image, renamed into place when it is whole.
`MapStore` numbers the images of a dataset; `map_files` names them, for collections that change.
"""

import io
import pathlib
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np

from cwcf_jax import files
from cwcf_jax.store.folder import StaleStoreError, StoreFolder

FORMAT = 1
DTYPES = "float16", "int8"
SCALES = " scales"
LARGEST = float(np.finfo(np.float16).max)
DAMAGE = OSError, ValueError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile


class MapStore(StoreFolder):
    """Named maps [h, w, c] of each image.

    In float16, half the bytes, with a relative error of 5e-4 at most; or in int8, a quarter, where the error is at most
    half a 127th of a channel's largest magnitude in the image, or for numbers below that, up to that: what is not 0
    stays so, since the channel weights (Eq. 2) count it.
    """

    def __init__(
        self, folder: str | pathlib.Path, fingerprint: Mapping[str, Any], *, length: int, dtype: str = "float16"
    ) -> None:
        """Opens the store in ``folder``, or makes it; errors as in `StoreFolder`."""
        if dtype not in DTYPES:
            raise ValueError(f"unknown type of maps {dtype!r}; known: {', '.join(DTYPES)}")
        compact = {"dtype": dtype} if dtype != "float16" else {}
        super().__init__(folder, {"format": FORMAT, "length": length, **compact, **fingerprint})
        self.length = length
        self._compact = bool(compact)

    def missing(self, rows: np.ndarray) -> np.ndarray:
        """Those of the given rows that hold nothing yet."""
        return np.array([row for row in rows.tolist() if not self._file(row).exists()], np.int64)

    def write(self, index: int, **maps: np.ndarray) -> None:
        """Keeps the maps of one image; values beyond float16 are cut to its largest."""
        with files.replacing(self._file(index), lasting=False) as partial, partial.open("wb") as stream:
            dump(stream, maps, compact=self._compact)

    def read(self, row: int) -> dict[str, np.ndarray]:
        """The maps of one image, float16, or float32 if kept in int8; StaleStoreError names a damaged file."""
        file = self._file(row)
        try:
            with file.open("rb") as stream:  # numpy leaves a damaged file open
                return load(stream)
        except DAMAGE as error:
            raise damaged(file, error) from error

    def _file(self, row: int) -> pathlib.Path:
        if not 0 <= row < self.length:
            raise IndexError(f"row {row} of a store of {self.length}")
        return self.folder / f"{row:07d}.npz"


def dump(stream: io.BufferedIOBase, maps: Mapping[str, np.ndarray], *, compact: bool) -> None:
    """Writes the maps of one image; ``compact``: in int8."""
    arrays: dict[str, np.ndarray] = {}
    for name, values in maps.items():
        held = np.clip(values, -LARGEST, LARGEST)
        if compact:
            arrays[name], arrays[name + SCALES] = _quantize(held)
        else:
            arrays[name] = held.astype(np.float16)
    np.savez(stream, allow_pickle=False, **arrays)


def load(stream: io.BufferedIOBase) -> dict[str, np.ndarray]:
    """What `dump` wrote; one of ``DAMAGE`` if it is something else."""
    with np.load(stream) as content:
        names = [name for name in content.files if not name.endswith(SCALES)]
        return {
            name: content[name] * content[name + SCALES] if name + SCALES in content.files else content[name]
            for name in names
        }


def damaged(name: object, error: Exception) -> StaleStoreError:
    """The error for maps that cannot be read."""
    return StaleStoreError(f"{name} cannot be read ({error}); remove it to make it anew")


def _quantize(maps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """int8 maps and the scale [c] of each channel; numbers that round to 0 but are not become one step."""
    scales = np.abs(maps).max(axis=(0, 1)).astype(np.float32) / 127
    steps = np.rint(maps / np.where(scales > 0, scales, 1.0))
    steps = np.where((steps == 0) & (maps != 0), np.sign(maps), steps)
    return steps.astype(np.int8), scales
