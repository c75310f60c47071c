"""Pictures with a class each: a folder a class, a folder with labels.csv, or a prepared TFDS dataset."""

import csv
import dataclasses
import hashlib
import pathlib
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from cwcf_jax.datasets.tfds import import_tfds
from cwcf_jax.images.decoding import ImageError, read_image
from cwcf_jax.images.folders import SUFFIXES
from cwcf_jax.images.imagesets import DatasetError

TFDS = "tfds:"
"""What the name of a TFDS dataset starts with: ``tfds:NAME[:SPLIT]``."""

Example = tuple[np.ndarray, int]
"""A picture, [height, width, 3] uint8 RGB, and its label."""


@dataclasses.dataclass(frozen=True)
class LabelledImages:
    """Pictures in a fixed order, each with a class; random access, as Grain wants it.

    Attributes:
        name: of the folder, or ``tfds:NAME:SPLIT``.
        class_names: of the labels; empty where labels are indices of the network's own classes.
        names: of the pictures, unique; what shares and orders are derived from.
        labels: of each picture; empty where they are only known once a picture is read (TFDS).
        stamps: what else tells two states of the data apart, file sizes say; one per picture, or none.
        read: picture ``i`` of the dataset that this is, or was selected from; ImageError names what cannot be read.
        rows: which of them these are.
    """

    name: str
    class_names: tuple[str, ...]
    names: tuple[str, ...]
    labels: tuple[int, ...]
    stamps: tuple[int, ...]
    read: Callable[[int], Example]
    rows: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Example:
        return self.read(self.rows[index])

    def select(self, indices: Sequence[int]) -> "LabelledImages":
        """Some of these, in the order given."""

        def pick(values: tuple[Any, ...]) -> tuple[Any, ...]:
            return tuple(values[i] for i in indices) if values else ()

        return dataclasses.replace(
            self, names=pick(self.names), labels=pick(self.labels), stamps=pick(self.stamps), rows=pick(self.rows)
        )

    def relabel(self, class_names: tuple[str, ...], labels: dict[int, int]) -> "LabelledImages":
        """The same pictures with label ``l`` turned into ``labels[l]``, under other class names."""
        read = self.read

        def read_relabelled(row: int) -> Example:
            image, label = read(row)
            return image, labels[label]

        relabelled = tuple(labels[label] for label in self.labels)
        return dataclasses.replace(self, class_names=class_names, labels=relabelled, read=read_relabelled)

    def fingerprint(self) -> str:
        """sha256 over names, labels, file sizes and class names; pixels are not looked at."""
        digest = hashlib.sha256("\n".join(self.class_names).encode())
        for values in (self.names, self.labels, self.stamps):
            digest.update(("\n\n" + "\n".join(map(str, values))).encode())
        return digest.hexdigest()

    def counts(self) -> dict[int, int]:
        """How many pictures each label has, where labels are known."""
        found, counted = np.unique(np.asarray(self.labels, np.int64), return_counts=True)
        return dict(zip(found.tolist(), counted.tolist(), strict=True))


def read_labelled(source: str | pathlib.Path, *, data_dir: str | None = None) -> LabelledImages:
    """A labelled dataset from a folder or from TFDS.

    Args:
        source: a folder with a sub-folder a class (its name, underscores read as spaces, is the class's); a folder
            with ``labels.csv`` (columns file, index, maybe name) and ``jpg/``; or ``tfds:NAME[:SPLIT]``.
        data_dir: where TFDS keeps its datasets; None is TFDS's own default.

    Raises:
        DatasetError: nothing there, nothing labelled in it, or a label that makes no sense; the message names it.
    """
    if isinstance(source, str) and source.startswith(TFDS):
        return _read_tfds(source.removeprefix(TFDS), data_dir)
    folder = pathlib.Path(source)
    if not folder.is_dir():
        raise DatasetError(f"{folder}: no such folder")
    return _read_listing(folder) if (folder / "labels.csv").is_file() else _read_tree(folder)


def split_by_name(images: LabelledImages, share: float) -> tuple[LabelledImages, LabelledImages]:
    """Training and held-out pictures: a picture is held out if the hash of its name falls under ``share``.

    It depends on nothing but the name: a picture stays on its side whatever is added to the dataset.
    """
    held = [int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]) < share * 2.0**64 for name in images.names]
    kept = images.select([i for i, out in enumerate(held) if not out])
    out = images.select([i for i, out in enumerate(held) if out])
    if not len(kept) or not len(out):
        raise DatasetError(f"{images.name}: a share of {share:g} leaves {len(kept)} pictures and holds out {len(out)}")
    return kept, out


def check_readable(images: LabelledImages, workers: int) -> tuple[LabelledImages, tuple[str, ...]]:
    """The pictures that can be decoded, and why the others cannot; decodes every one."""

    def problem(index: int) -> str | None:
        try:
            images[index]
        except ImageError as error:
            return str(error)
        return None

    with ThreadPoolExecutor(max(1, workers)) as pool:
        problems = list(pool.map(problem, range(len(images))))
    reasons = tuple(reason for reason in problems if reason is not None)
    if len(reasons) == len(images):
        raise DatasetError(f"{images.name}: not one of {len(images)} pictures can be read; the first: {reasons[0]}")
    return (
        (images.select([i for i, reason in enumerate(problems) if reason is None]), reasons)
        if reasons
        else (
            images,
            (),
        )
    )


