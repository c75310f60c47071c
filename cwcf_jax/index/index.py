"""This module defines `Index`, the index of a folder of photographs that is updated as the folder changes."""

import contextlib
import dataclasses
import errno
import functools
import importlib
import os
import pathlib
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from cwcf_jax import files
from cwcf_jax.images import ObjectFolder, Picture, Root, find_root, list_pictures, read_image
from cwcf_jax.index import whitening
from cwcf_jax.index.changes import Update
from cwcf_jax.index.encoding_backend import EncodingBackend
from cwcf_jax.index.index_config import Header, IndexConfig, load_model, maps_location
from cwcf_jax.index.queries import Corners
from cwcf_jax.index.query_config import QueryConfig
from cwcf_jax.index.reader import FOLDER_NAME, IndexReader
from cwcf_jax.index.search import Hit, Searcher
from cwcf_jax.index.updater import Progress, Updater, remove_unused_maps
from cwcf_jax.store import MapStore, StoreBusyError, claim_location


@dataclasses.dataclass(frozen=True)
class Status:
    """A `Status` is the summary of an index.

    Attributes:
        root: the folder of photographs.
        pictures: number of pictures in the index.
        disk: size of the index folder, bytes.
        whitening: the pictures that the whitening was fitted on; "nothing": a random rotation; empty: no whitening yet.
        config: the index config.
    """

    root: Root
    pictures: int
    disk: int
    whitening: str
    config: IndexConfig


