"""Making an index what its folder is: only what is new goes through the network, and a kill loses nothing."""

import contextlib
import dataclasses
import itertools
import pathlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from cwcf_jax import encoder, files
from cwcf_jax.descriptors import Whitening
from cwcf_jax.encoder import Model
from cwcf_jax.images import ImageError, Root, read_size
from cwcf_jax.index import whitening
from cwcf_jax.index.changes import ListedFile, Update, find_changes, summarize
from cwcf_jax.index.encoding import VectorBlock, choose_layout
from cwcf_jax.index.encoding_backend import EncodingBackend, LocalEncoding
from cwcf_jax.index.index_config import IndexConfig, generation_folder, maps_location, read_header
from cwcf_jax.index.reader import GenerationPaths, find_places, name_generation, open_table, remove_generation
from cwcf_jax.index.table import TableEntry, TableStore
from cwcf_jax.search import reranking
from cwcf_jax.store import ClassVectorStore, ClassVectorWriter, MapStore

SMALL, LARGE = 64, 512
"""Pictures that are committed, and kept together in the class-vector store, in a small and in a large collection."""

MANY = 5000
"""Pictures from which on a collection is large."""

Progress = Callable[[str, int, int], object]
"""Called with what is being done, how many are finished and how many there are."""


def forget_maps(maps: MapStore, table: TableStore, settings: IndexConfig) -> None:
    """Removes the maps of pictures that are not in the table; in a compact index, all maps."""
    kept = set() if settings.compact else {entry.content for entry in table.entries()}
    for content in maps.names() - kept:
        maps.remove(content)


