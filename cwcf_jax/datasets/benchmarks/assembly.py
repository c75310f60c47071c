"""This module reads the pictures of a dataset from archives, counts them and matches them with the ground truth."""

import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

from cwcf_jax.datasets.benchmarks.archives import ArchivedFile, read_archived_texts, read_files
from cwcf_jax.datasets.benchmarks.lists import BenchmarkLists, ListedQuery
from cwcf_jax.datasets.benchmarks.sources import detect_release, locate
from cwcf_jax.datasets.benchmarks.specs import DatasetSpec, ExpectedCounts
from cwcf_jax.datasets.oxford import QueryLabels, check_box, read_labels, resolve_query
from cwcf_jax.images.decoding import ImageError, read_size
from cwcf_jax.images.folders import SUFFIXES
from cwcf_jax.images.imagesets import BenchmarkQuery, DatasetError, DatasetPicture


class DatasetAssembly:
    """A `DatasetAssembly` turns the published files of one dataset into records and metadata.

    Exhaust `images` before `queries` and `metadata` are called: each archive is read once, as a stream, and its names
    are known only at its end.

    Args:
        spec: sources and names of the dataset.
        manual_dir: folder with the published files.
        counts: expected numbers of pictures and queries.

    Raises:
        DatasetError: a published file is missing, or the ground truth is malformed; nothing is prepared then.
    """

    def __init__(self, spec: DatasetSpec, manual_dir: pathlib.Path, counts: ExpectedCounts):
        self._spec, self._counts = spec, counts
        self._paths = locate(manual_dir, spec.pictures)
        self._labels: tuple[QueryLabels, ...] = ()
        self._lists: BenchmarkLists | None = None
        if spec.labels:
            self._labels = read_labels(read_archived_texts(locate(manual_dir, spec.labels)[0]))
            self._query_names = {label.picture for label in self._labels}
            self._check_queries(spec.labels.title, len(self._labels))
        elif spec.lists:
            self._lists = spec.read_lists(locate(manual_dir, spec.lists)[0])
            self._query_names = {query.picture for query in self._lists.queries}
            self._check_queries(spec.lists.title, len(self._lists.queries))
            self._check_images(spec.lists.title, len(self._lists.images))
        else:
            self._query_names = set()
        self._listed_names = None if self._lists is None else {*self._lists.images, *self._query_names}
        self._query_only_names = self._query_names - set(self._lists.images) if self._lists else set()
        self._record_names: list[str] = []
        self._locations: dict[str, str] = {}
        self._sizes: dict[str, tuple[int, int]] = {}
        self._query_contents: dict[str, bytes] = {}
        self._dates: tuple[float, float] | None = None

    def images(self) -> Iterator[tuple[str, bytes]]:
        """Yields name and content of each picture of the database, in the order of the archives.

        Raises:
            DatasetError: a name occurs twice, a listed picture is missing, or the number of pictures is wrong.
        """
        for path in self._paths:
            for file in read_files(path):
                name = self._picture_name(file)
                if name is None:
                    continue
                if name in self._locations:
                    raise DatasetError(f"{file.location}: {name} occurs twice, first as {self._locations[name]}")
                self._locations[name] = file.location
                oldest, newest = self._dates or (file.modified, file.modified)
                self._dates = min(oldest, file.modified), max(newest, file.modified)
                content = file.read()
                if name in self._query_names:
                    self._measure_size(name, content)
                if name in self._query_only_names:
                    self._query_contents[name] = content
                else:
                    self._record_names.append(name)
                    if len(self._record_names) > max(self._counts.images):
                        self._check_images(f"{file.location} is one too many", len(self._record_names))
                    yield name, content
        self._check_complete()
        self._queries = self._resolve_queries()

    def queries(self) -> Iterator[tuple[str, bytes]]:
        """Yields name and content of each query picture that is not in the database, in the order of the queries."""
        for query in self._lists.queries if self._lists else ():
            if query.picture in self._query_contents:
                yield query.picture, self._query_contents[query.picture]

    def metadata(self) -> dict[str, Any]:
        """Returns names, order, ground truth and release as JSON content.

        ``names`` has the name of each record, ``images`` the record number of each picture of the database.
        ``queries`` has the fields of `BenchmarkQuery`, with the record number ``record`` in place of ``picture``.
        """
        image_records = {name: record for record, name in enumerate(self._record_names)}
        query_records = {name: record for record, (name, _) in enumerate(self.queries())}
        return {
            "names": self._record_names,
            "images": [image_records[name] for name in self._database_names()],
            "release": detect_release(self._paths, self._dates or (0.0, 0.0)) if self._spec.has_blurred_release else "",
            "queries": [
                {
                    "name": query.name,
                    "image": query.image,
                    "record": query_records.get(query.name),
                    "box": list(query.box),
                    "positives": sorted(query.positives),
                    "junk": sorted(query.junk),
                    "hard": None if query.hard is None else sorted(query.hard),
                }
                for query in self._queries
            ],
        }

    @property
    def has_query_pictures(self) -> bool:
        """Returns whether some query pictures are not in the database."""
        return bool(self._query_only_names)

    def _picture_name(self, file: ArchivedFile) -> str | None:
        """Returns the name of the picture in a file; None if the file is no picture of this dataset."""
        if pathlib.PurePosixPath(file.name).suffix.lower() not in SUFFIXES:
            return None
        if self._listed_names is None:
            name = self._spec.picture_name(file.name)
            return None if name in self._spec.excluded_names else name
        parts = pathlib.PurePosixPath(file.name).parts
        for start in range(len(parts)):
            tail = "/".join(parts[start:])
            for name in (tail, tail.removesuffix(pathlib.PurePosixPath(tail).suffix)):
                if name in self._listed_names:
                    return name
        return None

    def _measure_size(self, name: str, content: bytes) -> None:
        location = self._locations[name]
        try:
            self._sizes[name] = read_size(DatasetPicture([{"image": content}], 0, location))
        except ImageError as error:
            raise DatasetError(f"{error}; it is the picture of a query") from error

    def _database_names(self) -> tuple[str, ...]:
        """Returns the names of the database, in the order of its list or of sorted file names."""
        return self._lists.images if self._lists else tuple(sorted(self._record_names, key=lambda name: f"{name}.jpg"))

    def _check_complete(self) -> None:
        sources = ", ".join(map(str, self._paths))
        if self._lists:
            for index, name in enumerate(self._lists.images):
                if name not in self._locations:
                    raise DatasetError(f"{self._lists.location(index)}: there is no {name} in {sources}")
            for query in self._lists.queries:
                if query.picture not in self._locations:
                    raise DatasetError(f"{query.location}: there is no {query.picture} in {sources}")
        self._check_images(sources, len(self._record_names))

    def _check_images(self, location: str, count: int) -> None:
        if count not in self._counts.images:
            expected = " or ".join(f"{images:,}" for images in self._counts.images)
            raise DatasetError(f"{location}: {count:,} pictures of {self._spec.name} instead of {expected}")

    def _check_queries(self, location: str, count: int) -> None:
        if count != self._counts.queries:
            expected = f"{self._counts.queries:,}"
            raise DatasetError(f"{location}: {count:,} queries of {self._spec.name} instead of {expected}")

    def _resolve_queries(self) -> tuple[BenchmarkQuery, ...]:
        index = {name: i for i, name in enumerate(self._database_names())}
        if self._lists is None:
            return tuple(resolve_query(label, index, self._sizes.__getitem__) for label in self._labels)
        return tuple(self._resolve_listed(query, index) for query in self._lists.queries)

    def _resolve_listed(self, query: ListedQuery, index: Mapping[str, int]) -> BenchmarkQuery:
        check_box(f"{query.location}['bbx']", query.box, self._sizes[query.picture])
        image = index.get(query.picture)
        return BenchmarkQuery(query.picture, image, query.box, query.positives, query.junk, query.hard)
