"""The layout of the Oxford buildings benchmark: pictures in ``jpg/``, queries and ground truth in ``lab/``."""

import collections
import dataclasses
import pathlib
from collections.abc import Callable, Mapping

from cwcf_jax.images.decoding import ImageError, read_size
from cwcf_jax.images.folders import SUFFIXES, read_folder
from cwcf_jax.images.imagesets import BenchmarkQuery, DatasetError, ImageSet


def read_dataset(folder: str | pathlib.Path) -> ImageSet:
    """The folder as a benchmark if it has a ``lab/``, otherwise as plain pictures."""
    folder = pathlib.Path(folder)
    return read_oxford(folder) if (folder / "lab").is_dir() else read_folder(folder)


def read_oxford(folder: str | pathlib.Path) -> ImageSet:
    """A benchmark in Oxford layout: ``jpg/NAME.jpg``, ``lab/QUERY_{query,good,ok,junk}.txt``, maybe ``imlist.txt``.

    The database is ``imlist.txt``, one name a line, or else every ``jpg/*.jpg`` in order of name. A query file holds
    ``[oxc1_]NAME x1 y1 x2 y2``. Junk that is not in the database is ignored, as it would be in a ranking.

    Raises:
        DatasetError: a file missing or malformed, a name listed twice, a query or positive that is not in the
            database, a positive that is also junk, a box without area or outside its picture.
    """
    folder = pathlib.Path(folder)
    pictures, labels = folder / "jpg", folder / "lab"
    for needed in (pictures, labels):
        if not needed.is_dir():
            raise DatasetError(f"{needed}: no such folder; the Oxford layout needs jpg/ and lab/")
    listing = folder / "imlist.txt"
    pairs = _lines(listing) if listing.is_file() else [(0, path.name) for path in sorted(pictures.glob("*.jpg"))]
    others = [path.name for path in sorted(pictures.iterdir()) if path.suffix.lower() in SUFFIXES]
    strangers = [name for name in others if not name.endswith(".jpg")]
    if strangers and not listing.is_file():
        raise DatasetError(f"{pictures}: the Oxford layout has NAME.jpg only; rename or remove {', '.join(strangers)}")
    index: dict[str, int] = {}
    for number, line in pairs:
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
    queries = tuple(resolve(query, index, lambda name: read_size(paths[index[name]])) for query in parsed)
    return ImageSet(folder.resolve().name, names, paths, queries)


@dataclasses.dataclass(frozen=True)
class TextFiles:
    """Small text files that lie together, in a folder or in an archive.

    Attributes:
        where: what messages call the place.
        contents: of each file, by its name.
    """

    where: str
    contents: Mapping[str, bytes]

    def lines(self, name: str) -> list[tuple[int, str]]:
        """Number and text of each line that is not blank; DatasetError if there is no such file or it is no text."""
        try:
            text = self.contents[name].decode("utf-8")
        except KeyError:
            raise DatasetError(f"{self.where}/{name}: cannot be read (no such file)") from None
        except UnicodeDecodeError as error:
            raise DatasetError(f"{self.where}/{name}: cannot be read ({error})") from error
        return [(number, line.strip()) for number, line in enumerate(text.splitlines(), start=1) if line.strip()]


@dataclasses.dataclass(frozen=True)
class Labels:
    """A query of the Oxford layout as its four files say it, pictures by name.

    Attributes:
        name: of the query.
        picture: its picture.
        box: ``x1 y1 x2 y2`` in pixels.
        groups: pictures under good, ok and junk, each with its line.
        where: what messages call the files, without ``_query.txt`` and so on.
    """

    name: str
    picture: str
    box: tuple[float, float, float, float]
    groups: Mapping[str, tuple[tuple[int, str], ...]]
    where: str


def read_texts(folder: pathlib.Path) -> TextFiles:
    """The text files of a folder."""
    contents = {}
    for file in sorted(folder.glob("*.txt")):
        try:
            contents[file.name] = file.read_bytes()
        except OSError as error:
            raise DatasetError(f"{file}: cannot be read ({error})") from error
    return TextFiles(str(folder), contents)


