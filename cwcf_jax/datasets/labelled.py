"""This module reads pictures with class labels from a folder per class, a folder with labels.csv, or TFDS."""

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
"""The prefix of a TFDS dataset's name: ``tfds:NAME[:SPLIT]``."""

Example = tuple[np.ndarray, int]
"""A decoded picture, [height, width, 3] uint8 RGB, and its label."""


@dataclasses.dataclass(frozen=True)
class LabelledImages:
    """A `LabelledImages` is a random-access sequence of pictures with labels, as Grain needs it.

    Attributes:
        name: name of the folder, or ``tfds:NAME:SPLIT``.
        class_names: class name of each label; empty where labels are indices of the network's own classes.
        names: unique name of each picture; held-out shares and orders are derived from the names.
        labels: label of each picture; empty where a label is known only after its picture is read (TFDS).
        file_sizes: size of each picture's file in bytes, for the fingerprint; empty for TFDS.
        read: function from a row of the full dataset to picture and label; raises ImageError if it is unreadable.
        rows: row of each picture in the full dataset.
    """

    name: str
    class_names: tuple[str, ...]
    names: tuple[str, ...]
    labels: tuple[int, ...]
    file_sizes: tuple[int, ...]
    read: Callable[[int], Example]
    rows: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Example:
        return self.read(self.rows[index])

    def select(self, indices: Sequence[int]) -> "LabelledImages":
        """Returns the pictures with these indices, in the order of ``indices``."""

        def pick(values: tuple[Any, ...]) -> tuple[Any, ...]:
            return tuple(values[i] for i in indices) if values else ()

        return dataclasses.replace(
            self,
            names=pick(self.names),
            labels=pick(self.labels),
            file_sizes=pick(self.file_sizes),
            rows=pick(self.rows),
        )

    def relabel(self, class_names: tuple[str, ...], labels: dict[int, int]) -> "LabelledImages":
        """Returns the same pictures with each label ``l`` replaced by ``labels[l]``, under new class names."""
        read = self.read

        def read_relabelled(row: int) -> Example:
            image, label = read(row)
            return image, labels[label]

        relabelled = tuple(labels[label] for label in self.labels)
        return dataclasses.replace(self, class_names=class_names, labels=relabelled, read=read_relabelled)

    def fingerprint(self) -> str:
        """Returns the sha256 over names, labels, file sizes and class names; pixels are not included."""
        digest = hashlib.sha256("\n".join(self.class_names).encode())
        for values in (self.names, self.labels, self.file_sizes):
            digest.update(("\n\n" + "\n".join(map(str, values))).encode())
        return digest.hexdigest()

    def counts(self) -> dict[int, int]:
        """Returns the number of pictures of each label; empty where labels are unknown."""
        labels, counts = np.unique(np.asarray(self.labels, np.int64), return_counts=True)
        return dict(zip(labels.tolist(), counts.tolist(), strict=True))


def read_labelled(source: str | pathlib.Path, *, data_dir: str | None = None) -> LabelledImages:
    """Opens a labelled dataset in a folder or in TFDS.

    Args:
        source: a folder with one sub-folder per class (its name is the class name, with underscores read as spaces); a
            folder with ``labels.csv`` (columns file, index, optionally name) and ``jpg/``; or ``tfds:NAME[:SPLIT]``.
        data_dir: folder in which TFDS stores datasets; None is TFDS's own default.

    Raises:
        DatasetError: the dataset does not exist, has no labelled pictures, or has an invalid label; the message names
            the folder, line or dataset.
    """
    if isinstance(source, str) and source.startswith(TFDS):
        return _read_tfds(source.removeprefix(TFDS), data_dir)
    folder = pathlib.Path(source)
    if not folder.is_dir():
        raise DatasetError(f"{folder}: no such folder")
    return _read_listing(folder) if (folder / "labels.csv").is_file() else _read_tree(folder)


def split_by_name(images: LabelledImages, share: float) -> tuple[LabelledImages, LabelledImages]:
    """Returns training and held-out pictures; a picture is held out if the hash of its name is below ``share``.

    The split of a picture depends on its name alone. It does not change when other pictures are added to the dataset.

    Raises:
        DatasetError: no picture is left for training, or none is held out.
    """
    hashes = [int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]) for name in images.names]
    is_held_out = [number < share * 2.0**64 for number in hashes]
    train = images.select([i for i, held_out in enumerate(is_held_out) if not held_out])
    evaluation = images.select([i for i, held_out in enumerate(is_held_out) if held_out])
    if not len(train) or not len(evaluation):
        raise DatasetError(
            f"{images.name}: a share of {share:g} leaves {len(train)} pictures and holds out {len(evaluation)}"
        )
    return train, evaluation


