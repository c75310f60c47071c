"""All class vectors of every image on disk, class by class, for online aggregation.

``store.json`` says what the vectors depend on, ``length.json`` how many images are whole, ``values`` and ``scales`` are
Zarr arrays (`zarr`). Images are committed a fragment at a time: a killed writer leaves whole ones, and goes on there.
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

AHEAD = 1 << 26
"""Bytes that are asked for before they are needed."""

READERS = 4
"""Threads that ask."""


class ClassBlock(NamedTuple):
    """Class vectors of consecutive images as `search.online_scores` takes them.

    ``values`` [c, b, d]; ``scales`` [c, b] or None; ``positions`` [n], where the classes that were asked for are.
    """

    values: np.ndarray
    scales: np.ndarray | None
    positions: np.ndarray


class ClassVectorStore:
    """A store to read, by any number of processes; images that a writer adds meanwhile are seen after opening it anew.

    Attributes:
        layout: what it holds of each image.
        fingerprint: what the vectors depend on.
        length: how many images.
    """

    def __init__(self, location: Location, fingerprint: Mapping[str, Any] | None = None) -> None:
        """Opens a store.

        Args:
            location: a folder, or an address: see `Location`.
            fingerprint: what its vectors must depend on; None: whatever they do.

        Raises:
            FileNotFoundError: there is none.
            StaleStoreError: it was made under other conditions, or is damaged.
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
        self._mappable = self._folder is not None and not self.layout.own  # compressed runs are no arrays
        self._mapped: dict[int, tuple[np.ndarray, np.ndarray | None]] = {}
        if not self._mappable and self.length:
            with self._told():
                self._values = zarr.open_values(self._kvstore, self.layout, create=False)
                self._scales = zarr.open_scales(self._kvstore, self.layout, create=False) if self._scaled else None

    def __len__(self) -> int:
        return self.length

    def positions(self, class_ids: np.ndarray) -> np.ndarray:
        """Where the classes are on the first axis.

        Raises:
            ValueError: no class, one twice, or one that the store does not hold.
        """
        if len(np.unique(class_ids)) != len(class_ids) or len(class_ids) == 0:
            raise ValueError("a query's classes are distinct, and at least one")
        known = np.asarray(self.layout.classes)
        found = np.searchsorted(known, class_ids)
        absent = known[np.minimum(found, len(known) - 1)] != class_ids
        if np.any(absent):
            listed = ", ".join(map(str, np.asarray(class_ids)[absent][:8]))
            raise ValueError(f"the store holds {len(known)} classes, but not {listed}")
        return found.astype(np.int32)

    def fragments(self) -> list[slice]:
        """The images of each fragment, in order."""
        size = self.layout.fragment
        return [slice(start, min(start + size, self.length)) for start in range(0, self.length, size)]

    def read(self, positions: np.ndarray, fragments: range | None = None) -> Iterator[tuple[slice, ClassBlock]]:
        """Some fragments' images, by default all, and their vectors of some classes, the next asked for meanwhile.

        The vectors beyond the images of the last fragment mean nothing.
        """
        ahead = max(READERS, AHEAD // (self._run * len(positions)))
        waiting: collections.deque[Callable[[], ClassBlock]] = collections.deque()
        with futures.ThreadPoolExecutor(READERS) as pool:
            pieces = self.fragments()
            chosen = range(len(pieces)) if fragments is None else fragments
            for i, fragment in enumerate(chosen):
                while len(waiting) <= ahead and i + len(waiting) < len(chosen):
                    waiting.append(self._ask(chosen[i + len(waiting)], positions, pool))
                yield pieces[fragment], waiting.popleft()()

    def vectors(self, rows: np.ndarray, positions: np.ndarray) -> ClassBlock:
        """The vectors of any images, ``values`` [n, r, d], for a second look at a few."""
        shape = len(positions), len(rows), self.layout.dim
        values = np.zeros(shape, zarr.DTYPES[self.layout.dtype])
        scales = np.zeros(shape[:2], np.float32) if self._scaled else None
        fragments = np.asarray(rows) // self.layout.fragment
        for i in np.unique(fragments).tolist():
            here = np.flatnonzero(fragments == i)
            inside = np.asarray(rows)[here] - i * self.layout.fragment
            found = ClassBlock(*self._map(i), positions) if self._mappable else self._fetch(i, positions)
            values[:, here] = found.values[found.positions[:, None], inside]
            if scales is not None and found.scales is not None:
                scales[:, here] = found.scales[found.positions[:, None], inside]
        return ClassBlock(values, scales, np.arange(len(positions), dtype=np.int32))

    @property
    def _scaled(self) -> bool:
        return self.layout.dtype == "int8"

    @property
    def _run(self) -> int:
        """Bytes of one class of a fragment."""
        return self.layout.fragment * self.layout.dim * zarr.DTYPES[self.layout.dtype].itemsize

    def _ask(self, i: int, positions: np.ndarray, pool: futures.Executor) -> Callable[[], ClassBlock]:
        """What gives a fragment's runs; threads read it meanwhile, unless the page cache holds them all."""
        if self._mappable and page_cache_holds(self._file("values", i), self._run, positions):
            return functools.partial(ClassBlock, *self._map(i), positions)
        return pool.submit(self._fetch, i, positions).result

    def _fetch(self, i: int, positions: np.ndarray) -> ClassBlock:
        """A fragment's runs; from a local disk they are on their way into the page cache when this returns."""
        if not self._mappable:
            images = slice(i * self.layout.fragment, (i + 1) * self.layout.fragment)
            chosen = tensorstore.d[0][positions.tolist()]
            with self._told():
                if self._folder is not None:
                    self._file("values", i).stat()  # TensorStore takes a file that is gone for zeros
                values = self._values[chosen][:, images].read()
                scales = None if self._scales is None else self._scales[chosen][:, images].read().result()
                return ClassBlock(values.result(), scales, np.arange(len(positions), dtype=np.int32))
        runs = ClassBlock(*self._map(i), positions)
        for name, runs_of in (("values", runs.values), ("scales", runs.scales)):
            if runs_of is not None:
                _advise(self._file(name, i), runs_of[0].nbytes, positions)
        return runs

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Errors of TensorStore, which name the file, say what to do as well."""
        try:
            yield
        except (*zarr.FAILURES, OSError) as error:
            raise StaleStoreError(f"{self._location} cannot be read ({error}); make the store anew") from error

    def _map(self, i: int) -> tuple[np.ndarray, np.ndarray | None]:
        if i not in self._mapped:
            values = zarr.map_values(self._file("values", i), self.layout)
            scales = zarr.map_scales(self._file("scales", i), self.layout) if self._scaled else None
            self._mapped[i] = values, scales
        return self._mapped[i]

    def _file(self, name: str, i: int) -> pathlib.Path:
        assert self._folder is not None
        return self._folder / name / "c" / "0" / str(i) / ("0" if name == "values" else "")


def _advise(path: pathlib.Path, run: int, positions: np.ndarray) -> None:
    """Tells the operating system, if it wants to know, which runs of a file will be read."""
    if not hasattr(os, "posix_fadvise"):
        return
    file = os.open(path, os.O_RDONLY)
    try:
        for position in np.sort(positions).tolist():
            os.posix_fadvise(file, position * run, run, os.POSIX_FADV_WILLNEED)
    finally:
        os.close(file)


def page_cache_holds(path: pathlib.Path, run: int, positions: np.ndarray) -> bool:
    """Whether the page cache holds the first byte of each of these runs of a file; false where the system cannot tell.

    Args:
        path: of the file.
        run: bytes of a run.
        positions: of the runs, in runs from the beginning of the file.
    """
    if not hasattr(os, "RWF_NOWAIT"):
        return False
    try:
        with path.open("rb", buffering=0) as file:
            probe = [bytearray(1)]
            return all(os.preadv(file.fileno(), probe, run * i, os.RWF_NOWAIT) == 1 for i in positions.tolist())
    except OSError:  # not without waiting, not on this file system, or no file, which whoever reads it will say
        return False


def read_length(kvstore: tensorstore.KvStore) -> int:
    """How many images are whole."""
    found = zarr.read_json(kvstore, "length.json")
    try:
        length = 0 if found is None else int(found["images"])
        if length < 0:
            raise ValueError(f"{length} images")
    except (TypeError, KeyError, ValueError) as error:
        raise StaleStoreError(f"{kvstore.path}length.json is damaged ({error!r}); make the store anew") from error
    return length


def parse_header(header: Any, location: Location) -> tuple[dict[str, Any], StoreConfig]:
    """The fingerprint and the layout of ``store.json``; StaleStoreError if they cannot be used."""
    try:
        if header["format"] != FORMAT:
            raise ValueError(f"format {header['format']}, this version knows {FORMAT}")
        layout = header["layout"]
        return header["fingerprint"], StoreConfig(**{**layout, "classes": tuple(layout["classes"])})
    except (TypeError, KeyError, ValueError) as error:
        raise StaleStoreError(f"store.json of {location} cannot be used ({error}); make the store anew") from error
