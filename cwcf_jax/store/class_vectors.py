"""This module reads the class vectors of every image from a class-vector store, for online aggregation.

``store.json`` records the fingerprint and the layout, ``length.json`` the number of complete images. ``values`` and
``scales`` are Zarr arrays (`zarr`). Images are committed one shard at a time: after a kill, a writer continues behind
the last complete shard.
"""

import collections
import contextlib
import functools
import os
import pathlib
from collections.abc import Callable, Iterator, Mapping
from concurrent import futures
from typing import Any, NamedTuple

import numpy as np
import tensorstore

from cwcf_jax import files
from cwcf_jax.store import zarr
from cwcf_jax.store.folder import StaleStoreError
from cwcf_jax.store.zarr import Location, StoreConfig

FORMAT = 1

READ_AHEAD_BYTES = 1 << 26
"""The number of bytes that are requested before they are needed."""

READER_THREADS = 4
"""The number of threads that read."""


class ClassBlock(NamedTuple):
    """A `ClassBlock` holds the class vectors of consecutive images, as arguments of `search.online_scores`.

    Attributes:
        values: shape [c, b, d]; vectors of c classes of b images.
        scales: shape [c, b]; factors of int8 vectors; None: the vectors are not int8.
        positions: shape [n]; positions of the requested classes on the first axis.
    """

    values: np.ndarray
    scales: np.ndarray | None
    positions: np.ndarray


