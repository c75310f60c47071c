"""A folder of photographs that can be searched, and that stays right as the folder changes."""

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
from cwcf_jax.index.reader import NAME, IndexReader
from cwcf_jax.index.search import Hit, Searcher
from cwcf_jax.index.updater import Progress, Updater, forget_maps
from cwcf_jax.store import MapStore, StoreBusyError, claim_location


@dataclasses.dataclass(frozen=True)
class Status:
    """An index at a glance: pictures, bytes on disk, what its whitening was fitted on, and how it was made."""

    root: Root
    pictures: int
    disk: int
    whitening: str
    settings: IndexConfig


class Index(IndexReader):
    """The index of one folder; any number of processes read it, one at a time changes it."""

    @classmethod
    def create(cls, root: str | Root, settings: IndexConfig, *, folder: str | pathlib.Path | None = None) -> "Index":
        """An empty index of a folder of photographs; `update` fills it.

        Args:
            root: the folder of the photographs, or its address on an object store such as ``s3://bucket/folder``.
            settings: see `settings_for`.
            folder: where the index goes; None: ``.cwcf`` inside ``root``, which must not be an address then.

        Raises:
            FileExistsError: there is an index already, or the store is another's.
            ValueError, FileNotFoundError: the settings cannot be used.
        """
        root = find_root(root)
        root = root.absolute() if isinstance(root, pathlib.Path) else root
        list_pictures(root)  # an error if there is no such folder
        place = default_folder(root) if folder is None else pathlib.Path(folder).absolute()
        if (place / "index.json").exists():
            raise FileExistsError(f"{place} is an index already")
        inside = isinstance(root, pathlib.Path) and place == root / NAME
        model, fingerprint = load_model(settings)
        dim = min(settings.dim or model.feature_dim, model.feature_dim)
        count = min(settings.num_classes, model.network.spec.num_labels)
        settings = dataclasses.replace(settings, dim=dim, num_classes=count, feature_layer=model.feature_layer.name)
        place.mkdir(parents=True, exist_ok=True)
        if settings.store:
            claim_location(settings.store, f"the index {place} of {root}")
        Header(".." if inside else str(root), settings, fingerprint).write(place)
        return cls(place, model=model)

    def search(
        self,
        picture: str | Picture | np.ndarray,
        *,
        box: Corners | None = None,
        options: QueryConfig | None = None,
        count: int = 20,
        first: int = 0,
    ) -> list[Hit]:
        """The pictures that are most like one, or a region of it, best first; see `Searcher` for more than one search.

        Args:
            picture: a file's path, an address, or [height, width, 3] uint8 RGB.
            box: the region, ``x1 y1 x2 y2`` in pixels of the upright picture.
            options: how to search.
            count: how many.
            first: how many of the best are passed over.

        Raises:
            ImageError: the file is no picture; ValueError: no such region or class; errors of `generation`.
        """
        options = options or QueryConfig()
        image = picture if isinstance(picture, np.ndarray) else read_image(picture)
        searcher = self._searcher
        query = searcher.describe(searcher.prepare(image), box, options.classes)
        return searcher.search(query, options, count=count, first=first)

    @functools.cached_property
    def _searcher(self) -> Searcher:
        return Searcher(self)

    def searcher(self, *, ray: str | None = None, deadline: float = 60.0) -> Searcher:
        """For more than one search.

        Args:
            ray: address of a Ray cluster whose actors hold the pictures and rank them, see `ray_search`; None: this
                process does.
            deadline: seconds that they have for an answer.
        """
        if ray is None:
            return Searcher(self)
        module = _on_ray("ray_ranker")
        actors = module.start(ray)
        return Searcher(self, hold=lambda places: module.RayRanker(places, actors, deadline))

    def status(self) -> Status:
        """Its state, for people."""
        disk = sum(file.stat().st_size for file in self.folder.rglob("*") if file.is_file())
        if not self.header().generation:
            return Status(self.root, 0, disk, "", self.settings)
        fitted = whitening.read(self.generation()).fitted_on
        return Status(self.root, len(self.table().entries()), disk, fitted, self.settings)

    def update(self, progress: Progress | None = None, *, ray: str | None = None) -> Update:
        """Makes the index what the folder is: only what is new or changed goes through the network.

        Args:
            progress: see `Progress`.
            ray: address of a Ray cluster whose actors encode, see `ray_encoding.RayEncoding`; None: this process does.

        Raises:
            DatasetError: the folder is gone.
            StoreBusyError: another process is changing the index.
            OSError: the disk is full or cannot be written; what was there before can still be searched.
        """
        root = self.root.listed() if isinstance(self.root, ObjectFolder) else self.root
        paths = [path.as_posix() for path in list_pictures(root)]
        removed = set(self.header().removed)
        with self._changing(progress, ray, root) as updater:
            return updater.run([path for path in paths if path not in removed], whole=True)

    def add(
        self, paths: Iterable[str | pathlib.Path], progress: Progress | None = None, *, ray: str | None = None
    ) -> Update:
        """Takes in some pictures of the folder, those that were removed included; arguments as in `update`.

        Raises:
            ValueError: a path that is not below the folder; else as `update`.
        """
        named = list(dict.fromkeys(self.relative(path) for path in paths))
        with self._locked():
            self._write_removed(set(self.header().removed) - set(named))
        with self._changing(progress, ray) as updater:
            return updater.run(named, whole=False)

    def remove(self, paths: Iterable[str | pathlib.Path]) -> int:
        """Forgets pictures, whose files stay where they are, until they are added by name; says how many there were.

        Raises:
            ValueError: a path that is not in the index: nothing is forgotten then.
        """
        named = [self.relative(path) for path in paths]
        with self._locked():
            table = self.table()
            known = {entry.path for entry in table.entries()}
            absent = [path for path in named if path not in known]
            if absent:
                raise ValueError(f"not in the index: {', '.join(absent)}")
            self._write_removed(set(self.header().removed) | set(named))
            table.remove(named)
            forget_maps(MapStore(maps_location(self.folder, self.settings)), table, self.settings)
        return len(set(named))

    def rebuild(self, progress: Progress | None = None, *, refit: bool = False, ray: str | None = None) -> None:
        """Makes descriptors and class vectors anew from the kept maps, without those of pictures long gone.

        Args:
            progress: see `Progress`.
            refit: fit the whitening anew, on the pictures there are now. In place of a shipped one it finds worse as a
                rule (docs/collections.md), and no call brings that one back.
            ray: as in `update`.

        Raises:
            FileNotFoundError: nothing was indexed yet; StoreBusyError: another process is changing the index;
            ValueError: the whitening of a compact index cannot be fitted anew.
        """
        self.generation()
        with self._changing(progress, ray) as updater:
            updater.rebuild(refit=refit)

    def relative(self, path: str | pathlib.Path) -> str:
        """A path as the index has it: below the root; a relative one may also be meant from here."""
        if isinstance(self.root, ObjectFolder):
            return self.root.relative(str(path))
        path, root = pathlib.Path(path), self.root.resolve()
        for meant in (path, self.root / path):
            place = meant.parent.resolve() / meant.name  # a link is a picture of its own
            if (meant.exists() or path.is_absolute()) and place.is_relative_to(root):
                return place.relative_to(root).as_posix()
        if not path.is_absolute():
            return path.as_posix()
        raise ValueError(f"{path} is not below {self.root}, whose index this is")

    @contextlib.contextmanager
    def _changing(self, progress: Progress | None, ray: str | None, root: Root | None = None) -> Iterator[Updater]:
        with self._locked(), contextlib.ExitStack() as stack:
            workers = None if ray is None else stack.enter_context(self._workers(ray))
            yield Updater(self.folder, root or self.root, lambda: self.model, progress or _silent, workers)

    def _workers(self, address: str) -> contextlib.AbstractContextManager[EncodingBackend]:
        maps = maps_location(self.folder, self.settings)
        return _on_ray("ray_encoding").RayEncoding(address, maps, self.header())

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            with files.lock(self.folder / files.LOCK, self.folder, StoreBusyError):
                yield
        except (RuntimeError, ValueError) as error:  # what LanceDB and TensorStore make of it
            if os.strerror(errno.ENOSPC) not in str(error):
                raise
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.folder)) from error

    def _write_removed(self, removed: set[str]) -> None:
        header = self.header()
        if removed != set(header.removed):
            dataclasses.replace(header, removed=tuple(sorted(removed))).write(self.folder)


def default_folder(root: Root) -> pathlib.Path:
    """Where the index of a folder of photographs goes; ValueError for an address, where none can be."""
    if isinstance(root, pathlib.Path):
        return root / NAME
    raise ValueError(f"the index of {root} needs a folder on this machine: --index=FOLDER, in Python folder=")


def _on_ray(module: str) -> Any:
    """One of the modules that need Ray."""
    try:
        return importlib.import_module(f"cwcf_jax.index.{module}")
    except ModuleNotFoundError as error:
        raise ValueError(f"{error.name} is not installed; pip install 'cwcf-jax[ray]'") from error


def _silent(what: str, done: int, total: int) -> None:
    del what, done, total
