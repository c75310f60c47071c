"""Pictures as they come out of archives, counted and matched with the ground truth."""

import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

from cwcf_jax.datasets.benchmarks.archives import ArchivedFile, read_archived_texts, read_files
from cwcf_jax.datasets.benchmarks.lists import BenchmarkLists, ListedQuery
from cwcf_jax.datasets.benchmarks.sources import locate, release
from cwcf_jax.datasets.benchmarks.specs import DatasetSpec, ExpectedCounts
from cwcf_jax.datasets.oxford import Labels, check_box, read_labels, resolve
from cwcf_jax.images.decoding import ImageError, read_size
from cwcf_jax.images.folders import SUFFIXES
from cwcf_jax.images.imagesets import BenchmarkQuery, DatasetError, DatasetPicture


class DatasetAssembly:
    """One dataset on its way from what was published to records.

    `images` has to be used up before `queries` and `metadata`: archives are read as streams, once, and what they held
    is only known at their end.

    Args:
        recipe: what it is made from.
        manual: the folder in which that lies.
        counts: how many pictures and queries there have to be.

    Raises:
        DatasetError: something is missing, or the ground truth is not what it should be; nothing was prepared then.
    """

    def __init__(self, recipe: DatasetSpec, manual: pathlib.Path, counts: ExpectedCounts):
        self._recipe, self._counts = recipe, counts
        self._paths = locate(manual, recipe.pictures)
        self._labels: tuple[Labels, ...] = ()
        self._lists: BenchmarkLists | None = None
        if recipe.labels:
            self._labels = read_labels(read_archived_texts(locate(manual, recipe.labels)[0]))
            self._measured = {label.picture for label in self._labels}
            self._check_queries(recipe.labels.what, len(self._labels))
        elif recipe.lists:
            self._lists = recipe.read_lists(locate(manual, recipe.lists)[0])
            self._measured = {query.picture for query in self._lists.queries}
            self._check_queries(recipe.lists.what, len(self._lists.queries))
            self._check_images(recipe.lists.what, len(self._lists.images))
        else:
            self._measured = set()
        self._wanted = None if self._lists is None else {*self._lists.images, *self._measured}
        self._apart = self._measured - set(self._lists.images) if self._lists else set()
        self._names: list[str] = []
        self._seen: dict[str, str] = {}
        self._sizes: dict[str, tuple[int, int]] = {}
        self._kept: dict[str, bytes] = {}
        self._dates: tuple[float, float] | None = None

    def images(self) -> Iterator[tuple[str, bytes]]:
        """Name and content of each picture of the database, in the order in which they are found.

        Raises:
            DatasetError: a name twice, a listed picture that is missing, or not as many as there should be.
        """
        for path in self._paths:
            for file in read_files(path):
                name = self._name(file)
                if name is None:
                    continue
                if name in self._seen:
                    raise DatasetError(f"{file.where}: {name} is there twice, before as {self._seen[name]}")
                self._seen[name] = file.where
                oldest, newest = self._dates or (file.modified, file.modified)
                self._dates = min(oldest, file.modified), max(newest, file.modified)
                content = file.read()
                if name in self._measured:
                    self._measure(name, content)
                if name in self._apart:
                    self._kept[name] = content
                else:
                    self._names.append(name)
                    if len(self._names) > max(self._counts.images):
                        self._check_images(f"{file.where}, and no end", len(self._names))
                    yield name, content
        self._check_complete()
        self._queries = self._resolve()

    def queries(self) -> Iterator[tuple[str, bytes]]:
        """Name and content of the queries' pictures that are not in the database, in order of the queries."""
        for query in self._lists.queries if self._lists else ():
            if query.picture in self._kept:
                yield query.picture, self._kept[query.picture]

    def metadata(self) -> dict[str, Any]:
        """Names, order, ground truth and release, for JSON.

        ``names`` of the records, ``images``: the record of each picture of the database, ``queries``: fields of
        `Query` with ``record``, that of the query's picture, in place of ``picture``.
        """
        place = {name: record for record, name in enumerate(self._names)}
        apart = {name: record for record, (name, _) in enumerate(self.queries())}
        return {
            "names": self._names,
            "images": [place[name] for name in self._order()],
            "release": release(self._paths, self._dates or (0.0, 0.0)) if self._recipe.releases else "",
            "queries": [
                {
                    "name": query.name,
                    "image": query.image,
                    "record": apart.get(query.name),
                    "box": list(query.box),
                    "positives": sorted(query.positives),
                    "junk": sorted(query.junk),
                    "hard": None if query.hard is None else sorted(query.hard),
                }
                for query in self._queries
            ],
        }

    @property
    def has_queries_apart(self) -> bool:
        """Whether there are pictures of queries outside the database."""
        return bool(self._apart)

    def _name(self, file: ArchivedFile) -> str | None:
        """What a file's picture is called; None if it is none of this dataset."""
        if pathlib.PurePosixPath(file.name).suffix.lower() not in SUFFIXES:
            return None
        if self._wanted is None:
            name = self._recipe.named(file.name)
            return None if name in self._recipe.left_out else name
        parts = pathlib.PurePosixPath(file.name).parts
        for start in range(len(parts)):
            tail = "/".join(parts[start:])
            for name in (tail, tail.removesuffix(pathlib.PurePosixPath(tail).suffix)):
                if name in self._wanted:
                    return name
        return None

    def _measure(self, name: str, content: bytes) -> None:
        where = self._seen[name]
        try:
            self._sizes[name] = read_size(DatasetPicture([{"image": content}], 0, where))
        except ImageError as error:
            raise DatasetError(f"{error}; it is the picture of a query") from error

    def _order(self) -> tuple[str, ...]:
        """The database's names: as the list has them, or as files in a folder are sorted."""
        return self._lists.images if self._lists else tuple(sorted(self._names, key=lambda name: f"{name}.jpg"))

    def _check_complete(self) -> None:
        there = ", ".join(map(str, self._paths))
        if self._lists:
            for index, name in enumerate(self._lists.images):
                if name not in self._seen:
                    raise DatasetError(f"{self._lists.where(index)}: there is no {name} in {there}")
            for query in self._lists.queries:
                if query.picture not in self._seen:
                    raise DatasetError(f"{query.where}: there is no {query.picture} in {there}")
        self._check_images(there, len(self._names))

    def _check_images(self, where: str, count: int) -> None:
        if count not in self._counts.images:
            expected = " or ".join(f"{images:,}" for images in self._counts.images)
            raise DatasetError(f"{where}: {count:,} pictures of {self._recipe.name}, which has {expected}")

    def _check_queries(self, where: str, count: int) -> None:
        if count != self._counts.queries:
            expected = f"{self._counts.queries:,}"
            raise DatasetError(f"{where}: {count:,} queries of {self._recipe.name}, which has {expected}")

    def _resolve(self) -> tuple[BenchmarkQuery, ...]:
        index = {name: i for i, name in enumerate(self._order())}
        if self._lists is None:
            return tuple(resolve(label, index, self._sizes.__getitem__) for label in self._labels)
        return tuple(self._resolve_listed(query, index) for query in self._lists.queries)

    def _resolve_listed(self, query: ListedQuery, index: Mapping[str, int]) -> BenchmarkQuery:
        check_box(f"{query.where}['bbx']", query.box, self._sizes[query.picture])
        image = index.get(query.picture)
        return BenchmarkQuery(query.picture, image, query.box, query.positives, query.junk, query.hard)
