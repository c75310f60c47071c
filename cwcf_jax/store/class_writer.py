"""Writing a class-vector store: image after image in, fragments out."""

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
"""What TensorStore leaves where it was killed while it wrote the header."""


class ClassVectorWriter:
    """Appends images to a store; one at a time may have it open.

    Attributes:
        layout: what the store holds of each image.
        length: how many images it was given, those that wait for their fragment to fill up included.
    """

    def __init__(self, location: Location, fingerprint: Mapping[str, Any], layout: StoreConfig) -> None:
        """Opens a store to go on, or begins it.

        Args:
            location: a folder, made with its parents if missing, or an address. Only a folder is locked; whoever writes
                to an address sees to it that nobody else does.
            fingerprint: what the vectors depend on; anything JSON can hold.
            layout: what to hold of each image.

        Raises:
            StaleStoreError: there is a store of another fingerprint or layout, or something else.
            StoreBusyError: another process writes to it.
        """
        self.layout = layout
        with contextlib.ExitStack() as stack:
            folder = zarr.local_folder(location)
            if folder is not None:
                folder.mkdir(parents=True, exist_ok=True)
                files.refuse_strangers(folder / "store.json", StaleStoreError, TENSORSTORE_LOCK)
                stack.enter_context(files.lock(folder / files.LOCK, folder, StoreBusyError))
            self._kvstore = zarr.connect(location)
            header = {"format": FORMAT, "fingerprint": dict(fingerprint), "layout": dataclasses.asdict(layout)}
            stored = zarr.read_json(self._kvstore, "store.json")
            if stored is None:  # first: a kill before leaves nothing else, a kill after leaves a store without images
                zarr.write_json(self._kvstore, "store.json", header)
            else:
                there = files.as_json(_flat(*parse_header(stored, location)))
                files.compare(str(location), there, _flat(fingerprint, layout), StaleStoreError)
            self._values = zarr.open_values(self._kvstore, layout, create=True)
            self._scales = zarr.open_scales(self._kvstore, layout, create=True) if layout.dtype == "int8" else None
            self._committed = read_length(self._kvstore)
            self.length, self._start = self._committed, -1
            self._lock = stack.pop_all()

    def append(self, values: np.ndarray, scales: np.ndarray | None = None) -> None:
        """Adds images; what fills a fragment is on disk when this returns, the rest after `flush`.

        Args:
            values: [images, classes, dim] of the layout's type.
            scales: [images, classes], for int8.
        """
        expected = (len(self.layout.classes), self.layout.dim)
        dtype = zarr.DTYPES[self.layout.dtype]
        if values.shape[1:] != expected or values.dtype != dtype:
            raise ValueError(f"class vectors must be {dtype} of shape [images, {expected[0]}, {expected[1]}]")
        if (scales is None) != (self._scales is None) or (scales is not None and scales.shape != values.shape[:2]):
            raise ValueError("int8 vectors come with scales [images, classes], others without")
        done = 0
        while done < len(values):
            if self._start < 0:
                self._begin_fragment()
            place = self.length - self._start
            count = min(len(values) - done, self.layout.fragment - place)
            self._buffer[:, place : place + count] = values[done : done + count].swapaxes(0, 1)
            if scales is not None:
                self._scale_buffer[:, place : place + count] = scales[done : done + count].T
            self.length += count
            done += count
            if self.length - self._start == self.layout.fragment:
                self.flush()
                self._start = -1

    def flush(self) -> None:
        """Writes what waits, and then how many images there are."""
        if self.length == self._committed:
            return
        images = slice(self._start, self._start + self.layout.fragment)
        self._resize(images.stop)
        if self._scales is not None:
            self._scales[:, images].write(self._scale_buffer).result()
        self._values[:, images].write(self._buffer).result()
        self._commit()

    def reserve(self, images: int) -> list[slice]:
        """Room for more images, which others fill by `write_images`; none count before `commit`.

        Returns:
            The rows of each fragment that is touched, in order: what one process writes at once.
        """
        self.flush()
        size, first, last = self.layout.fragment, self.length, self.length + images
        self._resize(-(-last // size) * size)
        starts = [first, *range((first // size + 1) * size, last, size)]
        return [slice(start, stop) for start, stop in itertools.pairwise([*starts, last])]

    def commit(self, images: int) -> None:
        """From now on that many more images count, all of which were written."""
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
        """`flush`, and lets other processes write."""
        self.flush()
        self.release()

    def release(self) -> None:
        """Lets other processes write without a `flush`; twice does no harm."""
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

    def _begin_fragment(self) -> None:
        """An empty buffer, or one with the images of a fragment that was written before it was full."""
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
    """Images into rows of one fragment that a writer reserved; again does no harm. One process at a time a fragment.

    Args:
        location: of the store.
        first: row of the first.
        values: [images, classes, dim] of the layout's type.
        scales: [images, classes], for int8.
    """
    kvstore = zarr.connect(location)
    _, layout = parse_header(zarr.read_json(kvstore, "store.json"), location)
    images = slice(first, first + len(values))
    if scales is not None:
        zarr.open_scales(kvstore, layout, create=True)[:, images].write(scales.T).result()
    zarr.open_values(kvstore, layout, create=True)[:, images].write(values.swapaxes(0, 1)).result()


def _flat(fingerprint: Mapping[str, Any], layout: StoreConfig) -> dict[str, Any]:
    return {**fingerprint, **dataclasses.asdict(layout)}