class Updater:
    """One update, by whoever holds the index's lock.

    Everything is found again by content: maps are files of their own, class vectors and table rows are committed in
    that order a window at a time. Rows of class vectors that no entry names are what a kill between the two left.
    """

    def __init__(
        self,
        folder: pathlib.Path,
        root: Root,
        model: Callable[[], Model],
        progress: Progress,
        workers: EncodingBackend | None = None,
    ) -> None:
        self._folder, self._root, self._load, self._progress = folder, root, model, progress
        self._header = read_header(folder)
        self._settings = self._header.settings
        maps = maps_location(folder, self._settings)
        self._maps = MapStore(maps)
        self._workers = workers or LocalEncoding(maps, model, self._settings)

    def run(self, paths: Sequence[str], *, whole: bool) -> Update:
        """Looks at files; ``whole``: they are all that there are."""
        self._maps.claim(self._header.conditions())
        self._maps.sweep()
        table = self._table() if self._header.generation else None
        known = {entry.path: entry for entry in table.entries()} if table else {}
        self._sweep()
        self._progress("looking for changes", 0, len(paths))
        changes = find_changes(self._root, paths, known, whole=whole)
        fresh: dict[str, list[ListedFile]] = {}
        for file in (*changes.changed, *changes.added):
            fresh.setdefault(file.content, []).append(file)
        refused: dict[str, str] = {}
        if fresh and table is None:
            refused = self._begin(fresh)
        if self._header.generation:
            table = table or self._table()
            self._copy(table, (*changes.touched, *changes.copied))
            refused |= self._encode({name: fresh[name] for name in fresh if name not in refused})
            table.remove([*changes.gone, *(file.path for file in changes.changed if file.content in refused)])
            forget_maps(self._maps, table, self._settings)
            refused |= self._restore(table) if whole and not self._settings.compact else {}
            if changes.gone or changes.touched or changes.copied or fresh:
                table.tidy()
        if table and ClassVectorStore(self._places().vectors).length > 2 * len(table.entries()) + LARGE:
            self.rebuild(refit=False)
        return summarize(changes, known, refused)

    def _generation(self) -> pathlib.Path:
        return generation_folder(self._folder, self._header.generation)

    def _places(self) -> GenerationPaths:
        return find_places(self._generation(), self._settings)

    def _table(self) -> TableStore:
        return open_table(self._places())

    def _begin(self, fresh: dict[str, list[ListedFile]]) -> dict[str, str]:
        """The first generation, with the whitening that ships or one fitted on a sample of the pictures."""
        sample = _sample(list(fresh))
        refused = self._keep(fresh, sample, 0, len(fresh))
        sample = [content for content in sample if content in self._maps]
        if sample:
            self._switch(self._new_generation(self._fit(sample, own=False), len(fresh)))
        return refused

    def _fit(self, sample: Sequence[str], *, own: bool) -> Whitening:
        """The whitening that ships, unless none fits or ``own`` asks for the sample's and there are enough pictures."""
        model, dim = self._load(), self._settings.dim
        if not own or len(sample) < whitening.MIN_PICTURES:
            with contextlib.suppress(encoder.NoWhiteningError):
                return encoder.shipped_whitening(model, dim=dim)
        if len(sample) < whitening.MIN_PICTURES:
            return whitening.none(dim, model.feature_dim)
        batches = (found for _, found in reranking.map_batches(self._maps.read, sample))
        return whitening.fit(model, batches, dim, f"{len(sample)} pictures of the folder")

    def _new_generation(self, fitted: Whitening, pictures: int) -> int:
        """Its whitening and an empty class-vector store."""
        number = self._header.generation + 1
        self._sweep()
        place = generation_folder(self._folder, number)
        files.make_folder(place)
        name_generation(place)
        fragment = LARGE if pictures >= MANY else SMALL
        layout = choose_layout(self._load().network.spec.num_labels, fitted.dim, fragment, self._settings)
        vectors = find_places(place, self._settings).vectors
        ClassVectorWriter(vectors, self._conditions(fitted), layout).close()
        whitening.save(fitted, place)  # last: it puts the names of the other two on the disk as well
        return number

    def _sweep(self) -> None:
        """Removes all generations but the current: earlier ones, and what a killed process left of a later one."""
        for other in self._folder.glob("generation-*"):
            if other != self._generation():
                remove_generation(other, self._settings)

    def _switch(self, number: int) -> None:
        """From now on this generation counts; the one before stays for a while, for searches that began with it."""
        self._header = dataclasses.replace(read_header(self._folder), generation=number)
        self._header.write(self._folder)

    def rebuild(self, *, refit: bool) -> None:
        """A new generation from the maps of all pictures, with the same whitening or one fitted on them.

        A compact index has no maps: what it keeps of each picture is copied, and another whitening a ValueError.
        """
        if self._settings.compact:
            if refit:
                raise ValueError(
                    f"{self._folder} is compact: it keeps no maps to fit a whitening on. Remove it and index the "
                    "folder anew"
                )
            self._copy_generation()
            return
        entries = self._table().entries()
        contents = list(dict.fromkeys(entry.content for entry in entries))
        fitted = self._fit(_sample(contents), own=True) if refit and contents else whitening.read(self._generation())
        number = self._new_generation(fitted, len(contents))
        by_content: dict[str, list[TableEntry]] = {}
        for entry in entries:
            by_content.setdefault(entry.content, []).append(entry)
        self._describe(generation_folder(self._folder, number), by_content)
        self._switch(number)

    def _copy_generation(self) -> None:
        """A new generation of the same pictures, without what is left of others."""
        _, entries, descriptors = self._table().snapshot()
        old = ClassVectorStore(self._places().vectors)
        contents = {entry.content: entry.row for entry in entries}
        number = self._new_generation(whitening.read(self._generation()), len(contents))
        places = find_places(generation_folder(self._folder, number), self._settings)
        layout, kept = ClassVectorStore(places.vectors).layout, np.array(list(contents.values()), np.int64)
        with ClassVectorWriter(places.vectors, old.fingerprint, layout) as writer:
            for start in range(0, len(kept), layout.fragment):
                runs = old.vectors(kept[start : start + layout.fragment], np.arange(len(layout.classes)))
                assert runs.scales is not None
                writer.append(runs.values[runs.positions].swapaxes(0, 1), runs.scales[runs.positions].T)
        rows = {content: row for row, content in enumerate(contents)}
        open_table(places).put([dataclasses.replace(one, row=rows[one.content]) for one in entries], descriptors)
        self._switch(number)

    def _keep(
        self, files: dict[str, list[ListedFile]], contents: Sequence[str], start: int, total: int
    ) -> dict[str, str]:
        """Maps of pictures by content, ``start`` of ``total`` being finished; why some have none."""
        done = start

        def count(more: int) -> None:
            nonlocal done
            done += more
            self._progress("encoding", done, total)

        paths = {content: self._root / files[content][0].path for content in contents}
        return self._workers.keep_maps(paths, count)

    def _restore(self, table: TableStore) -> dict[str, str]:
        """Maps that were lost, made anew from files that are known to be as they were; why some cannot be."""
        there = self._maps.names()
        lost = {entry.content: self._root / entry.path for entry in table.entries() if entry.content not in there}
        return self._workers.keep_maps(lost, lambda _: None) if lost else {}

    def _copy(self, table: TableStore, files: Sequence[ListedFile]) -> None:
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

    def _encode(self, files: dict[str, list[ListedFile]]) -> dict[str, str]:
        """Pictures by content through the network and into the current generation; why some cannot be."""
        refused: dict[str, str] = {}
        contents, window = list(files), max(self._workers.window, LARGE if len(files) >= MANY else SMALL)
        for start in range(0, len(contents), window):
            part = contents[start : start + window]
            refused |= self._keep(files, part, start, len(contents))
            entries: dict[str, list[TableEntry]] = {}
            for name in part:
                try:
                    if name not in refused:
                        entries[name] = [self._entry(file) for file in files[name]]
                except ImageError as error:  # changed or gone since its pass
                    refused[name] = str(error)
            self._describe(self._generation(), entries)
            if self._settings.compact:
                for name in entries:
                    self._maps.remove(name)
        return refused

    def _describe(self, generation: pathlib.Path, pictures: Mapping[str, Sequence[TableEntry]]) -> None:
        """Pictures by content, whose maps are kept, into a generation: class vectors, then the table."""
        if not pictures:
            return
        fitted, places = whitening.read(generation), find_places(generation, self._settings)
        table, layout = open_table(places), ClassVectorStore(places.vectors).layout
        contents, window = list(pictures), max(self._workers.window, layout.fragment)
        with ClassVectorWriter(places.vectors, self._conditions(fitted), layout) as writer:
            for start in range(0, len(contents), window):
                following = iter(contents[start : start + window])
                rows = writer.reserve(min(window, len(contents) - start))
                parts = [
                    VectorBlock(places.vectors, one.start, tuple(itertools.islice(following, one.stop - one.start)))
                    for one in rows
                ]
                entries, descriptors = [], []
                for part, found in self._workers.keep_vectors(parts, fitted):
                    for row, (content, descriptor) in enumerate(zip(part.contents, found, strict=True), part.first):
                        entries += [dataclasses.replace(entry, row=row) for entry in pictures[content]]
                        descriptors += [descriptor] * len(pictures[content])
                writer.commit(rows[-1].stop - rows[0].start)
                table.put(entries, np.stack(descriptors))

    def _entry(self, file: ListedFile) -> TableEntry:
        height, width = read_size(self._root / file.path)
        return TableEntry(file.path, file.content, file.size, file.modified, file.seen, width, height, row=-1)

    def _conditions(self, fitted: Whitening) -> dict[str, str]:
        pooling = self._settings.pooling
        chosen = {} if pooling == "sum" else {"pooling": pooling}  # indexes from before there was a choice stay good
        chosen |= {"regions": str(encoder.GRID_LEVELS)} if self._settings.compact else {}
        return {**self._header.conditions(), **chosen, "whitening": whitening.fingerprint(fitted)}


def _sample(contents: Sequence[str]) -> list[str]:
    """As many as a whitening is fitted on, evenly spread."""
    places = np.linspace(0, len(contents) - 1, min(len(contents), whitening.SAMPLE), dtype=int)
    return [contents[i] for i in places]
