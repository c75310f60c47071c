"""This module writes a class-vector store: images are appended one by one, and written shard by shard."""

import contextlib
import dataclasses
import itertools
from collections.abc import Mapping
from types import TracebackType
from typing import Any

import numpy as np

from cwcf_jax import files
from cwcf_jax.store import zarr
from cwcf_jax.store.class_vectors import FORMAT, parse_header, read_length
from cwcf_jax.store.folder import StaleStoreError, StoreBusyError
from cwcf_jax.store.zarr import Location, StoreConfig

TENSORSTORE_LOCK = "store.json.__lock"
"""The name of the file that TensorStore leaves behind if it is killed while it writes the header."""


class ClassVectorWriter:
    """A `ClassVectorWriter` appends images to a store; only one writer at a time may have the store open.

    Attributes:
        layout: config of the store.
        length: number of appended images, including those that are not written before their shard is full.
    """

    def __init__(self, location: Location, fingerprint: Mapping[str, Any], layout: StoreConfig) -> None:
        """Opens a store to append to, or starts a new one.

        Args:
            location: folder of the store, created with its parents if missing, or an address. Only a folder is locked;
                at an address, the caller ensures that nobody else writes.
            fingerprint: fingerprint of the vectors; any JSON object.
            layout: config of the store.

        Raises:
            StaleStoreError: the location holds a store with another fingerprint or layout, or other files.
            StoreBusyError: another process writes to the store.
        """
        self.layout = layout
        with contextlib.ExitStack() as stack:
            folder = zarr.local_folder(location)
            if folder is not None:
                folder.mkdir(parents=True, exist_ok=True)
                files.refuse_unknown_files(folder / "store.json", StaleStoreError, TENSORSTORE_LOCK)
                stack.enter_context(files.lock(folder / files.LOCK, folder, StoreBusyError))
            self._kvstore = zarr.connect(location)
            header = {"format": FORMAT, "fingerprint": dict(fingerprint), "layout": dataclasses.asdict(layout)}
            stored = zarr.read_json(self._kvstore, "store.json")
            if stored is None:  # written first, so that a kill leaves either nothing or a store without images
                zarr.write_json(self._kvstore, "store.json", header)
            else:
                stored_conditions = files.as_json(_flat(*parse_header(stored, location)))
                files.compare(str(location), stored_conditions, _flat(fingerprint, layout), StaleStoreError)
            self._values = zarr.open_values(self._kvstore, layout, create=True)
            self._scales = zarr.open_scales(self._kvstore, layout, create=True) if layout.dtype == "int8" else None
            self._committed = read_length(self._kvstore)
            self.length, self._start = self._committed, -1
            self._lock = stack.pop_all()

    def append(self, values: np.ndarray, scales: np.ndarray | None = None) -> None:
        """Appends images; full shards are on disk on return, the other images after `flush`.

        Args:
            values: shape [images, classes, dim], in the layout's type; class vectors.
            scales: shape [images, classes], for int8 only; factors of the class vectors.

        Raises:
            ValueError: the arrays do not fit the layout.
        """
        expected = (len(self.layout.classes), self.layout.dim)
        dtype = zarr.DTYPES[self.layout.dtype]
        if values.shape[1:] != expected or values.dtype != dtype:
            raise ValueError(f"class vectors must be {dtype} of shape [images, {expected[0]}, {expected[1]}]")
        if (scales is None) != (self._scales is None) or (scales is not None and scales.shape != values.shape[:2]):
            raise ValueError("int8 vectors come with scales [images, classes], float16 vectors without scales")
        appended = 0
        while appended < len(values):
            if self._start < 0:
                self._begin_shard()
            offset = self.length - self._start
            count = min(len(values) - appended, self.layout.fragment - offset)
            self._buffer[:, offset : offset + count] = values[appended : appended + count].swapaxes(0, 1)
            if scales is not None:
                self._scale_buffer[:, offset : offset + count] = scales[appended : appended + count].T
            self.length += count
            appended += count
            if self.length - self._start == self.layout.fragment:
                self.flush()
                self._start = -1

    def flush(self) -> None:
        """Writes all images that were only appended, and then the number of images."""
        if self.length == self._committed:
            return
        images = slice(self._start, self._start + self.layout.fragment)
        self._resize(images.stop)
        if self._scales is not None:
            self._scales[:, images].write(self._scale_buffer).result()
        self._values[:, images].write(self._buffer).result()
        self._commit()

    def reserve(self, images: int) -> list[slice]:
        """Reserves rows for more images, which other processes write by `write_images`; they count after `commit`.

        Returns:
            Reserved rows of each shard, in order; one process must write all rows of a shard.
        """
        self.flush()
        size, first, last = self.layout.fragment, self.length, self.length + images
        self._resize(-(-last // size) * size)
        starts = [first, *range((first // size + 1) * size, last, size)]
        return [slice(start, stop) for start, stop in itertools.pairwise([*starts, last])]

    def commit(self, images: int) -> None:
        """Records that ``images`` more images are in the store, after all of them were written."""
        self.length, self._start = self.length + images, -1
        self._commit()

    def _resize(self, images: int) -> None:
        if self._scales is not None and self._scales.shape[1] < images:
            self._scales = self._scales.resize(exclusive_max=[None, images], expand_only=True).result()
        if self._values.shape[1] < images:
            self._values = self._values.resize(exclusive_max=[None, images, None], expand_only=True).result()

    def _commit(self) -> None:
        zarr.write_json(self._kvstore, "length.json", {"images": self.length})
        self._committed = self.length

    def close(self) -> None:
        """Writes all images, and releases the lock for other processes."""
        self.flush()
        self.release()

    def release(self) -> None:
        """Releases the lock for other processes without a `flush`; a second call does nothing."""
        self._lock.close()

    def __enter__(self) -> "ClassVectorWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        else:
            self.release()

    def _begin_shard(self) -> None:
        """Makes the buffer of a shard, with the shard's images if it was written before it was full."""
        size = self.layout.fragment
        self.length = self._committed
        self._start = self.length // size * size
        shape = len(self.layout.classes), size, self.layout.dim
        self._buffer = np.zeros(shape, zarr.DTYPES[self.layout.dtype])
        self._scale_buffer = np.zeros(shape[:2], np.float32)
        if self.length > self._start:
            images = slice(self._start, self.length)
            self._buffer[:, : self.length - self._start] = self._values[:, images].read().result()
            if self._scales is not None:
                self._scale_buffer[:, : self.length - self._start] = self._scales[:, images].read().result()


def write_images(location: Location, first: int, values: np.ndarray, scales: np.ndarray | None = None) -> None:
    """Writes images into rows of one shard that a writer reserved; writing the same images again changes nothing.

    Only one process at a time may write to a shard.

    Args:
        location: location of the store.
        first: row of the first image.
        values: shape [images, classes, dim], in the layout's type; class vectors.
        scales: shape [images, classes], for int8 only; factors of the class vectors.
    """
    kvstore = zarr.connect(location)
    _, layout = parse_header(zarr.read_json(kvstore, "store.json"), location)
    images = slice(first, first + len(values))
    if scales is not None:
        zarr.open_scales(kvstore, layout, create=True)[:, images].write(scales.T).result()
    zarr.open_values(kvstore, layout, create=True)[:, images].write(values.swapaxes(0, 1)).result()


def _flat(fingerprint: Mapping[str, Any], layout: StoreConfig) -> dict[str, Any]:
    return {**fingerprint, **dataclasses.asdict(layout)}
