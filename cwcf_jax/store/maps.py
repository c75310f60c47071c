"""Maps of images on disk, for what needs more of an image than its pooled rows: regions, re-ranking, pictures.

A store is a folder with ``fingerprint.json`` and one ``.npz`` file an image, renamed into place when it is whole.
`MapStore` numbers the images of a dataset; `MapFiles` names them, for collections that change.
"""

import pathlib
import uuid
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np

from cwcf_jax.store.folder import StaleStoreError, StoreFolder

FORMAT = 1
DTYPES = "float16", "int8"
SCALES = " scales"
LARGEST = float(np.finfo(np.float16).max)


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

    def write(self, row: int, **maps: np.ndarray) -> None:
        """Keeps the maps of one image; values beyond float16 are cut to its largest."""
        _write(self._file(row), maps, compact=self._compact)

    def read(self, row: int) -> dict[str, np.ndarray]:
        """The maps of one image, float16, or float32 if kept in int8; StaleStoreError names a damaged file."""
        return _read(self._file(row))

    def _file(self, row: int) -> pathlib.Path:
        if not 0 <= row < self.length:
            raise IndexError(f"row {row} of a store of {self.length}")
        return self.folder / f"{row:07d}.npz"


class MapFiles(StoreFolder):
    """`MapStore` for images that come and go: each has a name, such as the sha256 of its file. int8."""

    def __init__(self, folder: str | pathlib.Path, fingerprint: Mapping[str, Any]) -> None:
        """Opens the store in ``folder``, or makes it; errors as in `StoreFolder`."""
        super().__init__(folder, {"format": FORMAT, "dtype": "int8", **fingerprint})
        for partial in self.folder.glob("*/*.partial"):
            partial.unlink()  # a killed writer's; it holds the lock no more

    def __contains__(self, name: str) -> bool:
        return map_file(self.folder, name).exists()

    def write(self, name: str, **maps: np.ndarray) -> None:
        """As in `MapStore`."""
        write_maps(self.folder, name, **maps)

    def remove(self, name: str) -> None:
        """Forgets an image; one that is not there does no harm."""
        map_file(self.folder, name).unlink(missing_ok=True)

    def names(self) -> set[str]:
        """The images that are there."""
        return {file.stem for file in self.folder.glob("*/*.npz")}


def map_file(folder: pathlib.Path, name: str) -> pathlib.Path:
    """Where `MapFiles` keeps an image."""
    return folder / name[:2] / f"{name}.npz"


def write_maps(folder: pathlib.Path, name: str, **maps: np.ndarray) -> None:
    """Keeps an image in a `MapFiles`, which may be open elsewhere: a file appears whole, and twice is no harm."""
    file = map_file(folder, name)
    file.parent.mkdir(exist_ok=True)
    _write(file, maps, compact=True, partial=f".{uuid.uuid4().hex}.partial")


def read_maps(folder: pathlib.Path, name: str) -> dict[str, np.ndarray]:
    """The maps of an image of `MapFiles`, which may be open elsewhere; errors as in `MapStore.read`."""
    return _read(map_file(folder, name))


def _write(file: pathlib.Path, maps: Mapping[str, np.ndarray], *, compact: bool, partial: str = ".partial") -> None:
    arrays: dict[str, np.ndarray] = {}
    for name, values in maps.items():
        held = np.clip(values, -LARGEST, LARGEST)
        if compact:
            arrays[name], arrays[name + SCALES] = _quantize(held)
        else:
            arrays[name] = held.astype(np.float16)
    begun = file.with_suffix(partial)
    with begun.open("wb") as stream:
        np.savez(stream, allow_pickle=False, **arrays)
    begun.replace(file)


def _read(file: pathlib.Path) -> dict[str, np.ndarray]:
    try:
        with file.open("rb") as stream, np.load(stream) as content:  # numpy leaves a damaged file open
            names = [name for name in content.files if not name.endswith(SCALES)]
            return {
                name: content[name] * content[name + SCALES] if name + SCALES in content.files else content[name]
                for name in names
            }
    except (OSError, ValueError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile) as error:
        raise StaleStoreError(f"{file} cannot be read ({error}); remove it to make it anew") from error


def _quantize(maps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """int8 maps and the scale [c] of each channel; numbers that round to 0 but are not become one step."""
    scales = np.abs(maps).max(axis=(0, 1)).astype(np.float32) / 127
    steps = np.rint(maps / np.where(scales > 0, scales, 1.0))
    steps = np.where((steps == 0) & (maps != 0), np.sign(maps), steps)
    return steps.astype(np.int8), scales
