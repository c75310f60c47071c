"""Making an index what its folder is: only what is new goes through the network, and a kill loses nothing."""

import dataclasses
import functools
import itertools
import pathlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from cwcf_jax import indexing, reranking
from cwcf_jax.collection import encoding, whitening
from cwcf_jax.collection.changes import Changes, File, find_changes
from cwcf_jax.collection.settings import Settings, generation_folder, maps_folder, read_header
from cwcf_jax.collection.table import Entry, LanceStore, Store
from cwcf_jax.datasets import Resize, read_size
from cwcf_jax.descriptors import Whitening
from cwcf_jax.encoder import Model
from cwcf_jax.indexing import Extraction
from cwcf_jax.store import ClassVectorStore, ClassVectorWriter, Layout, MapFiles, read_maps

SMALL, LARGE = 64, 512
"""Pictures that are committed, and kept together in the class-vector store, in a small and in a large collection."""

MANY = 5000
"""Pictures from which on a collection is large."""

Progress = Callable[[str, int, int], object]
"""Called with what is being done, how many are finished and how many there are."""


@dataclasses.dataclass(frozen=True)
class Update:
    """What an update found and did: numbers of pictures, and what could not be read and why."""

    added: int
    changed: int
    moved: int
    removed: int
    unchanged: int
    refused: tuple[str, ...]


def open_table(generation: pathlib.Path, settings: Settings) -> Store:
    """The pictures and descriptors of a generation."""
    return LanceStore(generation / "table", settings.dim)


def forget_maps(maps: MapFiles, table: Store) -> None:
    """Removes the maps of pictures that are not in the table."""
    for content in maps.names() - {entry.content for entry in table.entries()}:
        maps.remove(content)


