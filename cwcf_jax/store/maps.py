"""This module stores the feature maps and CAM maps of images on a disk or an object store."""

import contextlib
import io
import pathlib
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import tensorstore

from cwcf_jax import files
from cwcf_jax.arrays import dequantize, quantize
from cwcf_jax.store import zarr
from cwcf_jax.store.folder import HEADER, StaleStoreError, StoreFolder
from cwcf_jax.store.zarr import Location

FORMATS = {"float16": 1, "int8": 2}
"""The format that each type is written in; int8 of format 1, which is not compressed, is still read."""

DTYPES = tuple(FORMATS)
SCALES_SUFFIX = " scales"
SHAPE_SUFFIX = " shape"
MAX_FLOAT16 = float(np.finfo(np.float16).max)
READ_ERRORS = OSError, ValueError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error

Name = TypeVar("Name", str, int)
"""The name of an image: a text such as the sha256 of the picture's file, or the image's number in a dataset."""


class MapStore:
    """A `MapStore` holds named maps [h, w, c] of each image, in one ``.npz`` file or one object an image.

    float16 has a relative error of at most 5e-4. int8 has an error of at most half a step, where a step is 1/127 of the
    channel's largest magnitude in the image; values below half a step become one step, because values that are not 0
    count in the channel weights (Eq. 2). int8 is compressed without loss, channel after channel: maps behind a ReLU are
    mostly 0 (docs/stores.md).

    The maps of an image appear as a whole. Any number of processes may write; several may write the maps of one image
    if all write the same. The caller ensures that nobody writes while maps are removed.

    Attributes:
        location: folder, created with its parents by the first write, or an address: see `Location`.
    """

    def __init__(self, location: Location, *, dtype: str = "int8") -> None:
        """Opens the maps at a location.

        Args:
            location: folder or address, see `Location`.
            dtype: number type of written maps, ``float16`` or ``int8``.

        Raises:
            ValueError: the type is unknown.
        """
        if dtype not in DTYPES:
            raise ValueError(f"unknown type of maps {dtype!r}; known: {', '.join(DTYPES)}")
        self.location, self._dtype = location, dtype
        self._folder = zarr.local_folder(location)
        self._kvstore = zarr.connect(location)

    @classmethod
    @contextlib.contextmanager
    def exclusive(
        cls, folder: str | pathlib.Path, fingerprint: Mapping[str, Any], *, dtype: str = "float16"
    ) -> Iterator["MapStore"]:
        """Opens the maps in a folder and locks the folder against other calls of `exclusive`; errors: `StoreFolder`."""
        maps = cls(folder, dtype=dtype)
        with StoreFolder(folder, maps._header(fingerprint)):
            yield maps

    def claim(self, fingerprint: Mapping[str, Any]) -> None:
        """Records the fingerprint of the maps, any JSON object; raises StaleStoreError if they have another one.

        Maps of format 1 are kept, and the folder becomes format 2, so that earlier versions do not read new maps.
        """
        header = self._header(fingerprint)
        if self._dtype == "int8" and zarr.read_json(self._kvstore, HEADER) == {**header, "format": 1}:
            zarr.write_json(self._kvstore, HEADER, header)
        if self._folder is not None:
            self._folder.mkdir(parents=True, exist_ok=True)
            files.claim(self._folder / HEADER, header, StaleStoreError)
            return
        stored = zarr.read_json(self._kvstore, HEADER)
        if stored is None:
            zarr.write_json(self._kvstore, HEADER, header)
        else:
            files.compare(str(self.location), stored, header, StaleStoreError)

    def sweep(self) -> None:
        """Removes the partial files of killed writers; no process may write at the same time."""
        if self._folder is not None:
            for partial in self._folder.glob(f"*/*{files.PARTIAL}"):
                partial.unlink()

    def __contains__(self, name: str | int) -> bool:
        key = _key(name)
        if self._folder is not None:
            return (self._folder / key).exists()
        return bool(self._kvstore.list(tensorstore.KvStore.KeyRange(key, key + "\0")).result())

    def missing(self, names: Sequence[Name]) -> list[Name]:
        """Returns the images without maps."""
        return [name for name in names if name not in self]

    def names(self) -> set[str]:
        """Returns the names of the images with maps that are named by a text."""
        if self._folder is not None:
            return {file.stem for file in self._folder.glob("*/*.npz")}
        keys = (pathlib.PurePosixPath(key.decode()) for key in self._kvstore.list().result())
        return {key.stem for key in keys if key.suffix == ".npz"}

    def write(self, name: str | int, /, **maps: np.ndarray) -> None:
        """Writes the maps of one image; values beyond float16 are clipped to its largest value."""
        key, compact = _key(name), self._dtype == "int8"
        if self._folder is None:
            content = io.BytesIO()
            _dump(content, maps, compact=compact)
            self._kvstore.write(key, content.getvalue()).result()
            return
        file = self._folder / key
        file.parent.mkdir(parents=True, exist_ok=True)
        # Missing maps are computed anew. Syncing the folder would cost 3 ms more a file (0.5 MB, ext4).
        with files.replacing(file, durable=False, shared=True) as partial, partial.open("wb") as stream:
            _dump(stream, maps, compact=compact)

    def read(self, name: str | int) -> dict[str, np.ndarray]:
        """Reads the maps of one image: float16, or float32 if stored as int8.

        Raises:
            StaleStoreError: the file or object is missing or damaged; the message names it.
        """
        key = _key(name)
        path = f"{self.location}/{key}" if self._folder is None else self._folder / key
        try:
            if isinstance(path, pathlib.Path):
                with path.open("rb") as stream:  # numpy does not close a damaged file
                    return _load(stream)
            answer = self._kvstore.read(key).result()
            if answer.state != "value":
                raise FileNotFoundError("no such object")
            return _load(io.BytesIO(answer.value))
        except READ_ERRORS as error:
            raise StaleStoreError(f"{path} cannot be read ({error}); remove it to have it computed anew") from error

    def remove(self, name: str | int) -> None:
        """Removes the maps of an image, if there are any."""
        if self._folder is None:
            self._kvstore.write(_key(name), None).result()
        else:
            (self._folder / _key(name)).unlink(missing_ok=True)

    def _header(self, fingerprint: Mapping[str, Any]) -> dict[str, Any]:
        dtype = {"dtype": self._dtype} if self._dtype != "float16" else {}
        return {"format": FORMATS[self._dtype], **dtype, **fingerprint}