def check_readable(images: LabelledImages, workers: int) -> tuple[LabelledImages, tuple[str, ...]]:
    """Decodes every picture; returns the readable pictures, and the error message of each unreadable one.

    Raises:
        DatasetError: no picture is readable.
    """

    def error_text(index: int) -> str | None:
        try:
            images[index]
        except ImageError as error:
            return str(error)
        return None

    with ThreadPoolExecutor(max(1, workers)) as pool:
        errors = list(pool.map(error_text, range(len(images))))
    reasons = tuple(reason for reason in errors if reason is not None)
    if len(reasons) == len(images):
        raise DatasetError(f"{images.name}: not one of {len(images)} pictures can be read; the first: {reasons[0]}")
    return (
        (images.select([i for i, reason in enumerate(errors) if reason is None]), reasons)
        if reasons
        else (
            images,
            (),
        )
    )


def _read_tree(folder: pathlib.Path) -> LabelledImages:
    class_folders = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not class_folders:
        raise DatasetError(f"{folder}: neither labels.csv nor a sub-folder per class is in this folder")
    files, labels = [], []
    for label, class_folder in enumerate(class_folders):
        pictures = sorted(path for path in class_folder.rglob("*") if _is_picture(path, class_folder))
        if not pictures:
            raise DatasetError(f"{class_folder}: this folder of a class has no pictures; add some or remove the folder")
        files += pictures
        labels += [label] * len(pictures)
    names = tuple(class_folder.name.replace("_", " ") for class_folder in class_folders)
    if len(set(names)) < len(names):
        raise DatasetError(f"{folder}: two sub-folders mean the same class, because underscores are read as spaces")
    return _from_files(folder, names, files, labels)


def _is_picture(path: pathlib.Path, folder: pathlib.Path) -> bool:
    hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
    return path.suffix.lower() in SUFFIXES and not hidden and path.is_file()


def _read_listing(folder: pathlib.Path) -> LabelledImages:
    listing = folder / "labels.csv"
    files: dict[pathlib.Path, int] = {}
    for line, row in _read_rows(listing, ("file", "index")):
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
    return _from_files(folder, (), list(files), list(files.values()))


def _read_rows(listing: pathlib.Path, required: Sequence[str]) -> Iterable[tuple[int, dict[str, str]]]:
    try:
        with listing.open(encoding="utf-8", newline="") as stream:
            reader = csv.DictReader(stream, restval="")
            missing = [column for column in required if column not in (reader.fieldnames or ())]
            if missing:
                raise DatasetError(f"{listing}:1: no column {' nor '.join(missing)}; it needs {', '.join(required)}")
            for row in reader:
                yield reader.line_num, {key: (row[key] or "").strip() for key in required}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{listing}: cannot be read ({error})") from error


def _from_files(
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
    """Opens a prepared TFDS dataset in the format ``array_record``, which needs no tensorflow."""
    tfds = import_tfds()
    name, _, split = text.partition(":")
    try:
        builder = tfds.builder(name, data_dir=data_dir, file_format="array_record")
        class_names = _tfds_classes(name, builder.info.features)
        if not builder.info.splits:
            raise DatasetError(
                f"{TFDS}{name}: not prepared in {builder.data_dir}; prepare it with file_format=array_record "
                "(TFDS needs tensorflow for most of its own datasets), or give --data_dir"
            )
        source = tfds.data_source(name, split=split or "train", data_dir=data_dir, download=False)
        split = split or "train"
    except DatasetError:
        raise
    except Exception as error:  # TFDS raises its own classes, OSError, ValueError, ImportError
        reason = " ".join(str(error).split())
        raise DatasetError(f"{TFDS}{text}: cannot be opened ({type(error).__name__}: {reason[:400]})") from error
    full_name = f"{TFDS}{name}:{split}"

    def read(index: int) -> Example:
        try:
            example = source[index]
            return _as_rgb(np.asarray(example["image"])), int(example["label"])
        except Exception as error:  # the decoder raises nearly anything on damaged records
            raise ImageError(f"{full_name}, record {index}: cannot be read as a picture ({error})") from error

    rows = tuple(range(len(source)))
    if not rows:
        raise DatasetError(f"{full_name}: no pictures in this split")
    names = tuple(f"{builder.info.full_name}:{split}:{index}" for index in rows)
    return LabelledImages(full_name, class_names, names, (), (), read, rows)


def _tfds_classes(name: str, features: Any) -> tuple[str, ...]:
    """Returns the class names; raises DatasetError unless the dataset has pictures with one label each."""
    named_features = dict(features) if hasattr(features, "keys") else {}
    names = getattr(named_features.get("label"), "names", None)
    if "image" not in named_features or not names:
        listed = ", ".join(sorted(named_features)) or "nothing"
        raise DatasetError(f"{TFDS}{name}: needs the features image and label (a ClassLabel), has {listed}")
    return tuple(str(label).replace("_", " ") for label in names)


def _as_rgb(image: np.ndarray) -> np.ndarray:
    """Converts [height, width, 1, 3 or 4] uint8 to [height, width, 3]; raises ValueError for other arrays."""
    if image.ndim != 3 or image.dtype != np.uint8 or image.shape[2] not in (1, 3, 4):
        raise ValueError(f"{image.dtype} of shape {image.shape} is not a picture of 8 bits")
    return np.repeat(image, 3, axis=2) if image.shape[2] == 1 else np.ascontiguousarray(image[..., :3])