class Updater:
    """One update, by whoever holds the index's lock.

    Everything is found again by content: maps are files of their own, class vectors and table rows are committed in
    that order a window at a time. Rows of class vectors that no entry names are what a kill between the two left.
    """

    def __init__(
        self, folder: pathlib.Path, root: pathlib.Path, model: Callable[[], Model], progress: Progress
    ) -> None:
        self._folder, self._root, self._load, self._progress = folder, root, model, progress
        self._header = read_header(folder)
        self._extraction = Extraction(Resize.parse(self._header.settings.resize))

    def run(self, paths: Sequence[str], *, whole: bool) -> Update:
        """Looks at files; ``whole``: they are all that there are."""
        table = self._table() if self._header.generation else None
        known = {entry.path: entry for entry in table.entries()} if table else {}
        self._progress("looking for changes", 0, len(paths))
        changes = find_changes(self._root, paths, known, whole=whole)
        fresh: dict[str, list[File]] = {}
        for file in (*changes.changed, *changes.added):
            fresh.setdefault(file.content, []).append(file)
        refused: dict[str, str] = {}
        with MapFiles(maps_folder(self._folder), self._header.conditions()) as maps:
            if fresh and table is None:
                refused = self._begin(maps, fresh)
            if self._header.generation:
                table = table or self._table()
                self._copy(table, (*changes.touched, *changes.copied))
                refused |= self._encode(maps, table, {name: fresh[name] for name in fresh if name not in refused})
                table.remove([*changes.gone, *(file.path for file in changes.changed if file.content in refused)])
                forget_maps(maps, table)
                if changes.gone or changes.touched or changes.copied or fresh:
                    table.tidy()
        return _update(changes, known, refused)

    def _table(self) -> Store:
        return open_table(generation_folder(self._folder, self._header.generation), self._header.settings)

    def _begin(self, maps: MapFiles, fresh: dict[str, list[File]]) -> dict[str, str]:
        """The first generation: its whitening, fitted on a sample of the pictures where there are enough."""
        contents = list(fresh)
        model, dim = self._load(), self._header.settings.dim
        places = np.linspace(0, len(contents) - 1, min(len(contents), whitening.SAMPLE), dtype=int)
        sample = [contents[i] for i in places]
        refused = self._keep(maps, fresh, sample, "reading a sample")
        sample = [content for content in sample if content in maps]
        if len(sample) == 0:
            return refused
        if len(sample) < whitening.ENOUGH:
            fitted = whitening.none(dim, model.feature_dim)
        else:
            read = functools.partial(read_maps, maps.folder)
            batches = (found for _, found in reranking.map_batches(read, sample))
            fitted = whitening.fit(model, batches, dim, f"{len(sample)} pictures of the folder")
        self._start_generation(fitted, LARGE if len(contents) >= MANY else SMALL)
        return refused

    def _start_generation(self, fitted: Whitening, fragment: int) -> None:
        header = dataclasses.replace(self._header, generation=self._header.generation + 1)
        place = generation_folder(self._folder, header.generation)
        place.mkdir(exist_ok=True)
        whitening.save(fitted, place)
        self._writer(place, fitted, fragment).close()
        header.write(self._folder)
        self._header = header

    def _keep(self, maps: MapFiles, files: dict[str, list[File]], contents: Sequence[str], what: str) -> dict[str, str]:
        """Maps of pictures by content, and why some have none."""
        done = itertools.count()

        def count(more: int) -> None:
            for _ in range(more):
                self._progress(what, next(done) + 1, len(contents))

        paths = {content: self._root / files[content][0].path for content in contents}
        return encoding.keep_maps(maps, self._load(), self._extraction, paths, count)

    def _copy(self, table: Store, files: Sequence[File]) -> None:
        """Entries for files whose content is in the table under this or another path."""
        if not files:
            return
        _, entries, descriptors = table.snapshot()
        place = {entry.content: i for i, entry in enumerate(entries)}
        rows = [place[file.content] for file in files]
        copies = [
            dataclasses.replace(entries[row], path=file.path, modified=file.modified, seen=file.seen)
            for row, file in zip(rows, files, strict=True)
        ]
        table.put(copies, descriptors[rows])

    def _encode(self, maps: MapFiles, table: Store, files: dict[str, list[File]]) -> dict[str, str]:
        """Pictures by content into the class-vector store and the table; why some cannot be."""
        refused: dict[str, str] = {}
        if not files:
            return refused
        place = generation_folder(self._folder, self._header.generation)
        fitted = whitening.read(place)
        contents = list(files)
        with self._writer(place, fitted) as writer:
            window = writer.layout.fragment
            for start in range(0, len(contents), window):
                part = contents[start : start + window]
                refused |= self._keep(maps, files, part, f"encoding {start} of {len(contents)}")
                part = [content for content in part if content not in refused]
                found = encoding.describe(maps.folder, part, self._load(), fitted, self._header.settings.num_classes)
                rows = dict(zip(part, itertools.count(writer.length), strict=False))
                if part:
                    kept = [found[content] for content in part]
                    writer.append(np.stack([one.values for one in kept]), np.stack([one.scales for one in kept]))
                    writer.flush()
                entries = [self._entry(file, rows[content]) for content in part for file in files[content]]
                if entries:
                    table.put(entries, np.stack([found[entry.content].descriptor for entry in entries]))
        return refused

    def _entry(self, file: File, row: int) -> Entry:
        height, width = read_size(self._root / file.path)
        return Entry(file.path, file.content, file.size, file.modified, file.seen, width, height, row)

    def _writer(self, place: pathlib.Path, fitted: Whitening, fragment: int = SMALL) -> ClassVectorWriter:
        """The class-vector store of a generation, begun if it is not there."""
        vectors = place / "vectors"
        if vectors.is_dir():
            layout = ClassVectorStore(vectors).layout
        else:
            classes = tuple(range(self._load().network.spec.num_classes))
            layout = Layout(classes, fitted.dim, "int8", fragment)
        conditions = {**self._header.conditions(), "whitening": indexing.fingerprint_whitening(fitted)}
        return ClassVectorWriter(vectors, conditions, layout)


def _update(changes: Changes, known: Mapping[str, Entry], refused: Mapping[str, str]) -> Update:
    left = {known[path].content for path in changes.gone}
    moved = len({file.content for file in changes.copied} & left)
    added = sum(file.content not in refused for file in changes.added)
    return Update(
        added=added + len(changes.copied) - moved,
        changed=sum(file.content not in refused for file in changes.changed),
        moved=moved,
        removed=len(changes.gone) - moved,
        unchanged=changes.unchanged + len(changes.touched),
        refused=(*changes.unreadable, *refused.values()),
    )