def _read_tree(folder: pathlib.Path) -> LabelledImages:
    kinds = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not kinds:
        raise DatasetError(f"{folder}: neither labels.csv nor a sub-folder a class is in this folder")
    files, labels = [], []
    for label, kind in enumerate(kinds):
        found = sorted(path for path in kind.rglob("*") if _is_picture(path, kind))
        if not found:
            raise DatasetError(f"{kind}: no pictures of this class")
        files += found
        labels += [label] * len(found)
    names = tuple(kind.name.replace("_", " ") for kind in kinds)
    if len(set(names)) < len(names):
        raise DatasetError(f"{folder}: two sub-folders mean the same class, underscores being read as spaces")
    return _of_files(folder, names, files, labels)


def _is_picture(path: pathlib.Path, folder: pathlib.Path) -> bool:
    hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
    return path.suffix.lower() in SUFFIXES and not hidden and path.is_file()


def _read_listing(folder: pathlib.Path) -> LabelledImages:
    listing = folder / "labels.csv"
    files: dict[pathlib.Path, int] = {}
    for line, row in _rows(listing, ("file", "index")):
        path = folder / "jpg" / row["file"]
        if path in files:
            raise DatasetError(f"{listing}:{line}: {row['file']} is listed twice")
        if not path.is_file():
            raise DatasetError(f"{listing}:{line}: {path} does not exist")
        if not row["index"].isdecimal():
            raise DatasetError(f"{listing}:{line}: {row['index']!r} is not the index of a class, 0 or more")
        files[path] = int(row["index"])
    if not files:
        raise DatasetError(f"{listing}: no pictures are listed")
    return _of_files(folder, (), list(files), list(files.values()))


def _rows(listing: pathlib.Path, needed: Sequence[str]) -> Iterable[tuple[int, dict[str, str]]]:
    try:
        with listing.open(encoding="utf-8", newline="") as stream:
            reader = csv.DictReader(stream, restval="")
            missing = [column for column in needed if column not in (reader.fieldnames or ())]
            if missing:
                raise DatasetError(f"{listing}:1: no column {' nor '.join(missing)}; it needs {', '.join(needed)}")
            for row in reader:
                yield reader.line_num, {key: (row[key] or "").strip() for key in needed}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{listing}: cannot be read ({error})") from error


def _of_files(
    folder: pathlib.Path, class_names: tuple[str, ...], files: Sequence[pathlib.Path], labels: Sequence[int]
) -> LabelledImages:
    def read(index: int) -> Example:
        return read_image(files[index]), labels[index]

    return LabelledImages(
        folder.resolve().name,
        class_names,
        tuple(path.relative_to(folder).as_posix() for path in files),
        tuple(labels),
        tuple(path.stat().st_size for path in files),
        read,
        tuple(range(len(files))),
    )


def _read_tfds(text: str, data_dir: str | None) -> LabelledImages:
    """A prepared dataset in a format that needs no tensorflow, ``array_record``."""
    tfds = import_tfds()
    name, _, split = text.partition(":")
    try:
        builder = tfds.builder(name, data_dir=data_dir, file_format="array_record")
        kinds = _tfds_classes(name, builder.info.features)
        if not builder.info.splits:
            raise DatasetError(
                f"{TFDS}{name}: not prepared in {builder.data_dir}; prepare it with file_format=array_record "
                "(TFDS needs tensorflow for most of its own datasets), or give --data_dir"
            )
        source = tfds.data_source(name, split=split or "train", data_dir=data_dir, download=False)
        split = split or "train"
    except DatasetError:
        raise
    except Exception as error:  # TFDS raises its own kinds, OSError, ValueError, ImportError
        reason = " ".join(str(error).split())
        raise DatasetError(f"{TFDS}{text}: cannot be opened ({type(error).__name__}: {reason[:400]})") from error
    full = f"{TFDS}{name}:{split}"

    def read(index: int) -> Example:
        try:
            example = source[index]
            return _as_rgb(np.asarray(example["image"])), int(example["label"])
        except Exception as error:  # what a damaged record drives the decoder into
            raise ImageError(f"{full}, record {index}: cannot be read as a picture ({error})") from error

    rows = tuple(range(len(source)))
    if not rows:
        raise DatasetError(f"{full}: no pictures in this split")
    names = tuple(f"{builder.info.full_name}:{split}:{index}" for index in rows)
    return LabelledImages(full, kinds, names, (), (), read, rows)


def _tfds_classes(name: str, features: Any) -> tuple[str, ...]:
    """Names of the classes; DatasetError unless the dataset holds pictures with one label each."""
    there = dict(features) if hasattr(features, "keys") else {}
    names = getattr(there.get("label"), "names", None)
    if "image" not in there or not names:
        listed = ", ".join(sorted(there)) or "nothing"
        raise DatasetError(f"{TFDS}{name}: needs the features image and label (a ClassLabel), has {listed}")
    return tuple(str(label).replace("_", " ") for label in names)


def _as_rgb(image: np.ndarray) -> np.ndarray:
    """[height, width, 1, 3 or 4] uint8 as [height, width, 3]; ValueError for anything else."""
    if image.ndim != 3 or image.dtype != np.uint8 or image.shape[2] not in (1, 3, 4):
        raise ValueError(f"{image.dtype} of shape {image.shape} is not a picture of 8 bits")
    return np.repeat(image, 3, axis=2) if image.shape[2] == 1 else np.ascontiguousarray(image[..., :3])