def _key(name: str | int) -> str:
    return f"{name[:2]}/{name}.npz" if isinstance(name, str) else f"{name:07d}.npz"


def _dump(stream: io.BufferedIOBase, maps: Mapping[str, np.ndarray], *, compact: bool) -> None:
    """Writes the maps of one image, in int8 if ``compact``, otherwise in float16."""
    arrays: dict[str, np.ndarray] = {}
    for name, values in maps.items():
        clipped = np.clip(values, -MAX_FLOAT16, MAX_FLOAT16)
        if compact:
            steps, arrays[name + SCALES_SUFFIX] = quantize(clipped, axis=(0, 1), keep_nonzero=True)
            arrays[name], arrays[name + SHAPE_SUFFIX] = _compress(steps), np.array(steps.shape)
        else:
            arrays[name] = clipped.astype(np.float16)
    np.savez(stream, allow_pickle=False, **arrays)


def _load(stream: io.BufferedIOBase) -> dict[str, np.ndarray]:
    """Reads maps that `_dump` wrote; raises one of ``READ_ERRORS`` for any other content."""
    with np.load(stream) as content:
        names = [name for name in content.files if not name.endswith((SCALES_SUFFIX, SHAPE_SUFFIX))]
        return {name: _read(content, name) for name in names}


def _read(content: np.lib.npyio.NpzFile, name: str) -> np.ndarray:
    values = content[name]
    if values.dtype == np.float16:
        return values
    if values.dtype == np.uint8:
        values = _expand(values, content[name + SHAPE_SUFFIX].tolist())
    return dequantize(values, content[name + SCALES_SUFFIX], axis=(0, 1))


def _compress(steps: np.ndarray) -> np.ndarray:
    """Deflates int8 maps, channels first, so that zeros follow zeros.

    Only repeated bytes are searched for (``Z_RLE``): the result is smaller than with zlib's default search, in a fifth
    of the time.
    """
    compressor = zlib.compressobj(strategy=zlib.Z_RLE, memLevel=zlib.DEF_MEM_LEVEL + 1)
    data = compressor.compress(np.ascontiguousarray(np.moveaxis(steps, -1, 0)).tobytes()) + compressor.flush()
    return np.frombuffer(data, np.uint8)


def _expand(data: np.ndarray, shape: list[int]) -> np.ndarray:
    height, width, channels = shape
    size = height * width * channels
    values = zlib.decompressobj().decompress(data.tobytes(), size + 1)
    if len(values) != size:
        raise ValueError(f"{len(values)} values in maps of {size} values")
    return np.moveaxis(np.frombuffer(values, np.int8).reshape(channels, height, width), 0, -1)
