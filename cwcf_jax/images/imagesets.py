"""This module defines a benchmark: pictures with names, and queries with ground truth."""

import dataclasses
import io
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable


class DatasetError(ValueError):
    """Raised when files are not the expected dataset; the message names the file, and the line of a text file."""


@dataclasses.dataclass(frozen=True, eq=False)
class DatasetPicture:
    """A `DatasetPicture` is a picture inside a prepared dataset; it opens like a path.

    Attributes:
        source: records that are read on demand, with the encoded picture under ``image``.
        index: index of the picture's record.
        name: name of the picture in messages.
    """

    source: Sequence[Mapping[str, Any]]
    index: int
    name: str

    def open(self, mode: str) -> io.BytesIO:
        """Opens the encoded picture; ``mode`` must be ``rb``."""
        if mode != "rb":
            raise ValueError(f"a record is opened with 'rb', not {mode!r}")
        return io.BytesIO(self.source[self.index]["image"])

    def __str__(self) -> str:
        return self.name


@runtime_checkable
class OpenablePicture(Protocol):
    """An `OpenablePicture` opens like a file without being one; ``str`` gives its name in messages."""

    def open(self, mode: str, /) -> io.BytesIO:
        """Opens the encoded picture; ``mode`` must be ``rb``."""


Picture = pathlib.Path | OpenablePicture
"""The path of an encoded picture, or an object that opens one."""


def absolute(picture: Picture) -> Picture:
    """Returns the picture with an absolute path, so that processes with other working directories find the file."""
    return picture.absolute() if isinstance(picture, pathlib.Path) else picture


@dataclasses.dataclass(frozen=True)
class BenchmarkQuery:
    """A `BenchmarkQuery` is one query of a benchmark for instance search, with its ground truth.

    Attributes:
        name: a name that no other query of the benchmark has.
        image: index of the query's picture among the benchmark's images; None if the query has a picture of its own.
        box: x1, y1, x2, y2 in pixels of the upright picture.
        positives: indices of the images that show the query's object: "good" and "ok", or "easy" and "hard".
        junk: indices of the images that are ignored.
        hard: indices of the hard positives; None for benchmarks that do not distinguish easy and hard positives.
        picture: the picture of a query that is not among the benchmark's images.
    """

    name: str
    image: int | None
    box: tuple[float, float, float, float]
    positives: frozenset[int]
    junk: frozenset[int]
    hard: frozenset[int] | None = None
    picture: Picture | None = None


@dataclasses.dataclass(frozen=True)
class ImageSet:
    """An `ImageSet` holds pictures with names, and the queries of a benchmark.

    Attributes:
        name: name of the dataset.
        names: unique names of the pictures.
        paths: the pictures, in the order of ``names``.
        queries: queries with their ground truth; empty for images that are no benchmark.
        release: release of a dataset that has several, such as ``original`` or ``face-blurred``.
    """

    name: str
    names: tuple[str, ...]
    paths: tuple[Picture, ...]
    queries: tuple[BenchmarkQuery, ...] = ()
    release: str = ""

    def __len__(self) -> int:
        return len(self.names)

    @property
    def revisited(self) -> bool:
        """Tells whether the queries distinguish easy and hard positives (Radenovic et al. 2018)."""
        return any(query.hard is not None for query in self.queries)

    def query_pictures(self) -> list[Picture]:
        """Returns the picture of each query."""
        return [_query_picture(query, self.paths) for query in self.queries]

    def subset(self, *, queries: int, positives: int, others: int) -> "ImageSet":
        """Returns a small benchmark of the same kind.

        Args:
            queries: the number of queries, the first ones of this benchmark.
            positives: the largest number of positives of each query; at most two junk images of each are kept, too.
            others: the number of images that are neither positive nor junk for any of the queries.
        """
        kept_queries = self.queries[:queries]
        kept = {query.image for query in kept_queries if query.image is not None}
        for query in kept_queries:
            kept |= set(sorted(query.positives)[:positives]) | set(sorted(query.junk)[:2])
        judged = {i for query in kept_queries for i in query.positives | query.junk}
        kept |= set([i for i in range(len(self)) if i not in judged][:others])
        old_indices = sorted(kept)
        new_indices = {old: new for new, old in enumerate(old_indices)}

        def renumbered(images: frozenset[int]) -> frozenset[int]:
            return frozenset(new_indices[i] for i in images if i in new_indices)

        return dataclasses.replace(
            self,
            names=tuple(self.names[i] for i in old_indices),
            paths=tuple(self.paths[i] for i in old_indices),
            queries=tuple(
                dataclasses.replace(
                    query,
                    image=None if query.image is None else new_indices[query.image],
                    positives=renumbered(query.positives),
                    junk=renumbered(query.junk),
                    hard=None if query.hard is None else renumbered(query.hard),
                )
                for query in kept_queries
            ),
        )


def _query_picture(query: BenchmarkQuery, paths: tuple[Picture, ...]) -> Picture:
    if query.image is not None:
        return paths[query.image]
    if query.picture is None:
        raise ValueError(f"query {query.name} has neither an image nor a picture of its own")
    return query.picture
