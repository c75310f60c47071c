"""Maps of images on a disk or an object store, for what needs more of an image than its pooled rows."""

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
"""Of each type; int8 of format 1, not compressed, is still read."""

DTYPES = tuple(FORMATS)
SCALES = " scales"
SHAPE = " shape"
LARGEST = float(np.finfo(np.float16).max)
DAMAGE = OSError, ValueError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error

Name = TypeVar("Name", str, int)
"""Of an image: a text such as the sha256 of its file, or its number in a dataset."""


class MapStore:
    """Named maps [h, w, c] of each image: one ``.npz`` file an image in a folder, or one object on an object store.

    In float16, half the bytes, with a relative error of 5e-4 at most; or in int8, where the error is at most half a
    127th of a channel's largest magnitude in the image, or for numbers below that, up to that: what is not 0 stays so,
    since the channel weights (Eq. 2) count it. int8 is compressed without loss, channel after channel: maps behind a
    ReLU are mostly 0 (docs/stores.md).

    The maps of an image appear whole. Any number of processes may write, the maps of one image included if all write
    the same. Whoever removes maps sees to it that nobody writes meanwhile.

    Attributes:
        location: a folder, made with its parents when it is written to, or an address: see `Location`.
    """

    def __init__(self, location: Location, *, dtype: str = "int8") -> None:
        """Opens the maps at a location.

        Raises:
            ValueError: no such type.
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
        """The maps in a folder that no other process opens by `exclusive` meanwhile; errors as in `StoreFolder`."""
        maps = cls(folder, dtype=dtype)
        with StoreFolder(folder, maps._header(fingerprint)):
            yield maps

    def claim(self, fingerprint: Mapping[str, Any]) -> None:
        """Records what the maps depend on, anything JSON can hold; StaleStoreError if they depend on something else.

        Maps of format 1 stay, and count as format 2 from now on, so that no earlier version takes new ones for its own.
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
        """Removes what killed writers left; nobody may write meanwhile."""
        if self._folder is not None:
            for partial in self._folder.glob(f"*/*{files.PARTIAL}"):
                partial.unlink()

    def __contains__(self, name: str | int) -> bool:
        key = _key(name)
        if self._folder is not None:
            return (self._folder / key).exists()
        return bool(self._kvstore.list(tensorstore.KvStore.KeyRange(key, key + "\0")).result())

    def missing(self, names: Sequence[Name]) -> list[Name]:
        """Those of the images whose maps are not there."""
        return [name for name in names if name not in self]

    def names(self) -> set[str]:
        """The images with maps that have a text for a name."""
        if self._folder is not None:
            return {file.stem for file in self._folder.glob("*/*.npz")}
        keys = (pathlib.PurePosixPath(key.decode()) for key in self._kvstore.list().result())
        return {key.stem for key in keys if key.suffix == ".npz"}

    def write(self, name: str | int, /, **maps: np.ndarray) -> None:
        """Keeps the maps of one image; values beyond float16 are cut to its largest."""
        key, compact = _key(name), self._dtype == "int8"
        if self._folder is None:
            content = io.BytesIO()
            _dump(content, maps, compact=compact)
            self._kvstore.write(key, content.getvalue()).result()
            return
        file = self._folder / key
        file.parent.mkdir(parents=True, exist_ok=True)
        # Maps are made anew where they are missing. A name that lasts would cost 3 ms more a file (0.5 MB, ext4).
        with files.replacing(file, lasting=False, shared=True) as partial, partial.open("wb") as stream:
            _dump(stream, maps, compact=compact)

    def read(self, name: str | int) -> dict[str, np.ndarray]:
        """The maps of one image, float16, or float32 from int8; StaleStoreError names what is damaged or not there."""
        key = _key(name)
        shown = f"{self.location}/{key}" if self._folder is None else self._folder / key
        try:
            if isinstance(shown, pathlib.Path):
                with shown.open("rb") as stream:  # numpy leaves a damaged file open
                    return _load(stream)
            found = self._kvstore.read(key).result()
            if found.state != "value":
                raise FileNotFoundError("no such object")
            return _load(io.BytesIO(found.value))
        except DAMAGE as error:
            raise StaleStoreError(f"{shown} cannot be read ({error}); remove it to make it anew") from error

    def remove(self, name: str | int) -> None:
        """Forgets an image; one that is not there does no harm."""
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
    """Writes the maps of one image; ``compact``: in int8."""
    arrays: dict[str, np.ndarray] = {}
    for name, values in maps.items():
        held = np.clip(values, -LARGEST, LARGEST)
        if compact:
            steps, arrays[name + SCALES] = quantize(held, axis=(0, 1), keep_nonzero=True)
            arrays[name], arrays[name + SHAPE] = _compressed(steps), np.array(steps.shape)
        else:
            arrays[name] = held.astype(np.float16)
    np.savez(stream, allow_pickle=False, **arrays)


def _load(stream: io.BufferedIOBase) -> dict[str, np.ndarray]:
    """What `_dump` wrote; one of ``DAMAGE`` if it is something else."""
    with np.load(stream) as content:
        names = [name for name in content.files if not name.endswith((SCALES, SHAPE))]
        return {name: _read(content, name) for name in names}


def _read(content: np.lib.npyio.NpzFile, name: str) -> np.ndarray:
    values = content[name]
    if values.dtype == np.float16:
        return values
    if values.dtype == np.uint8:
        values = _expanded(values, content[name + SHAPE].tolist())
    return dequantize(values, content[name + SCALES], axis=(0, 1))


def _compressed(steps: np.ndarray) -> np.ndarray:
    """Deflated, channels first: in the order of a map zeros follow zeros.

    Repeated bytes are all that is looked for (``Z_RLE``): it finds more here than zlib's search does, in a fifth of the
    time.
    """
    packer = zlib.compressobj(strategy=zlib.Z_RLE, memLevel=zlib.DEF_MEM_LEVEL + 1)
    data = packer.compress(np.ascontiguousarray(np.moveaxis(steps, -1, 0)).tobytes()) + packer.flush()
    return np.frombuffer(data, np.uint8)


def _expanded(data: np.ndarray, shape: list[int]) -> np.ndarray:
    height, width, channels = shape
    size = height * width * channels
    values = zlib.decompressobj().decompress(data.tobytes(), size + 1)
    if len(values) != size:
        raise ValueError(f"{len(values)} values of maps that have {size}")
    return np.moveaxis(np.frombuffer(values, np.int8).reshape(channels, height, width), 0, -1)
