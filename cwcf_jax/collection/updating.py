"""Making an index what its folder is: only what is new goes through the network, and a kill loses nothing."""

import collections
import dataclasses
import functools
import itertools
import pathlib
import shutil
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from cwcf_jax import indexing, reranking
from cwcf_jax.collection import whitening
from cwcf_jax.collection.changes import Changes, File, find_changes
from cwcf_jax.collection.opened import drop_table, name_table, open_table
from cwcf_jax.collection.settings import generation_folder, maps_folder, read_header
from cwcf_jax.collection.table import Entry, Store
from cwcf_jax.collection.workers import Here, Workers
from cwcf_jax.datasets import ImageError, Resize, read_size
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
        self,
        folder: pathlib.Path,
        root: pathlib.Path,
        model: Callable[[], Model],
        progress: Progress,
        workers: Workers | None = None,
    ) -> None:
        self._folder, self._root, self._load, self._progress = folder, root, model, progress
        self._header = read_header(folder)
        settings = self._header.settings
        self._workers = workers or Here(
            maps_folder(folder), model, Extraction(Resize.parse(settings.resize)), settings.num_classes
        )

    def run(self, paths: Sequence[str], *, whole: bool) -> Update:
        """Looks at files; ``whole``: they are all that there are."""
        table = self._table() if self._header.generation else None
        known = {entry.path: entry for entry in table.entries()} if table else {}
        self._sweep()
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
                refused |= self._encode({name: fresh[name] for name in fresh if name not in refused})
                table.remove([*changes.gone, *(file.path for file in changes.changed if file.content in refused)])
                forget_maps(maps, table)
                refused |= self._restore(maps, table) if whole else {}
                if changes.gone or changes.touched or changes.copied or fresh:
                    table.tidy()
        if table and ClassVectorStore(self._vectors()).length > 2 * len(table.entries()) + LARGE:
            self.rebuild(refit=False)
        return _update(changes, known, refused)

    def _vectors(self) -> pathlib.Path:
        return generation_folder(self._folder, self._header.generation) / "vectors"

    def _table(self) -> Store:
        return open_table(generation_folder(self._folder, self._header.generation), self._header.settings)

    def _begin(self, maps: MapFiles, fresh: dict[str, list[File]]) -> dict[str, str]:
        """The first generation: its whitening, fitted on a sample of the pictures where there are enough."""
        sample = _sample(list(fresh))
        refused = self._keep(fresh, sample, 0, len(fresh))
        sample = [content for content in sample if content in maps]
        if sample:
            place = self._new_generation(self._fit(maps, sample), len(fresh))
            self._switch(place)
        return refused

    def _fit(self, maps: MapFiles, sample: Sequence[str]) -> Whitening:
        model, dim = self._load(), self._header.settings.dim
        if len(sample) < whitening.ENOUGH:
            return whitening.none(dim, model.feature_dim)
        read = functools.partial(read_maps, maps.folder)
        batches = (found for _, found in reranking.map_batches(read, sample))
        return whitening.fit(model, batches, dim, f"{len(sample)} pictures of the folder")

    def _new_generation(self, fitted: Whitening, pictures: int) -> int:
        """Its whitening and an empty class-vector store."""
        number = self._header.generation + 1
        self._sweep()
        place = generation_folder(self._folder, number)
        place.mkdir()
        name_table(place)
        whitening.save(fitted, place)
        classes = tuple(range(self._load().network.spec.num_classes))
        layout = Layout(classes, fitted.dim, "int8", LARGE if pictures >= MANY else SMALL)
        ClassVectorWriter(place / "vectors", self._conditions(fitted), layout).close()
        return number

    def _sweep(self) -> None:
        """Removes all generations but the current: earlier ones, and what a killed process left of a later one."""
        for other in self._folder.glob("generation-*"):
            if other != generation_folder(self._folder, self._header.generation):
                drop_table(other, self._header.settings)
                shutil.rmtree(other)

    def _switch(self, number: int) -> None:
        """From now on this generation counts; the one before stays for a while, for searches that began with it."""
        self._header = dataclasses.replace(read_header(self._folder), generation=number)
        self._header.write(self._folder)

    def rebuild(self, *, refit: bool) -> None:
        """A new generation from the maps of all pictures, with the same whitening or one fitted on them."""
        before = generation_folder(self._folder, self._header.generation)
        entries = open_table(before, self._header.settings).entries()
        contents = list(dict.fromkeys(entry.content for entry in entries))
        with MapFiles(maps_folder(self._folder), self._header.conditions()) as maps:
            fitted = self._fit(maps, _sample(contents)) if refit and contents else whitening.read(before)
            number = self._new_generation(fitted, len(contents))
            place = generation_folder(self._folder, number)
            by_content: dict[str, list[Entry]] = {}
            for entry in entries:
                by_content.setdefault(entry.content, []).append(entry)
            self._describe(place, by_content)
        self._switch(number)

    def _keep(self, files: dict[str, list[File]], contents: Sequence[str], start: int, total: int) -> dict[str, str]:
        """Maps of pictures by content, ``start`` of ``total`` being finished; why some have none."""
        done = start

        def count(more: int) -> None:
            nonlocal done
            done += more
            self._progress("encoding", done, total)

        paths = {content: self._root / files[content][0].path for content in contents}
        return self._workers.keep_maps(paths, count)

    def _restore(self, maps: MapFiles, table: Store) -> dict[str, str]:
        """Maps that were lost, made anew from files that are known to be as they were; why some cannot be."""
        there = maps.names()
        lost = {entry.content: self._root / entry.path for entry in table.entries() if entry.content not in there}
        return self._workers.keep_maps(lost, lambda _: None) if lost else {}

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

    def _encode(self, files: dict[str, list[File]]) -> dict[str, str]:
        """Pictures by content through the network and into the current generation; why some cannot be."""
        refused: dict[str, str] = {}
        place = generation_folder(self._folder, self._header.generation)
        contents, window = list(files), max(self._workers.window, LARGE if len(files) >= MANY else SMALL)
        for start in range(0, len(contents), window):
            part = contents[start : start + window]
            refused |= self._keep(files, part, start, len(contents))
            entries: dict[str, list[Entry]] = {}
            for name in part:
                try:
                    if name not in refused:
                        entries[name] = [self._entry(file) for file in files[name]]
                except ImageError as error:  # changed or gone since its pass
                    refused[name] = str(error)
            self._describe(place, entries)
        return refused

    def _describe(self, place: pathlib.Path, entries: Mapping[str, Sequence[Entry]]) -> None:
        """Pictures by content, whose maps are kept, into a generation: class vectors, then the table."""
        if not entries:
            return
        fitted, table = whitening.read(place), open_table(place, self._header.settings)
        layout = ClassVectorStore(place / "vectors").layout
        contents = list(entries)
        with ClassVectorWriter(place / "vectors", self._conditions(fitted), layout) as writer:
            for start in range(0, len(contents), layout.fragment):
                part = contents[start : start + layout.fragment]
                found = self._workers.describe(part, fitted)
                rows = dict(zip(part, itertools.count(writer.length), strict=False))
                kept = [found[content] for content in part]
                writer.append(np.stack([one.values for one in kept]), np.stack([one.scales for one in kept]))
                writer.flush()
                put = [dataclasses.replace(entry, row=rows[name]) for name in part for entry in entries[name]]
                table.put(put, np.stack([found[entry.content].descriptor for entry in put]))

    def _entry(self, file: File) -> Entry:
        height, width = read_size(self._root / file.path)
        return Entry(file.path, file.content, file.size, file.modified, file.seen, width, height, row=-1)

    def _conditions(self, fitted: Whitening) -> dict[str, str | None]:
        return {**self._header.conditions(), "whitening": indexing.fingerprint_whitening(fitted)}


def _sample(contents: Sequence[str]) -> list[str]:
    """As many as a whitening is fitted on, evenly spread."""
    places = np.linspace(0, len(contents) - 1, min(len(contents), whitening.SAMPLE), dtype=int)
    return [contents[i] for i in places]


def _update(changes: Changes, known: Mapping[str, Entry], refused: Mapping[str, str]) -> Update:
    copied = [file for file in changes.copied if file.path not in known]
    left = collections.Counter(known[path].content for path in changes.gone)
    moved = (collections.Counter(file.content for file in copied) & left).total()
    added = sum(file.content not in refused for file in changes.added)
    changed = sum(file.content not in refused for file in changes.changed)
    return Update(
        added=added + len(copied) - moved,
        changed=changed + len(changes.copied) - len(copied),
        moved=moved,
        removed=len(changes.gone) - moved,
        unchanged=changes.unchanged + len(changes.touched),
        refused=(*changes.unreadable, *refused.values()),
    )
