"""Ground truth that numbers its pictures: the revisited benchmarks and INSTRE; and plain lists of pictures."""

import dataclasses
import math
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cwcf_jax.datasets.benchmarks.pickles import read_pickle
from cwcf_jax.datasets.oxford import check_box
from cwcf_jax.images.imagesets import DatasetError


@dataclasses.dataclass(frozen=True)
class ListedQuery:
    """A query by its picture; indices are into the images of the list.

    Attributes:
        picture: name, the query's own name too.
        box: ``x1 y1 x2 y2`` in pixels.
        positives: right images, the hard ones among them.
        hard: some of the positives; None where a benchmark makes no such difference.
        junk: images that count neither way.
        where: what messages call its entry.
    """

    picture: str
    box: tuple[float, float, float, float]
    positives: frozenset[int]
    hard: frozenset[int] | None
    junk: frozenset[int]
    where: str


@dataclasses.dataclass(frozen=True)
class BenchmarkLists:
    """What a benchmark consists of.

    Attributes:
        images: names of the database, in order.
        queries: in order.
        where: what messages call the entry of image ``i``.
    """

    images: tuple[str, ...]
    queries: tuple[ListedQuery, ...]
    where: Callable[[int], str]


def read_revisited(path: pathlib.Path) -> BenchmarkLists:
    """``gnd_roxford5k.pkl`` or ``gnd_rparis6k.pkl``; no code of the pickle is run.

    A dict: ``imlist`` and ``qimlist`` hold names, ``gnd`` a dict a query with ``bbx`` (x1 y1 x2 y2) and the indices
    ``easy``, ``hard`` and ``junk``, from 0.
    https://github.com/filipradenovic/revisitop.

    Raises:
        DatasetError: unreadable; a name twice, an index outside the list, an image under two headings, a box without
            area, a query without positives; the message names the key.
    """
    return _lists(str(path), read_pickle(path), positives=("easy", "hard"), first=0)


def read_instre(path: pathlib.Path) -> BenchmarkLists:
    """``gnd_instre.mat``, or the same as a pickle: the benchmark that Iscen et al. (2017) made of INSTRE.

    ``imlist`` and ``qimlist`` hold paths, ``gnd`` a struct a query with ``ok``, the indices of its positives, from 1
    in the MATLAB file and from 0 in a pickle, and ``bbx``, which is x1 y1 x2 y2, unlike INSTRE's own text files.

    Raises:
        DatasetError: as `read_revisited`.
    """
    if path.suffix == ".pkl":
        return _lists(str(path), read_pickle(path), positives=("ok",), first=0)
    # Half a second of import that only this needs.
    import scipy.io  # type: ignore[import-untyped]

    try:
        content = scipy.io.loadmat(path, simplify_cells=True, variable_names=["imlist", "qimlist", "gnd"])
        plain = {key: _entries(content[key]) for key in ("imlist", "qimlist", "gnd") if key in content}
    except Exception as error:  # what a damaged file drives the reader into
        raise DatasetError(f"{path}: cannot be read as a MATLAB file ({error})") from error
    return _lists(str(path), plain, positives=("ok",), first=1)