class ClassVectorStore:
    """A `ClassVectorStore` reads a class-vector store; any number of processes may read one store.

    Images that a writer adds later are visible after the store is opened again.

    Attributes:
        layout: config of the store.
        fingerprint: fingerprint of the vectors.
        length: number of images.
    """

    def __init__(self, location: Location, fingerprint: Mapping[str, Any] | None = None) -> None:
        """Opens a store.

        Args:
            location: folder or address of the store, see `Location`.
            fingerprint: fingerprint that the store must have; None: any fingerprint.

        Raises:
            FileNotFoundError: there is no store at the location.
            StaleStoreError: the store has another fingerprint, or is damaged.
        """
        self._kvstore = zarr.connect(location)
        header = zarr.read_json(self._kvstore, "store.json")
        if header is None:
            raise FileNotFoundError(f"no class-vector store at {location}")
        self.fingerprint, self.layout = parse_header(header, location)
        if fingerprint is not None:
            files.compare(str(location), self.fingerprint, fingerprint, StaleStoreError)
        self.length = read_length(self._kvstore)
        self._location, self._folder = location, zarr.local_folder(location)
        self._mappable = self._folder is not None and not self.layout.own  # compressed chunks cannot be mapped
        self._mapped: dict[int, tuple[np.ndarray, np.ndarray | None]] = {}
        if not self._mappable and self.length:
            with self._explain_errors():
                self._values = zarr.open_values(self._kvstore, self.layout, create=False)
                self._scales = zarr.open_scales(self._kvstore, self.layout, create=False) if self._scaled else None

    def __len__(self) -> int:
        return self.length

    def positions(self, class_ids: np.ndarray) -> np.ndarray:
        """Returns the positions of classes on the first axis of ``values``.

        Raises:
            ValueError: there is no class, a class twice, or a class that the store does not hold.
        """
        if len(np.unique(class_ids)) != len(class_ids) or len(class_ids) == 0:
            raise ValueError("a query's classes must be distinct, and at least one")
        known = np.asarray(self.layout.classes)
        positions = np.searchsorted(known, class_ids)
        absent = known[np.minimum(positions, len(known) - 1)] != class_ids
        if np.any(absent):
            listed = ", ".join(map(str, np.asarray(class_ids)[absent][:8]))
            raise ValueError(f"the store holds {len(known)} classes, but not {listed}")
        return positions.astype(np.int32)

    def shards(self) -> list[slice]:
        """Returns the rows of the images in each shard, in order."""
        size = self.layout.fragment
        return [slice(start, min(start + size, self.length)) for start in range(0, self.length, size)]

    def read(self, positions: np.ndarray, shards: range | None = None) -> Iterator[tuple[slice, ClassBlock]]:
        """Yields the rows of the images in some shards, by default all, and the images' vectors of some classes.

        The next shards are read in advance. In the last shard, vectors beyond the last image are undefined.
        """
        ahead = max(READER_THREADS, READ_AHEAD_BYTES // (self._chunk_bytes * len(positions)))
        pending: collections.deque[Callable[[], ClassBlock]] = collections.deque()
        with futures.ThreadPoolExecutor(READER_THREADS) as pool:
            shard_rows = self.shards()
            chosen = range(len(shard_rows)) if shards is None else shards
            for i, shard in enumerate(chosen):
                while len(pending) <= ahead and i + len(pending) < len(chosen):
                    pending.append(self._request(chosen[i + len(pending)], positions, pool))
                yield shard_rows[shard], pending.popleft()()

    def vectors(self, rows: np.ndarray, positions: np.ndarray) -> ClassBlock:
        """Reads the class vectors of any images, ``values`` [n, r, d]; meant for a few images."""
        shape = len(positions), len(rows), self.layout.dim
        values = np.zeros(shape, zarr.DTYPES[self.layout.dtype])
        scales = np.zeros(shape[:2], np.float32) if self._scaled else None
        shards = np.asarray(rows) // self.layout.fragment
        for shard in np.unique(shards).tolist():
            columns = np.flatnonzero(shards == shard)
            offsets = np.asarray(rows)[columns] - shard * self.layout.fragment
            block = ClassBlock(*self._map(shard), positions) if self._mappable else self._fetch(shard, positions)
            values[:, columns] = block.values[block.positions[:, None], offsets]
            if scales is not None and block.scales is not None:
                scales[:, columns] = block.scales[block.positions[:, None], offsets]
        return ClassBlock(values, scales, np.arange(len(positions), dtype=np.int32))

    @property
    def _scaled(self) -> bool:
        return self.layout.dtype == "int8"

    @property
    def _chunk_bytes(self) -> int:
        """Returns the number of bytes of one class in a shard."""
        return self.layout.fragment * self.layout.dim * zarr.DTYPES[self.layout.dtype].itemsize

    def _request(self, shard: int, positions: np.ndarray, pool: futures.Executor) -> Callable[[], ClassBlock]:
        """Returns a function that returns the block of a shard; a thread reads the block unless it is in memory."""
        if self._mappable and page_cache_holds(self._file("values", shard), self._chunk_bytes, positions):
            return functools.partial(ClassBlock, *self._map(shard), positions)
        return pool.submit(self._fetch, shard, positions).result

    def _fetch(self, shard: int, positions: np.ndarray) -> ClassBlock:
        """Reads the block of a shard; a mapped block is still being read into the page cache on return."""
        if not self._mappable:
            images = slice(shard * self.layout.fragment, (shard + 1) * self.layout.fragment)
            chosen = tensorstore.d[0][positions.tolist()]
            with self._explain_errors():
                if self._folder is not None:
                    self._file("values", shard).stat()  # TensorStore would read zeros from a missing file
                values = self._values[chosen][:, images].read()
                scales = None if self._scales is None else self._scales[chosen][:, images].read().result()
                return ClassBlock(values.result(), scales, np.arange(len(positions), dtype=np.int32))
        block = ClassBlock(*self._map(shard), positions)
        for name, array in (("values", block.values), ("scales", block.scales)):
            if array is not None:
                _advise(self._file(name, shard), array[0].nbytes, positions)
        return block

    @contextlib.contextmanager
    def _explain_errors(self) -> Iterator[None]:
        """Adds what to do to the errors of TensorStore, which name the file."""
        try:
            yield
        except (*zarr.FAILURES, OSError) as error:
            raise StaleStoreError(f"{self._location} cannot be read ({error}); write the store anew") from error

    def _map(self, shard: int) -> tuple[np.ndarray, np.ndarray | None]:
        if shard not in self._mapped:
            values = zarr.map_values(self._file("values", shard), self.layout)
            scales = zarr.map_scales(self._file("scales", shard), self.layout) if self._scaled else None
            self._mapped[shard] = values, scales
        return self._mapped[shard]

    def _file(self, name: str, shard: int) -> pathlib.Path:
        assert self._folder is not None
        return self._folder / name / "c" / "0" / str(shard) / ("0" if name == "values" else "")


def _advise(path: pathlib.Path, chunk_bytes: int, positions: np.ndarray) -> None:
    """Tells the operating system which chunks of a file will be read, if the system takes such advice."""
    if not hasattr(os, "posix_fadvise"):
        return
    file = os.open(path, os.O_RDONLY)
    try:
        for position in np.sort(positions).tolist():
            os.posix_fadvise(file, position * chunk_bytes, chunk_bytes, os.POSIX_FADV_WILLNEED)
    finally:
        os.close(file)


def page_cache_holds(path: pathlib.Path, chunk_bytes: int, positions: np.ndarray) -> bool:
    """Checks whether the page cache holds the first byte of some chunks of a file; false if the system cannot tell.

    Args:
        path: path of the file.
        chunk_bytes: number of bytes of a chunk.
        positions: numbers of the chunks, from the beginning of the file.
    """
    if not hasattr(os, "RWF_NOWAIT"):
        return False
    try:
        with path.open("rb", buffering=0) as file:
            probe = [bytearray(1)]
            return all(os.preadv(file.fileno(), probe, chunk_bytes * i, os.RWF_NOWAIT) == 1 for i in positions.tolist())
    except OSError:  # not cached, not supported by the file system, or no file; reading the file will raise
        return False


def read_length(kvstore: tensorstore.KvStore) -> int:
    """Reads the number of complete images."""
    record = zarr.read_json(kvstore, "length.json")
    try:
        length = 0 if record is None else int(record["images"])
        if length < 0:
            raise ValueError(f"{length} images")
    except (TypeError, KeyError, ValueError) as error:
        raise StaleStoreError(f"{kvstore.path}length.json is damaged ({error!r}); write the store anew") from error
    return length


def parse_header(header: Any, location: Location) -> tuple[dict[str, Any], StoreConfig]:
    """Returns the fingerprint and the layout in ``store.json``; raises StaleStoreError if they cannot be used."""
    try:
        if header["format"] != FORMAT:
            raise ValueError(f"format {header['format']}, this version reads format {FORMAT}")
        layout = header["layout"]
        return header["fingerprint"], StoreConfig(**{**layout, "classes": tuple(layout["classes"])})
    except (TypeError, KeyError, ValueError) as error:
        raise StaleStoreError(f"store.json of {location} cannot be used ({error}); write the store anew") from error
