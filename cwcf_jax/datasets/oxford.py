"""This module reads the layout of Oxford Buildings: pictures in ``jpg/``, queries and ground truth in ``lab/``."""

import collections
import dataclasses
import pathlib
from collections.abc import Callable, Mapping

from cwcf_jax.images.decoding import ImageError, read_size
from cwcf_jax.images.folders import SUFFIXES, read_folder
from cwcf_jax.images.imagesets import BenchmarkQuery, DatasetError, ImageSet


def read_dataset(folder: str | pathlib.Path) -> ImageSet:
    """Reads a folder as a benchmark if it has a ``lab/``, otherwise as plain pictures."""
    folder = pathlib.Path(folder)
    return read_oxford(folder) if (folder / "lab").is_dir() else read_folder(folder)


def read_oxford(folder: str | pathlib.Path) -> ImageSet:
    """Reads a benchmark in Oxford layout: ``jpg/NAME.jpg``, ``lab/QUERY_{query,good,ok,junk}.txt``, ``imlist.txt``.

    The database is the list ``imlist.txt``, one name per line. Without this file it is every ``jpg/*.jpg`` in order of
    names. A query file holds ``[oxc1_]NAME x1 y1 x2 y2``. Junk that is not in the database is ignored.

    Raises:
        DatasetError: a file is missing or malformed, a name is listed twice, a query or positive is not in the
            database, a positive is also junk, or a box has no area or leaves its picture.
    """
    folder = pathlib.Path(folder)
    pictures, labels = folder / "jpg", folder / "lab"
    for required in (pictures, labels):
        if not required.is_dir():
            raise DatasetError(f"{required}: no such folder; the Oxford layout needs jpg/ and lab/")
    listing = folder / "imlist.txt"
    entries = _read_lines(listing) if listing.is_file() else [(0, path.name) for path in sorted(pictures.glob("*.jpg"))]
    picture_names = [path.name for path in sorted(pictures.iterdir()) if path.suffix.lower() in SUFFIXES]
    misnamed = [name for name in picture_names if not name.endswith(".jpg")]
    if misnamed and not listing.is_file():
        raise DatasetError(f"{pictures}: the Oxford layout has NAME.jpg only; rename or remove {', '.join(misnamed)}")
    index: dict[str, int] = {}
    for number, line in entries:
        name = line.removesuffix(".jpg")
        if name in index:
            raise DatasetError(f"{listing}:{number}: {name} is listed twice")
        if not (pictures / f"{name}.jpg").is_file():
            raise DatasetError(f"{listing}:{number}: {pictures / name}.jpg does not exist")
        index[name] = len(index)
    if not index:
        raise DatasetError(f"{folder}: no pictures in its database")
    names = tuple(index)
    paths = tuple(pictures / f"{name}.jpg" for name in names)
    parsed = read_labels(read_texts(labels))
    queries = tuple(resolve_query(query, index, lambda name: read_size(paths[index[name]])) for query in parsed)
    return ImageSet(folder.resolve().name, names, paths, queries)


@dataclasses.dataclass(frozen=True)
class TextFiles:
    """A `TextFiles` holds the contents of the text files of one folder or archive.

    Attributes:
        location: path of the folder or archive, for error messages.
        contents: content of each file, by file name.
    """

    location: str
    contents: Mapping[str, bytes]

    def lines(self, name: str) -> list[tuple[int, str]]:
        """Returns number and text of each line of a file that is not blank.

        Raises:
            DatasetError: the file does not exist, or is not UTF-8.
        """
        try:
            text = self.contents[name].decode("utf-8")
        except KeyError:
            raise DatasetError(f"{self.location}/{name}: cannot be read (no such file)") from None
        except UnicodeDecodeError as error:
            raise DatasetError(f"{self.location}/{name}: cannot be read ({error})") from error
        return [(number, line.strip()) for number, line in enumerate(text.splitlines(), start=1) if line.strip()]


@dataclasses.dataclass(frozen=True)
class QueryLabels:
    """A `QueryLabels` holds the content of the four files of a query in Oxford layout, with pictures by name.

    Attributes:
        name: name of the query.
        picture: name of the query's picture.
        box: ``x1 y1 x2 y2`` in pixels.
        groups: line number and name of each picture in the groups good, ok and junk.
        location: path of the files without ``_query.txt`` and so on, for error messages.
    """

    name: str
    picture: str
    box: tuple[float, float, float, float]
    groups: Mapping[str, tuple[tuple[int, str], ...]]
    location: str


def read_texts(folder: pathlib.Path) -> TextFiles:
    """Reads the ``*.txt`` files of a folder."""
    contents = {}
    for file in sorted(folder.glob("*.txt")):
        try:
            contents[file.name] = file.read_bytes()
        except OSError as error:
            raise DatasetError(f"{file}: cannot be read ({error})") from error
    return TextFiles(str(folder), contents)


