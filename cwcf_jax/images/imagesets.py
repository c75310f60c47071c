"""What a benchmark is: pictures with names, queries with ground truth."""

import dataclasses
import io
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable


class DatasetError(ValueError):
    """Data that is not the dataset it should be; the message names the file, and the line where there is one."""


@dataclasses.dataclass(frozen=True, eq=False)
class DatasetPicture:
    """A picture inside a prepared dataset; opens like a path.

    Attributes:
        source: records whose ``image`` is the encoded picture, read on demand.
        index: of the record.
        name: what messages call it.
    """

    source: Sequence[Mapping[str, Any]]
    index: int
    name: str

    def open(self, mode: str) -> io.BytesIO:
        """The encoded picture; only ``rb``."""
        if mode != "rb":
            raise ValueError(f"a record is opened with 'rb', not {mode!r}")
        return io.BytesIO(self.source[self.index]["image"])

    def __str__(self) -> str:
        return self.name


@runtime_checkable
class OpenablePicture(Protocol):
    """A picture that is not a file but opens like one; ``str`` is what messages call it."""

    def open(self, mode: str, /) -> io.BytesIO:
        """The encoded picture; only ``rb``."""


Picture = pathlib.Path | OpenablePicture
"""Where an encoded picture is."""


def absolute(picture: Picture) -> Picture:
    """One that means the same wherever a process was started."""
    return picture.absolute() if isinstance(picture, pathlib.Path) else picture


@dataclasses.dataclass(frozen=True)
class BenchmarkQuery:
    """One query of an instance-search benchmark.

    Attributes:
        name: unique.
        image: index of its picture among the benchmark's images; None if it is not one of them.
        box: ``x1 y1 x2 y2`` in the upright picture's pixels.
        positives: indices of the images that are right: good and ok, or easy and hard.
        junk: indices of the images that count neither way.
        hard: those of the positives that are hard; None where a benchmark makes no such difference.
        picture: of a query that is not one of the images.
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
    """Pictures with names, and queries with ground truth if it is a benchmark.

    Attributes:
        name: of the dataset.
        names: of the pictures, unique.
        paths: where they are.
        queries: with their ground truth.
        release: which release of the data this is, where there are several: ``original`` or ``face-blurred``.
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
        """Whether the queries tell easy positives from hard ones (Radenovic et al. 2018)."""
        return any(query.hard is not None for query in self.queries)

    def query_pictures(self) -> list[Picture]:
        """The picture of each query."""
        return [_query_picture(query, self.paths) for query in self.queries]

    def subset(self, *, queries: int, positives: int, others: int) -> "ImageSet":
        """A small benchmark of the same kind: the first queries, a few positives and junk of each, a few others."""
        chosen = self.queries[:queries]
        kept = {query.image for query in chosen if query.image is not None}
        for query in chosen:
            kept |= set(sorted(query.positives)[:positives]) | set(sorted(query.junk)[:2])
        judged = {i for query in chosen for i in query.positives | query.junk}
        kept |= set([i for i in range(len(self)) if i not in judged][:others])
        rows = sorted(kept)
        place = {row: i for i, row in enumerate(rows)}

        def moved(images: frozenset[int]) -> frozenset[int]:
            return frozenset(place[i] for i in images if i in place)

        return dataclasses.replace(
            self,
            names=tuple(self.names[row] for row in rows),
            paths=tuple(self.paths[row] for row in rows),
            queries=tuple(
                dataclasses.replace(
                    query,
                    image=None if query.image is None else place[query.image],
                    positives=moved(query.positives),
                    junk=moved(query.junk),
                    hard=None if query.hard is None else moved(query.hard),
                )
                for query in chosen
            ),
        )


def _query_picture(query: BenchmarkQuery, paths: tuple[Picture, ...]) -> Picture:
    if query.image is not None:
        return paths[query.image]
    if query.picture is None:
        raise ValueError(f"query {query.name} has neither an image nor a picture of its own")
    return query.picture