class Index(IndexReader):
    """An `Index` is the index of one folder of photographs.

    Any number of processes can read it at the same time; only one process can change it at a time.
    """

    @classmethod
    def create(cls, root: str | Root, config: IndexConfig, *, folder: str | pathlib.Path | None = None) -> "Index":
        """Creates an empty index of a folder of photographs; `update` fills the index.

        Args:
            root: the folder of photographs, or its address on an object store such as ``s3://bucket/folder``.
            config: the index config, see `make_index_config`.
            folder: the folder of the index; None: ``.cwcf`` inside ``root``, which must be a local folder then.

        Raises:
            FileExistsError: the folder contains an index already, or the store belongs to another index.
            ValueError, FileNotFoundError: the index config cannot be used.
        """
        root = find_root(root)
        root = root.absolute() if isinstance(root, pathlib.Path) else root
        list_pictures(root)  # raises an error if the folder does not exist
        index_folder = default_folder(root) if folder is None else pathlib.Path(folder).absolute()
        if (index_folder / "index.json").exists():
            raise FileExistsError(f"{index_folder} is an index already")
        inside = isinstance(root, pathlib.Path) and index_folder == root / FOLDER_NAME
        model, fingerprint = load_model(config)
        dim = min(config.dim or model.feature_dim, model.feature_dim)
        count = min(config.num_classes, model.network.spec.num_labels)
        config = dataclasses.replace(config, dim=dim, num_classes=count, feature_layer=model.feature_layer.name)
        index_folder.mkdir(parents=True, exist_ok=True)
        if config.store:
            claim_location(config.store, f"the index {index_folder} of {root}")
        Header(".." if inside else str(root), config, fingerprint).write(index_folder)
        return cls(index_folder, model=model)

    def search(
        self,
        picture: str | Picture | np.ndarray,
        *,
        box: Corners | None = None,
        options: QueryConfig | None = None,
        count: int = 20,
        first: int = 0,
    ) -> list[Hit]:
        """Finds the pictures that are most similar to a picture or to a region of it; returns the best hit first.

        A `Searcher` describes a query once for several searches.

        Args:
            picture: path of a file, address, or image of shape [height, width, 3], uint8, RGB.
            box: the region, ``x1 y1 x2 y2`` in pixels of the upright picture; None: the whole picture.
            options: the query config; None: the fast search.
            count: largest number of hits.
            first: number of best hits that are skipped.

        Raises:
            ImageError: the file is no picture.
            ValueError: the region or a class does not exist.
            FileNotFoundError: the index is empty.
        """
        query_config = options or QueryConfig()
        image = picture if isinstance(picture, np.ndarray) else read_image(picture)
        searcher = self._searcher
        query = searcher.describe(searcher.prepare(image), box, query_config.classes)
        return searcher.search(query, query_config, count=count, first=first)

    @functools.cached_property
    def _searcher(self) -> Searcher:
        return Searcher(self)

    def searcher(self, *, ray: str | None = None, deadline: float = 60.0) -> Searcher:
        """Returns a searcher for any number of searches.

        Args:
            ray: address of a Ray cluster with actors that rank the pictures, see `ray_ranker`; None: this process.
            deadline: time in which all actors must answer, seconds.
        """
        if ray is None:
            return Searcher(self)
        module = _import_ray_module("ray_ranker")
        actors = module.start_actors(ray)
        return Searcher(self, open_ranker=lambda paths: module.RayRanker(paths, actors, deadline))

    def status(self) -> Status:
        """Returns the summary of the index."""
        disk = sum(file.stat().st_size for file in self.folder.rglob("*") if file.is_file())
        if not self.header().generation:
            return Status(self.root, 0, disk, "", self.config)
        fitted_on = whitening.read(self.generation()).fitted_on
        return Status(self.root, len(self.table().entries()), disk, fitted_on, self.config)

    def update(self, progress: Progress | None = None, *, ray: str | None = None) -> Update:
        """Updates the index to the pictures of the folder; only new and changed pictures go through the network.

        Args:
            progress: function that is told of the progress, see `Progress`.
            ray: address of a Ray cluster with actors that encode the pictures, see `ray_encoding.RayEncoding`; None:
                this process.

        Raises:
            DatasetError: the folder does not exist.
            StoreBusyError: another process is changing the index.
            OSError: the disk is full or read-only; the earlier pictures can still be searched.
        """
        root = self.root.listed() if isinstance(self.root, ObjectFolder) else self.root
        paths = [path.as_posix() for path in list_pictures(root)]
        removed = set(self.header().removed)
        with self._updater(progress, ray, root) as updater:
            return updater.run([path for path in paths if path not in removed], full_listing=True)

    def add(
        self, paths: Iterable[str | pathlib.Path], progress: Progress | None = None, *, ray: str | None = None
    ) -> Update:
        """Adds some pictures of the folder to the index, also pictures that were removed from it.

        Args:
            paths: paths of the pictures, see `relative`.
            progress: see `update`.
            ray: see `update`.

        Raises:
            ValueError: a path is not below the folder; other errors as in `update`.
        """
        relative_paths = list(dict.fromkeys(self.relative(path) for path in paths))
        with self._locked():
            self._write_removed(set(self.header().removed) - set(relative_paths))
        with self._updater(progress, ray) as updater:
            return updater.run(relative_paths, full_listing=False)

    def remove(self, paths: Iterable[str | pathlib.Path]) -> int:
        """Removes pictures from the index until `add` names them; returns the number of removed pictures.

        The files of the pictures stay in the folder.

        Raises:
            ValueError: a path is not in the index; then no picture is removed.
        """
        relative_paths = [self.relative(path) for path in paths]
        with self._locked():
            table = self.table()
            indexed = {entry.path for entry in table.entries()}
            unknown = [path for path in relative_paths if path not in indexed]
            if unknown:
                raise ValueError(f"not in the index: {', '.join(unknown)}")
            self._write_removed(set(self.header().removed) | set(relative_paths))
            table.remove(relative_paths)
            remove_unused_maps(MapStore(maps_location(self.folder, self.config)), table, self.config)
        return len(set(relative_paths))

    def rebuild(self, progress: Progress | None = None, *, refit: bool = False, ray: str | None = None) -> None:
        """Computes all descriptors and class vectors from the stored maps again, and drops the removed pictures.

        Args:
            progress: see `update`.
            ray: see `update`.
            refit: whether a new whitening is fitted on the pictures of the index. It usually gives worse results than
                the shipped whitening (docs/collections.md), which cannot be restored.

        Raises:
            FileNotFoundError: the index is empty.
            StoreBusyError: another process is changing the index.
            ValueError: ``refit`` for a compact index, which stores no maps.
        """
        self.generation()
        with self._updater(progress, ray) as updater:
            updater.rebuild(refit=refit)

    def relative(self, path: str | pathlib.Path) -> str:
        """Returns a path relative to the folder of photographs, as the index stores it.

        A relative path is resolved against the working directory first, then against the folder of photographs.

        Raises:
            ValueError: the path is not below the folder of photographs.
        """
        if isinstance(self.root, ObjectFolder):
            return self.root.relative(str(path))
        path, root = pathlib.Path(path), self.root.resolve()
        for candidate in (path, self.root / path):
            resolved = candidate.parent.resolve() / candidate.name  # a link is a picture of its own
            if (candidate.exists() or path.is_absolute()) and resolved.is_relative_to(root):
                return resolved.relative_to(root).as_posix()
        if not path.is_absolute():
            return path.as_posix()
        raise ValueError(f"{path} is not below {self.root}, the folder of this index")

    @contextlib.contextmanager
    def _updater(self, progress: Progress | None, ray: str | None, root: Root | None = None) -> Iterator[Updater]:
        with self._locked(), contextlib.ExitStack() as stack:
            backend = None if ray is None else stack.enter_context(self._ray_backend(ray))
            yield Updater(self.folder, root or self.root, lambda: self.model, progress or _ignore_progress, backend)

    def _ray_backend(self, address: str) -> contextlib.AbstractContextManager[EncodingBackend]:
        maps = maps_location(self.folder, self.config)
        return _import_ray_module("ray_encoding").RayEncoding(address, maps, self.header())

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            with files.lock(self.folder / files.LOCK, self.folder, StoreBusyError):
                yield
        except (RuntimeError, ValueError) as error:  # LanceDB and TensorStore raise these for a full disk
            if os.strerror(errno.ENOSPC) not in str(error):
                raise
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.folder)) from error

    def _write_removed(self, removed: set[str]) -> None:
        header = self.header()
        if removed != set(header.removed):
            dataclasses.replace(header, removed=tuple(sorted(removed))).write(self.folder)


def default_folder(root: Root) -> pathlib.Path:
    """Returns the default folder of the index of a folder of photographs; raises ValueError for an address."""
    if isinstance(root, pathlib.Path):
        return root / FOLDER_NAME
    raise ValueError(f"the index of {root} needs a folder on this machine: --index=FOLDER, in Python folder=")


def _import_ray_module(module: str) -> Any:
    """Imports a module of this package that needs Ray."""
    try:
        return importlib.import_module(f"cwcf_jax.index.{module}")
    except ModuleNotFoundError as error:
        raise ValueError(f"{error.name} is not installed; pip install 'cwcf-jax[ray]'") from error


def _ignore_progress(what: str, done: int, total: int) -> None:
    del what, done, total