def read_labels(texts: TextFiles) -> tuple[QueryLabels, ...]:
    """Reads the queries ``QUERY_{query,good,ok,junk}.txt`` of the Oxford layout, in order of their names.

    A query file holds ``[oxc1_]NAME x1 y1 x2 y2``, the other files one name per line. ``.jpg`` may follow a name.

    Raises:
        DatasetError: a file is missing or malformed, a box has no area, a picture is listed twice in one group, a
            positive is also junk, or a query has no positives.
    """
    names = sorted(name.removesuffix("_query.txt") for name in texts.contents if name.endswith("_query.txt"))
    if not names:
        raise DatasetError(f"{texts.location}: no *_query.txt in this folder")
    return tuple(_read_query(texts, name) for name in names)


def resolve_query(
    query: QueryLabels, index: Mapping[str, int], size_of: Callable[[str], tuple[int, int]]
) -> BenchmarkQuery:
    """Replaces the names of a query by indices into a database, and checks the box against the query's picture.

    Args:
        query: content of the query's files.
        index: index of each picture of the database, by name.
        size_of: function from a name to height and width of the picture; raises ImageError if it is unreadable.

    Raises:
        DatasetError: the query's picture or a positive is not in the database, or the box leaves its picture.
    """
    location = f"{query.location}_query.txt:1"
    if query.picture not in index:
        raise DatasetError(f"{location}: {query.picture} is not in the database")
    try:
        size = size_of(query.picture)
    except ImageError as error:
        raise DatasetError(f"{location}: {error}") from error
    check_box(location, query.box, size)
    for kind in ("good", "ok"):
        for number, name in query.groups[kind]:
            if name not in index:
                line = f"{query.location}_{kind}.txt:{number}"
                raise DatasetError(f"{line}: {name} is a positive but not in the database")
    groups = {kind: {index[name] for _, name in lines if name in index} for kind, lines in query.groups.items()}
    positives = frozenset(groups["good"] | groups["ok"])
    return BenchmarkQuery(query.name, index[query.picture], query.box, positives, frozenset(groups["junk"]))


def check_box(location: str, box: tuple[float, float, float, float], size: tuple[int, int] | None = None) -> None:
    """Raises DatasetError, beginning with ``location``, if a box has no area or leaves a picture of ``size``."""
    x1, y1, x2, y2 = box
    if not (x1 < x2 and y1 < y2):
        raise DatasetError(f"{location}: the box {x1} {y1} {x2} {y2} has no area; it is x1 y1 x2 y2, corners in order")
    if size is None:
        return
    height, width = size
    # One pixel of tolerance: official boxes count pixels from 1, and some end on the picture's edge.
    if not (x1 >= -1 and y1 >= -1 and x2 <= width + 1 and y2 <= height + 1):
        raise DatasetError(f"{location}: the box {x1} {y1} {x2} {y2} leaves its picture of {width} x {height} pixels")


def _read_query(texts: TextFiles, name: str) -> QueryLabels:
    location = f"{texts.location}/{name}"
    lines = texts.lines(f"{name}_query.txt")
    fields = lines[0][1].split() if len(lines) == 1 else []
    if len(fields) != 5:
        raise DatasetError(f"{location}_query.txt:1: expected one line NAME x1 y1 x2 y2")
    picture = fields[0].removeprefix("oxc1_").removesuffix(".jpg")
    try:
        x1, y1, x2, y2 = (float(field) for field in fields[1:])
    except ValueError as error:
        raise DatasetError(f"{location}_query.txt:1: {error}") from error
    check_box(f"{location}_query.txt:1", (x1, y1, x2, y2))
    groups = {kind: _read_group(texts, name, kind) for kind in ("good", "ok", "junk")}
    listed = {kind: {picture for _, picture in group} for kind, group in groups.items()}
    positives = listed["good"] | listed["ok"]
    overlap = positives & listed["junk"]
    if overlap:
        raise DatasetError(f"{location}_junk.txt: positive and junk at once: {', '.join(sorted(overlap))}")
    if not positives:
        raise DatasetError(f"{location}_good.txt: the query has no positives")
    return QueryLabels(name, picture, (x1, y1, x2, y2), groups, location)


def _read_group(texts: TextFiles, name: str, kind: str) -> tuple[tuple[int, str], ...]:
    lines = tuple((number, line.removesuffix(".jpg")) for number, line in texts.lines(f"{name}_{kind}.txt"))
    repeated = [picture for picture, count in collections.Counter(line for _, line in lines).items() if count > 1]
    if repeated:
        raise DatasetError(f"{texts.location}/{name}_{kind}.txt: listed twice: {', '.join(repeated)}")
    return lines


def _read_lines(file: pathlib.Path) -> list[tuple[int, str]]:
    try:
        return TextFiles(str(file.parent), {file.name: file.read_bytes()}).lines(file.name)
    except OSError as error:
        raise DatasetError(f"{file}: cannot be read ({error})") from error
