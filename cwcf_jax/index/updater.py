"""This module updates an index: only new content goes through the network, and a kill loses no finished picture."""

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
from cwcf_jax.index.reader import GenerationPaths, find_generation_paths, name_generation, open_table, remove_generation
from cwcf_jax.index.table import TableEntry, TableStore
from cwcf_jax.search import reranking
from cwcf_jax.store import ClassVectorStore, ClassVectorWriter, MapStore

SMALL_FRAGMENT, LARGE_FRAGMENT = 64, 512
"""The number of pictures of a fragment and of a commit, in small and in large collections."""

LARGE_COLLECTION = 5000
"""The number of pictures from which on a collection is large."""

Progress = Callable[[str, int, int], object]
"""A function that is called with the name of the current step, the number of finished pictures, and their total."""


def remove_unused_maps(maps: MapStore, table: TableStore, config: IndexConfig) -> None:
    """Removes the maps of pictures that are not in the table; in a compact index, all maps."""
    used = set() if config.compact else {entry.content for entry in table.entries()}
    for content in maps.names() - used:
        maps.remove(content)


class Updater:
    """An `Updater` makes one update; its process must hold the lock of the index.

    Maps are written first, each under the content of its picture. Then class vectors and table entries are committed in
    this order, a window of pictures at a time. If the process is killed between the two, class vectors without a table
    entry remain until the next rebuild.
    """

    def __init__(
        self,
        folder: pathlib.Path,
        root: Root,
        model: Callable[[], Model],
        progress: Progress,
        backend: EncodingBackend | None = None,
    ) -> None:
        """Reads the header of the index.

        Args:
            folder: the folder of the index.
            root: the folder of photographs.
            model: function that returns the model; it is called when the model is needed.
            progress: function that is told of the progress.
            backend: the encoding backend; None: this process.
        """
        self._folder, self._root, self._load_model, self._progress = folder, root, model, progress
        self._header = read_header(folder)
        self._config = self._header.config
        maps = maps_location(folder, self._config)
        self._maps = MapStore(maps)
        self._backend = backend or LocalEncoding(maps, model, self._config)

    def run(self, paths: Sequence[str], *, full_listing: bool) -> Update:
        """Updates the index to some files of the folder.

        Args:
            paths: paths of the files, relative to the folder.
            full_listing: whether ``paths`` lists all pictures of the folder; then all other pictures are removed.
        """
        self._maps.claim(self._header.conditions())
        self._maps.sweep()
        table = self._table() if self._header.generation else None
        entries = {entry.path: entry for entry in table.entries()} if table else {}
        self._remove_other_generations()
        self._progress("looking for changes", 0, len(paths))
        changes = find_changes(self._root, paths, entries, full_listing=full_listing)
        new_files: dict[str, list[ListedFile]] = {}
        for file in (*changes.changed, *changes.added):
            new_files.setdefault(file.content, []).append(file)
        refused: dict[str, str] = {}
        if new_files and table is None:
            refused = self._create_first_generation(new_files)
        if self._header.generation:
            table = table or self._table()
            self._copy_entries(table, (*changes.touched, *changes.copied))
            refused |= self._encode({content: new_files[content] for content in new_files if content not in refused})
            table.remove([*changes.deleted, *(file.path for file in changes.changed if file.content in refused)])
            remove_unused_maps(self._maps, table, self._config)
            refused |= self._restore_maps(table) if full_listing and not self._config.compact else {}
            if changes.deleted or changes.touched or changes.copied or new_files:
                table.tidy()
        if table and ClassVectorStore(self._paths().vectors).length > 2 * len(table.entries()) + LARGE_FRAGMENT:
            self.rebuild(refit=False)
        return summarize(changes, entries, refused)

    def _generation(self) -> pathlib.Path:
        return generation_folder(self._folder, self._header.generation)

    def _paths(self) -> GenerationPaths:
        return find_generation_paths(self._generation(), self._config)

    def _table(self) -> TableStore:
        return open_table(self._paths())

    def _create_first_generation(self, new_files: dict[str, list[ListedFile]]) -> dict[str, str]:
        """Creates the first generation with its whitening; returns messages about unreadable pictures, by content."""
        sample = _sample(list(new_files))
        refused = self._write_maps(new_files, sample, 0, len(new_files))
        sample = [content for content in sample if content in self._maps]
        if sample:
            self._switch(self._new_generation(self._fit_whitening(sample, prefer_shipped=True), len(new_files)))
        return refused

    def _fit_whitening(self, sample: Sequence[str], *, prefer_shipped: bool) -> Whitening:
        """Returns the shipped whitening, a whitening fitted on a sample of enough pictures, or a random rotation."""
        model, dim = self._load_model(), self._config.dim
        if prefer_shipped or len(sample) < whitening.MIN_PICTURES:
            with contextlib.suppress(encoder.NoWhiteningError):
                return encoder.shipped_whitening(model, dim=dim)
        if len(sample) < whitening.MIN_PICTURES:
            return whitening.random_rotation(dim, model.feature_dim)
        batches = (batch for _, batch in reranking.map_batches(self._maps.read, sample))
        return whitening.fit(model, batches, dim, f"{len(sample)} pictures of the folder")

    def _new_generation(self, fitted: Whitening, pictures: int) -> int:
        """Creates the next generation, with a whitening and an empty class-vector store; returns its number."""
        number = self._header.generation + 1
        self._remove_other_generations()
        generation = generation_folder(self._folder, number)
        files.make_folder(generation)
        name_generation(generation)
        fragment = LARGE_FRAGMENT if pictures >= LARGE_COLLECTION else SMALL_FRAGMENT
        layout = choose_layout(self._load_model().network.spec.num_labels, fitted.dim, fragment, self._config)
        vectors = find_generation_paths(generation, self._config).vectors
        ClassVectorWriter(vectors, self._fingerprint(fitted), layout).close()
        whitening.save(fitted, generation)  # last, since it also puts the names of the other two on the disk
        return number

    def _remove_other_generations(self) -> None:
        """Removes all generations except the current one, also unfinished ones of killed processes."""
        for generation in self._folder.glob("generation-*"):
            if generation != self._generation():
                remove_generation(generation, self._config)

    def _switch(self, number: int) -> None:
        """Makes a generation the current one; the earlier one stays for running searches until the next update."""
        self._header = dataclasses.replace(read_header(self._folder), generation=number)
        self._header.write(self._folder)

    def rebuild(self, *, refit: bool) -> None:
        """Creates a new generation from the maps of all pictures, with the same or, if ``refit``, a new whitening.

        A compact index has no maps: its descriptors and region descriptors are copied.

        Raises:
            ValueError: ``refit`` for a compact index.
        """
        if self._config.compact:
            if refit:
                raise ValueError(
                    f"{self._folder} is a compact index, which stores no maps to fit a whitening on. Remove this "
                    "folder and index the photographs again"
                )
            self._copy_generation()
            return
        entries = self._table().entries()
        contents = list(dict.fromkeys(entry.content for entry in entries))
        sample = _sample(contents) if refit else []
        fitted = self._fit_whitening(sample, prefer_shipped=False) if sample else whitening.read(self._generation())
        number = self._new_generation(fitted, len(contents))
        by_content: dict[str, list[TableEntry]] = {}
        for entry in entries:
            by_content.setdefault(entry.content, []).append(entry)
        self._describe(generation_folder(self._folder, number), by_content)
        self._switch(number)

    def _copy_generation(self) -> None:
        """Creates a new generation with copies of all pictures, and without the class vectors of removed pictures."""
        _, entries, descriptors = self._table().snapshot()
        source = ClassVectorStore(self._paths().vectors)
        source_rows = {entry.content: entry.row for entry in entries}
        number = self._new_generation(whitening.read(self._generation()), len(source_rows))
        paths = find_generation_paths(generation_folder(self._folder, number), self._config)
        layout, copied = ClassVectorStore(paths.vectors).layout, np.array(list(source_rows.values()), np.int64)
        with ClassVectorWriter(paths.vectors, source.fingerprint, layout) as writer:
            for start in range(0, len(copied), layout.fragment):
                runs = source.vectors(copied[start : start + layout.fragment], np.arange(len(layout.classes)))
                assert runs.scales is not None
                writer.append(runs.values[runs.positions].swapaxes(0, 1), runs.scales[runs.positions].T)
        rows = {content: row for row, content in enumerate(source_rows)}
        open_table(paths).put([dataclasses.replace(entry, row=rows[entry.content]) for entry in entries], descriptors)
        self._switch(number)

    def _write_maps(
        self, files: dict[str, list[ListedFile]], contents: Sequence[str], start: int, total: int
    ) -> dict[str, str]:
        """Stores maps, after ``start`` of ``total`` pictures are done; returns messages about unreadable pictures."""
        done = start

        def count(more: int) -> None:
            nonlocal done
            done += more
            self._progress("encoding", done, total)

        paths = {content: self._root / files[content][0].path for content in contents}
        return self._backend.write_maps(paths, count)

    def _restore_maps(self, table: TableStore) -> dict[str, str]:
        """Computes missing maps again from unchanged files; returns messages about unreadable pictures, by content."""
        stored = self._maps.names()
        missing = {entry.content: self._root / entry.path for entry in table.entries() if entry.content not in stored}
        return self._backend.write_maps(missing, lambda _: None) if missing else {}

    def _copy_entries(self, table: TableStore, files: Sequence[ListedFile]) -> None:
        """Adds entries for files with the content of an entry, under the same or another path."""
        if not files:
            return
        _, entries, descriptors = table.snapshot()
        positions = {entry.content: i for i, entry in enumerate(entries)}
        rows = [positions[file.content] for file in files]
        copies = [
            dataclasses.replace(entries[row], path=file.path, modified=file.modified, seen=file.seen)
            for row, file in zip(rows, files, strict=True)
        ]
        table.put(copies, descriptors[rows])

    def _encode(self, files: dict[str, list[ListedFile]]) -> dict[str, str]:
        """Adds pictures to the current generation; returns messages about unreadable pictures, by content."""
        refused: dict[str, str] = {}
        contents, fragment = list(files), LARGE_FRAGMENT if len(files) >= LARGE_COLLECTION else SMALL_FRAGMENT
        window = max(self._backend.window, fragment)
        for start in range(0, len(contents), window):
            window_contents = contents[start : start + window]
            refused |= self._write_maps(files, window_contents, start, len(contents))
            entries: dict[str, list[TableEntry]] = {}
            for content in window_contents:
                try:
                    if content not in refused:
                        entries[content] = [self._entry(file) for file in files[content]]
                except ImageError as error:  # the file changed or was deleted after its pass
                    refused[content] = str(error)
            self._describe(self._generation(), entries)
            if self._config.compact:
                for content in entries:
                    self._maps.remove(content)
        return refused

    def _describe(self, generation: pathlib.Path, pictures: Mapping[str, Sequence[TableEntry]]) -> None:
        """Adds pictures with stored maps to a generation: first the class vectors, then the table entries."""
        if not pictures:
            return
        fitted, paths = whitening.read(generation), find_generation_paths(generation, self._config)
        table, layout = open_table(paths), ClassVectorStore(paths.vectors).layout
        contents, window = list(pictures), max(self._backend.window, layout.fragment)
        with ClassVectorWriter(paths.vectors, self._fingerprint(fitted), layout) as writer:
            for start in range(0, len(contents), window):
                remaining = iter(contents[start : start + window])
                reserved = writer.reserve(min(window, len(contents) - start))
                blocks = [
                    VectorBlock(paths.vectors, rows.start, tuple(itertools.islice(remaining, rows.stop - rows.start)))
                    for rows in reserved
                ]
                entries, descriptors = [], []
                for block, written in self._backend.write_vectors(blocks, fitted):
                    for row, (content, descriptor) in enumerate(
                        zip(block.contents, written, strict=True), block.first_row
                    ):
                        entries += [dataclasses.replace(entry, row=row) for entry in pictures[content]]
                        descriptors += [descriptor] * len(pictures[content])
                writer.commit(reserved[-1].stop - reserved[0].start)
                table.put(entries, np.stack(descriptors))

    def _entry(self, file: ListedFile) -> TableEntry:
        height, width = read_size(self._root / file.path)
        return TableEntry(file.path, file.content, file.size, file.modified, file.seen, width, height, row=-1)

    def _fingerprint(self, fitted: Whitening) -> dict[str, str]:
        pooling = self._config.pooling
        optional = {} if pooling == "sum" else {"pooling": pooling}  # earlier versions wrote no pooling
        optional |= {"regions": str(encoder.GRID_LEVELS)} if self._config.compact else {}
        return {**self._header.conditions(), **optional, "whitening": whitening.fingerprint(fitted)}


def _sample(contents: Sequence[str]) -> list[str]:
    """Returns an even sample of the pictures, of the size that a whitening is fitted on."""
    positions = np.linspace(0, len(contents) - 1, min(len(contents), whitening.MAX_PICTURES), dtype=int)
    return [contents[position] for position in positions]
