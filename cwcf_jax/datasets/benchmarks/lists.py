"""This module reads ground truth with indices of pictures (revisited benchmarks, INSTRE), and lists of names."""

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
    """A `ListedQuery` is a query whose positives and junk are indices of `BenchmarkLists.images`.

    Attributes:
        picture: name of the picture, which is the name of the query as well.
        box: ``x1 y1 x2 y2`` in pixels.
        positives: indices of the positive images, easy and hard.
        hard: indices of the hard positives; None where the benchmark does not tell easy from hard.
        junk: indices of the images that are ignored.
        location: file and entry of the query, for error messages.
    """

    picture: str
    box: tuple[float, float, float, float]
    positives: frozenset[int]
    hard: frozenset[int] | None
    junk: frozenset[int]
    location: str


@dataclasses.dataclass(frozen=True)
class BenchmarkLists:
    """A `BenchmarkLists` holds the image names and the queries of a benchmark.

    Attributes:
        images: names of the database's images, in order.
        queries: the queries, in order.
        location: function from the index of an image to file and entry, for error messages.
    """

    images: tuple[str, ...]
    queries: tuple[ListedQuery, ...]
    location: Callable[[int], str]


def read_revisited(path: pathlib.Path) -> BenchmarkLists:
    """Reads ``gnd_roxford5k.pkl`` or ``gnd_rparis6k.pkl`` without running code of the pickle.

    The pickle holds a dict. ``imlist`` and ``qimlist`` are lists of names. ``gnd`` has one dict for each query, with
    ``bbx`` (x1 y1 x2 y2) and the indices ``easy``, ``hard`` and ``junk``, counted from 0.
    Source: https://github.com/filipradenovic/revisitop.

    Raises:
        DatasetError: an unreadable file, a name that occurs twice, an index outside the list, an image in two groups,
            a box without area, or a query without positives; the message names the key.
    """
    return _parse_lists(str(path), read_pickle(path), positives=("easy", "hard"), first_index=0)


def read_instre(path: pathlib.Path) -> BenchmarkLists:
    """Reads ``gnd_instre.mat`` or ``gnd_instre.pkl``, the INSTRE benchmark of Iscen et al. (2017).

    ``imlist`` and ``qimlist`` are lists of paths. ``gnd`` has one struct for each query. Its ``ok`` has the indices of
    the positives, counted from 1 in the MATLAB file and from 0 in the pickle. Its ``bbx`` is x1 y1 x2 y2, unlike the
    boxes in INSTRE's own text files.

    Raises:
        DatasetError: as `read_revisited`.
    """
    if path.suffix == ".pkl":
        return _parse_lists(str(path), read_pickle(path), positives=("ok",), first_index=0)
    # Imported late: scipy.io takes half a second, and only INSTRE needs it.
    import scipy.io  # type: ignore[import-untyped]

    try:
        content = scipy.io.loadmat(path, simplify_cells=True, variable_names=["imlist", "qimlist", "gnd"])
        lists = {key: _as_list(content[key]) for key in ("imlist", "qimlist", "gnd") if key in content}
    except Exception as error:  # loadmat raises nearly anything on damaged files
        raise DatasetError(f"{path}: cannot be read as a MATLAB file ({error})") from error
    return _parse_lists(str(path), lists, positives=("ok",), first_index=1)