def read_names(path: pathlib.Path) -> BenchmarkLists:
    """A text file with a picture a line.

    Raises:
        DatasetError: unreadable, empty, or a name twice; the message names the line.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path}: cannot be read ({error})") from error
    numbered = [(number, line.strip()) for number, line in enumerate(lines, start=1) if line.strip()]
    if not numbered:
        raise DatasetError(f"{path}: no pictures are listed")

    def where(index: int) -> str:
        return f"{path}:{numbered[index][0]}"

    names = [name for _, name in numbered]
    _check_unique(names, where)
    return BenchmarkLists(tuple(names), (), where)


def _entries(value: Any) -> list[Any]:
    """An array that `loadmat` may have squeezed to its only element."""
    return value.tolist() if hasattr(value, "tolist") else list(value) if isinstance(value, list) else [value]


def _lists(file: str, content: Any, *, positives: tuple[str, ...], first: int) -> BenchmarkLists:
    if not isinstance(content, Mapping) or not {"imlist", "qimlist", "gnd"} <= content.keys():
        raise DatasetError(f"{file}: not a benchmark with imlist, qimlist and gnd")
    images = _names(file, content, "imlist")
    pictures = _names(file, content, "qimlist")
    entries = content["gnd"]
    if not isinstance(entries, list) or len(entries) != len(pictures):
        raise DatasetError(f"{file}: gnd has not as many entries as qimlist, {len(pictures)}")
    queries = tuple(
        _query(f"{file}: gnd[{i}]", picture, entry, images, positives=positives, first=first)
        for i, (picture, entry) in enumerate(zip(pictures, entries, strict=True))
    )
    return BenchmarkLists(images, queries, lambda index: f"{file}: imlist[{index}]")


def _names(file: str, content: Mapping[str, Any], key: str) -> tuple[str, ...]:
    names = content[key]
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        raise DatasetError(f"{file}: {key} is not a list of names")
    names = [name.strip() for name in names]
    _check_unique(names, lambda index: f"{file}: {key}[{index}]")
    return tuple(names)


def _check_unique(names: Sequence[str], where: Callable[[int], str]) -> None:
    seen: set[str] = set()
    for index, name in enumerate(names):
        if name in seen:
            raise DatasetError(f"{where(index)}: {name} is listed twice")
        seen.add(name)


def _query(
    where: str, picture: str, entry: Any, images: tuple[str, ...], *, positives: tuple[str, ...], first: int
) -> ListedQuery:
    if not isinstance(entry, Mapping) or not {"bbx", *positives} <= entry.keys():
        found = ", ".join(map(str, entry)) if isinstance(entry, Mapping) else "no keys"
        raise DatasetError(f"{where}: needs {', '.join(positives)} and bbx, has {found}")
    kinds = (*positives, "junk")
    groups = {kind: _indices(f"{where}['{kind}']", entry.get(kind, []), len(images), first) for kind in kinds}
    for kind in kinds:
        for other in kinds[: kinds.index(kind)]:
            both = sorted(groups[kind] & groups[other])
            if both:
                listed = ", ".join(images[index] for index in both)
                raise DatasetError(f"{where}: {'positive' if kind == 'junk' else other} and {kind} at once: {listed}")
    right = frozenset().union(*(groups[kind] for kind in positives))
    if not right:
        raise DatasetError(f"{where}: the query has no positives")
    hard = groups["hard"] if "hard" in positives else None
    return ListedQuery(picture, _box(where, entry["bbx"]), right, hard, groups["junk"], where)


def _box(where: str, value: Any) -> tuple[float, float, float, float]:
    numbers = _flat(value)
    if len(numbers) != 4 or not all(isinstance(number, int | float) and math.isfinite(number) for number in numbers):
        raise DatasetError(f"{where}['bbx']: not four numbers x1 y1 x2 y2")
    x1, y1, x2, y2 = map(float, numbers)
    check_box(f"{where}['bbx']", (x1, y1, x2, y2))
    return x1, y1, x2, y2


def _indices(where: str, value: Any, count: int, first: int) -> frozenset[int]:
    indices = set()
    for number in _flat(value):
        if isinstance(number, bool) or not isinstance(number, int | float) or not float(number).is_integer():
            raise DatasetError(f"{where}: {number!r} is not the index of an image")
        index = int(number) - first
        if not 0 <= index < count:
            raise DatasetError(f"{where}: {int(number)} is not the index of one of {count} images, from {first}")
        if index in indices:
            raise DatasetError(f"{where}: {int(number)} is listed twice")
        indices.add(index)
    return frozenset(indices)


def _flat(value: Any) -> list[Any]:
    """A number, a list of numbers or an array of any shape as one list."""
    if hasattr(value, "ravel"):
        return value.ravel().tolist()
    return value if isinstance(value, list) else [value]
