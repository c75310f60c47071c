"""Maps of images on disk, for what needs more of an image than its pooled rows: regions, re-ranking, pictures.

A store is a folder with ``fingerprint.json`` and one ``.npz`` file an image, renamed into place when it is whole.
"""

import pathlib
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np

from cwcf_jax.store.folder import StaleStoreError, StoreFolder

FORMAT = 1
LARGEST = float(np.finfo(np.float16).max)


class MapStore(StoreFolder):
    """Named maps [h, w, c] of each image, in float16: half the bytes, a relative error of 5e-4 at most."""

    def __init__(self, folder: str | pathlib.Path, fingerprint: Mapping[str, Any], *, length: int) -> None:
        """Opens the store in ``folder``, or makes it; errors as in `StoreFolder`."""
        super().__init__(folder, {"format": FORMAT, "length": length, **fingerprint})
        self.length = length

    def missing(self, rows: np.ndarray) -> np.ndarray:
        """Those of the given rows that hold nothing yet."""
        return np.array([row for row in rows.tolist() if not self._file(row).exists()], np.int64)

    def write(self, row: int, **maps: np.ndarray) -> None:
        """Keeps the maps of one image; values beyond float16 are cut to its largest."""
        file = self._file(row)
        partial = file.with_suffix(".partial")
        with partial.open("wb") as stream:
            np.savez(stream, **{name: np.clip(a, -LARGEST, LARGEST).astype(np.float16) for name, a in maps.items()})
        partial.replace(file)

    def read(self, row: int) -> dict[str, np.ndarray]:
        """The maps of one image, float16; StaleStoreError names a file that is damaged."""
        file = self._file(row)
        try:
            with file.open("rb") as stream, np.load(stream) as content:  # numpy leaves a damaged file open
                return {name: content[name] for name in content.files}
        except (OSError, ValueError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile) as error:
            raise StaleStoreError(f"{file} cannot be read ({error}); remove it to make it anew") from error

    def _file(self, row: int) -> pathlib.Path:
        if not 0 <= row < self.length:
            raise IndexError(f"row {row} of a store of {self.length}")
        return self.folder / f"{row:07d}.npz"
