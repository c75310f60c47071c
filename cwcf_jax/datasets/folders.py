"""Folders as datasets: any folder of pictures, and the layout of the Oxford buildings benchmark."""

import collections
import dataclasses
import pathlib

from cwcf_jax.datasets.images import ImageError, read_size

SUFFIXES = (
    *(".avif", ".bmp", ".gif", ".heic", ".heif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm"),
    *(".png", ".pnm", ".ppm", ".tga", ".tif", ".tiff", ".webp"),
)
"""What counts as a picture in a folder. Some need a Pillow plugin; without it they are reported, not passed over."""


class DatasetError(ValueError):
    """A folder that is not the dataset it should be; the message names the file, and the line where there is one."""


@dataclasses.dataclass(frozen=True)
class Query:
    """One query of an instance-search benchmark.

    ``image`` is an index into the benchmark's images; ``box`` is ``x1 y1 x2 y2`` in the upright picture's pixels;
    ``positives`` (good and ok) and ``junk`` are indices into the images.
    """

    name: str
    image: int
    box: tuple[float, float, float, float]
    positives: frozenset[int]
    junk: frozenset[int]


@dataclasses.dataclass(frozen=True)
class ImageSet:
    """Pictures with names, and queries with ground truth if it is a benchmark."""

    name: str
    names: tuple[str, ...]
    paths: tuple[pathlib.Path, ...]
    queries: tuple[Query, ...] = ()

    def __len__(self) -> int:
        return len(self.names)


def read_dataset(folder: str | pathlib.Path) -> ImageSet:
    """The folder as a benchmark if it has a ``lab/``, otherwise as plain pictures."""
    folder = pathlib.Path(folder)
    return read_oxford(folder) if (folder / "lab").is_dir() else read_folder(folder)


def read_folder(folder: str | pathlib.Path) -> ImageSet:
    """Every picture below ``folder``, hidden ones left out, in the order of their paths.

    Raises:
        DatasetError: no such folder, or no picture in it.
    """
    folder = pathlib.Path(folder)
    if not folder.is_dir():
        raise DatasetError(f"{folder}: no such folder")
    relative = sorted(
        path.relative_to(folder)
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES and path.is_file() and not _hidden(path.relative_to(folder))
    )
    if not relative:
        raise DatasetError(f"{folder}: no pictures in this folder or below")
    name = folder.resolve().name
    return ImageSet(name, tuple(path.as_posix() for path in relative), tuple(folder / path for path in relative))


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
    files = sorted(labels.glob("*_query.txt"))
    if not files:
        raise DatasetError(f"{labels}: no *_query.txt in this folder")
    queries = tuple(_read_query(file, index, paths) for file in files)
    return ImageSet(folder.resolve().name, names, paths, queries)


def _read_query(file: pathlib.Path, index: dict[str, int], paths: tuple[pathlib.Path, ...]) -> Query:
    name = file.name.removesuffix("_query.txt")
    lines = _lines(file)
    fields = lines[0][1].split() if len(lines) == 1 else []
    if len(fields) != 5:
        raise DatasetError(f"{file}:1: expected one line NAME x1 y1 x2 y2")
    image = fields[0].removeprefix("oxc1_").removesuffix(".jpg")
    if image not in index:
        raise DatasetError(f"{file}:1: {image} is not in the database")
    try:
        x1, y1, x2, y2 = (float(field) for field in fields[1:])
    except ValueError as error:
        raise DatasetError(f"{file}:1: {error}") from error
    try:
        height, width = read_size(paths[index[image]])
    except ImageError as error:
        raise DatasetError(f"{file}:1: {error}") from error
    if not (x1 < x2 and y1 < y2):
        raise DatasetError(f"{file}:1: the box {x1} {y1} {x2} {y2} has no area; it is x1 y1 x2 y2, corners in order")
    # One pixel of tolerance: the official boxes count from 1 and some end on the picture's edge.
    if not (x1 >= -1 and y1 >= -1 and x2 <= width + 1 and y2 <= height + 1):
        raise DatasetError(f"{file}:1: the box {x1} {y1} {x2} {y2} leaves its picture of {width} x {height} pixels")
    groups = {kind: _read_group(file.with_name(f"{name}_{kind}.txt"), index, kind) for kind in ("good", "ok", "junk")}
    positives = groups["good"] | groups["ok"]
    both = positives & groups["junk"]
    if both:
        listed = sorted(list(index)[i] for i in both)
        raise DatasetError(f"{file.with_name(name + '_junk.txt')}: positive and junk at once: {', '.join(listed)}")
    if not positives:
        raise DatasetError(f"{file.with_name(name + '_good.txt')}: the query has no positives")
    return Query(name, index[image], (x1, y1, x2, y2), frozenset(positives), frozenset(groups["junk"]))


def _read_group(file: pathlib.Path, index: dict[str, int], kind: str) -> set[int]:
    lines = [(number, line.removesuffix(".jpg")) for number, line in _lines(file)]
    repeated = [name for name, count in collections.Counter(name for _, name in lines).items() if count > 1]
    if repeated:
        raise DatasetError(f"{file}: listed twice: {', '.join(repeated)}")
    for number, name in lines:
        if name not in index and kind != "junk":
            raise DatasetError(f"{file}:{number}: {name} is a positive but not in the database")
    return {index[name] for _, name in lines if name in index}


def _lines(file: pathlib.Path) -> list[tuple[int, str]]:
    """Number and text of each line that is not blank."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{file}: cannot be read ({error})") from error
    return [(number, line.strip()) for number, line in enumerate(text.splitlines(), start=1) if line.strip()]


def _hidden(path: pathlib.Path) -> bool:
    return any(part.startswith(".") for part in path.parts)