def read_names(path: pathlib.Path) -> BenchmarkLists:
    """Reads a text file with one picture name per line.

    Raises:
        DatasetError: an unreadable or empty file, or a name that occurs twice; the message names the line.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path}: cannot be read ({error})") from error
    numbered = [(number, line.strip()) for number, line in enumerate(lines, start=1) if line.strip()]
    if not numbered:
        raise DatasetError(f"{path}: no pictures are listed")

    def location(index: int) -> str:
        return f"{path}:{numbered[index][0]}"

    names = [name for _, name in numbered]
    _check_unique(names, location)
    return BenchmarkLists(tuple(names), (), location)


def _as_list(value: Any) -> list[Any]:
    """Returns an array of `loadmat` as a list; `loadmat` squeezes an array of one element to that element."""
    return value.tolist() if hasattr(value, "tolist") else list(value) if isinstance(value, list) else [value]


def _parse_lists(file: str, content: Any, *, positives: tuple[str, ...], first_index: int) -> BenchmarkLists:
    if not isinstance(content, Mapping) or not {"imlist", "qimlist", "gnd"} <= content.keys():
        raise DatasetError(f"{file}: not a benchmark with imlist, qimlist and gnd")
    images = _read_name_list(file, content, "imlist")
    pictures = _read_name_list(file, content, "qimlist")
    entries = content["gnd"]
    if not isinstance(entries, list) or len(entries) != len(pictures):
        raise DatasetError(f"{file}: gnd needs one entry for each of the {len(pictures)} names of qimlist")
    queries = tuple(
        _parse_query(f"{file}: gnd[{i}]", picture, entry, images, positives=positives, first_index=first_index)
        for i, (picture, entry) in enumerate(zip(pictures, entries, strict=True))
    )
    return BenchmarkLists(images, queries, lambda index: f"{file}: imlist[{index}]")


def _read_name_list(file: str, content: Mapping[str, Any], key: str) -> tuple[str, ...]:
    names = content[key]
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        raise DatasetError(f"{file}: {key} is not a list of names")
    names = [name.strip() for name in names]
    _check_unique(names, lambda index: f"{file}: {key}[{index}]")
    return tuple(names)


def _check_unique(names: Sequence[str], location: Callable[[int], str]) -> None:
    seen: set[str] = set()
    for index, name in enumerate(names):
        if name in seen:
            raise DatasetError(f"{location(index)}: {name} is listed twice")
        seen.add(name)


def _parse_query(
    location: str, picture: str, entry: Any, images: tuple[str, ...], *, positives: tuple[str, ...], first_index: int
) -> ListedQuery:
    if not isinstance(entry, Mapping) or not {"bbx", *positives} <= entry.keys():
        keys = ", ".join(map(str, entry)) if isinstance(entry, Mapping) else "no keys"
        raise DatasetError(f"{location}: needs {', '.join(positives)} and bbx, has {keys}")
    kinds = (*positives, "junk")
    groups = {
        kind: _parse_indices(f"{location}['{kind}']", entry.get(kind, []), len(images), first_index) for kind in kinds
    }
    for kind in kinds:
        for other in kinds[: kinds.index(kind)]:
            overlap = sorted(groups[kind] & groups[other])
            if overlap:
                listed = ", ".join(images[index] for index in overlap)
                other_kind = "positive" if kind == "junk" else other
                raise DatasetError(f"{location}: {other_kind} and {kind} at once: {listed}")
    positive_indices = frozenset().union(*(groups[kind] for kind in positives))
    if not positive_indices:
        raise DatasetError(f"{location}: the query has no positives")
    hard = groups["hard"] if "hard" in positives else None
    return ListedQuery(picture, _parse_box(location, entry["bbx"]), positive_indices, hard, groups["junk"], location)


def _parse_box(location: str, value: Any) -> tuple[float, float, float, float]:
    numbers = _flatten(value)
    if len(numbers) != 4 or not all(isinstance(number, int | float) and math.isfinite(number) for number in numbers):
        raise DatasetError(f"{location}['bbx']: not four numbers x1 y1 x2 y2")
    x1, y1, x2, y2 = map(float, numbers)
    check_box(f"{location}['bbx']", (x1, y1, x2, y2))
    return x1, y1, x2, y2


def _parse_indices(location: str, value: Any, count: int, first_index: int) -> frozenset[int]:
    indices = set()
    for number in _flatten(value):
        if isinstance(number, bool) or not isinstance(number, int | float) or not float(number).is_integer():
            raise DatasetError(f"{location}: {number!r} is not the index of an image")
        index = int(number) - first_index
        if not 0 <= index < count:
            expected = f"the index of one of {count} images, from {first_index}"
            raise DatasetError(f"{location}: {int(number)} is not {expected}")
        if index in indices:
            raise DatasetError(f"{location}: {int(number)} is listed twice")
        indices.add(index)
    return frozenset(indices)


def _flatten(value: Any) -> list[Any]:
    """Returns a number, a list of numbers or an array of any shape as one flat list."""
    if hasattr(value, "ravel"):
        return value.ravel().tolist()
    return value if isinstance(value, list) else [value]