def read_labels(texts: TextFiles) -> tuple[Labels, ...]:
    """The queries of the Oxford layout: ``QUERY_{query,good,ok,junk}.txt``, in order of their names.

    A query file holds ``[oxc1_]NAME x1 y1 x2 y2``, the others a name a line; ``.jpg`` may follow a name.

    Raises:
        DatasetError: a file missing or malformed, a box without area, a picture listed twice under one heading, a
            positive that is also junk, a query without positives.
    """
    names = sorted(name.removesuffix("_query.txt") for name in texts.contents if name.endswith("_query.txt"))
    if not names:
        raise DatasetError(f"{texts.where}: no *_query.txt in this folder")
    return tuple(_read_query(texts, name) for name in names)


def resolve(query: Labels, index: Mapping[str, int], size_of: Callable[[str], tuple[int, int]]) -> BenchmarkQuery:
    """The query over a database: names become indices, and the box is checked against its picture.

    Args:
        query: what its files say.
        index: of the database's pictures.
        size_of: height and width of the picture of that name; ImageError if it cannot be read.

    Raises:
        DatasetError: the query's picture or a positive is not in the database, or the box leaves its picture.
    """
    where = f"{query.where}_query.txt:1"
    if query.picture not in index:
        raise DatasetError(f"{where}: {query.picture} is not in the database")
    try:
        size = size_of(query.picture)
    except ImageError as error:
        raise DatasetError(f"{where}: {error}") from error
    check_box(where, query.box, size)
    for kind in ("good", "ok"):
        for number, name in query.groups[kind]:
            if name not in index:
                raise DatasetError(f"{query.where}_{kind}.txt:{number}: {name} is a positive but not in the database")
    groups = {kind: {index[name] for _, name in lines if name in index} for kind, lines in query.groups.items()}
    positives = frozenset(groups["good"] | groups["ok"])
    return BenchmarkQuery(query.name, index[query.picture], query.box, positives, frozenset(groups["junk"]))


def check_box(where: str, box: tuple[float, float, float, float], size: tuple[int, int] | None = None) -> None:
    """DatasetError, starting with ``where``, unless the box has an area and lies in a picture of ``size``, if given."""
    x1, y1, x2, y2 = box
    if not (x1 < x2 and y1 < y2):
        raise DatasetError(f"{where}: the box {x1} {y1} {x2} {y2} has no area; it is x1 y1 x2 y2, corners in order")
    if size is None:
        return
    height, width = size
    # One pixel of tolerance: the official boxes count from 1 and some end on the picture's edge.
    if not (x1 >= -1 and y1 >= -1 and x2 <= width + 1 and y2 <= height + 1):
        raise DatasetError(f"{where}: the box {x1} {y1} {x2} {y2} leaves its picture of {width} x {height} pixels")


def _read_query(texts: TextFiles, name: str) -> Labels:
    where = f"{texts.where}/{name}"
    lines = texts.lines(f"{name}_query.txt")
    fields = lines[0][1].split() if len(lines) == 1 else []
    if len(fields) != 5:
        raise DatasetError(f"{where}_query.txt:1: expected one line NAME x1 y1 x2 y2")
    picture = fields[0].removeprefix("oxc1_").removesuffix(".jpg")
    try:
        x1, y1, x2, y2 = (float(field) for field in fields[1:])
    except ValueError as error:
        raise DatasetError(f"{where}_query.txt:1: {error}") from error
    check_box(f"{where}_query.txt:1", (x1, y1, x2, y2))
    groups = {kind: _read_group(texts, name, kind) for kind in ("good", "ok", "junk")}
    listed = {kind: {picture for _, picture in group} for kind, group in groups.items()}
    positives = listed["good"] | listed["ok"]
    both = positives & listed["junk"]
    if both:
        raise DatasetError(f"{where}_junk.txt: positive and junk at once: {', '.join(sorted(both))}")
    if not positives:
        raise DatasetError(f"{where}_good.txt: the query has no positives")
    return Labels(name, picture, (x1, y1, x2, y2), groups, where)


def _read_group(texts: TextFiles, name: str, kind: str) -> tuple[tuple[int, str], ...]:
    lines = tuple((number, line.removesuffix(".jpg")) for number, line in texts.lines(f"{name}_{kind}.txt"))
    repeated = [picture for picture, count in collections.Counter(line for _, line in lines).items() if count > 1]
    if repeated:
        raise DatasetError(f"{texts.where}/{name}_{kind}.txt: listed twice: {', '.join(repeated)}")
    return lines


def _lines(file: pathlib.Path) -> list[tuple[int, str]]:
    try:
        return TextFiles(str(file.parent), {file.name: file.read_bytes()}).lines(file.name)
    except OSError as error:
        raise DatasetError(f"{file}: cannot be read ({error})") from error
