"""This module opens benchmarks as image sets, and prepares them on first use."""

import pathlib
from collections.abc import Mapping
from typing import Any

from cwcf_jax.datasets.benchmarks.specs import DATASETS, ExpectedCounts
from cwcf_jax.datasets.tfds import import_tfds
from cwcf_jax.images.imagesets import BenchmarkQuery, DatasetError, DatasetPicture, ImageSet

PARTS = {
    "oxford5k": ("oxford5k",),
    "paris6k": ("paris6k",),
    "oxford105k": ("oxford5k", "flickr100k"),
    "paris106k": ("paris6k", "flickr100k"),
    "roxford5k": ("roxford5k",),
    "rparis6k": ("rparis6k",),
    "roxford5k+1m": ("roxford5k", "revisitop1m"),
    "rparis6k+1m": ("rparis6k", "revisitop1m"),
    "instre": ("instre",),
    "flickr100k": ("flickr100k",),
    "revisitop1m": ("revisitop1m",),
}
"""The parts of each dataset: the benchmark, then distractors, whose images follow those of the benchmark."""

NAMES: dict[str, str] = {
    name: DATASETS[name].description
    if len(parts) == 1
    else f"{parts[0]} with the distractors of {parts[1]}: {sum(DATASETS[part].counts.images[0] for part in parts):,} "
    f"photographs, {DATASETS[parts[0]].counts.queries} queries"
    for name, parts in PARTS.items()
}
"""A description in one line of each dataset that `load` knows, by name."""


def load(
    name: str,
    *,
    data_dir: str | pathlib.Path | None = None,
    manual_dir: str | pathlib.Path | None = None,
    counts: Mapping[str, ExpectedCounts] | None = None,
) -> ImageSet:
    """Opens one of the datasets in `NAMES`; its archives or folders are read once, into TFDS's own files.

    Args:
        name: name of the dataset.
        data_dir: folder in which TFDS stores datasets; None is TFDS's own default.
        manual_dir: folder with the published archives and folders (docs/datasets.md); None is
            ``data_dir/downloads/manual``.
        counts: expected numbers of pictures and queries, by name of the part, where they differ from the published
            ones. Such a dataset is stored separately from the published one.

    Raises:
        ValueError: the name is unknown.
        DatasetError: a published file is missing or malformed; nothing is prepared then.
    """
    if name not in PARTS:
        raise ValueError(f"unknown dataset {name}; known are {', '.join(NAMES)}")
    benchmark, *distractors = (
        open_part(part, data_dir=data_dir, manual_dir=manual_dir, counts=(counts or {}).get(part))
        for part in PARTS[name]
    )
    names = sum((part.names for part in distractors), benchmark.names)
    paths = sum((part.paths for part in distractors), benchmark.paths)
    if len(set(names)) < len(names):
        duplicates = sorted(set(benchmark.names).intersection(*(part.names for part in distractors)))
        raise DatasetError(f"{name}: a distractor has the name of a picture: {', '.join(duplicates[:10])}")
    return ImageSet(name, names, paths, benchmark.queries, benchmark.release)


def open_part(
    name: str,
    *,
    data_dir: str | pathlib.Path | None,
    manual_dir: str | pathlib.Path | None,
    counts: ExpectedCounts | None,
) -> ImageSet:
    """Opens one part of a dataset, and prepares it before if necessary; arguments and errors are those of `load`."""
    tfds = import_tfds()
    from cwcf_jax.datasets.benchmarks import builders

    builder = builders.BUILDERS[name](
        data_dir=None if data_dir is None else str(pathlib.Path(data_dir).expanduser()),
        config=None if counts is None else builders.config_for(counts),
        file_format="array_record",
    )
    manual_path = None if manual_dir is None else str(pathlib.Path(manual_dir).expanduser())
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(manual_dir=manual_path))
    decoders = {"image": tfds.decode.SkipDecoding()}
    metadata = dict(builder.info.metadata or {})
    images = builder.as_data_source("images", decoders=decoders)
    query_records = builder.as_data_source("queries", decoders=decoders) if "queries" in builder.info.splits else ()
    if len(metadata.get("names", ())) != len(images):
        raise DatasetError(f"{builder.data_dir}: metadata.json does not fit its records; remove the folder")
    names = tuple(metadata["names"][record] for record in metadata["images"])
    records = zip(metadata["images"], names, strict=True)
    paths = tuple(DatasetPicture(images, record, f"{name}: {picture}") for record, picture in records)
    queries = tuple(_query(name, entry, query_records) for entry in metadata["queries"])
    return ImageSet(name, names, paths, queries, metadata["release"])


def _query(name: str, entry: Mapping[str, Any], query_records: Any) -> BenchmarkQuery:
    record, hard = entry["record"], entry["hard"]
    x1, y1, x2, y2 = entry["box"]
    return BenchmarkQuery(
        entry["name"],
        entry["image"],
        (x1, y1, x2, y2),
        frozenset(entry["positives"]),
        frozenset(entry["junk"]),
        None if hard is None else frozenset(hard),
        None if record is None else DatasetPicture(query_records, record, f"{name}: {entry['name']}"),
    )
