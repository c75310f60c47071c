"""This module reads datasets by name: folders, registered benchmarks, and synthetic ones, which it renders."""

import dataclasses
import hashlib
import os
import pathlib
from typing import Any

from tqdm import tqdm

from cwcf_jax.datasets import benchmarks, read_dataset, read_oxford
from cwcf_jax.images import ImageSet
from experiments import synthetic

SYNTHETIC: dict[str, dict[str, Any]] = {
    "synthetic": dict(seed=1, landmarks=11, queries=5, views=18, lookalikes=6, distractors=130),
    "synthetic_whitening": dict(seed=2, landmarks=16, queries=1, views=12, lookalikes=4, distractors=144),
}
"""Arguments of `synthetic.render_landmarks`. The two datasets share no landmark, like Oxford5k and Paris6k."""

SMOKE: dict[str, dict[str, Any]] = {
    "synthetic": dict(seed=1, landmarks=2, queries=2, views=5, lookalikes=1, distractors=6, side=128),
    "synthetic_whitening": dict(seed=2, landmarks=3, queries=1, views=4, lookalikes=1, distractors=9, side=128),
}
"""Arguments for the same datasets with --smoke: a few small pictures each."""


@dataclasses.dataclass(frozen=True)
class NamedDataset:
    """A `NamedDataset` is a dataset with a hash of its location, which tells it from datasets of the same name."""

    images: ImageSet
    location_hash: str


def read(name: str, *, cache: pathlib.Path, data_dir: str | None, smoke: bool) -> NamedDataset:
    """Returns the dataset called ``name``, or the one in the folder ``name``; with ``smoke`` only a few pictures.

    Raises:
        ValueError: no dataset has this name, or the folder is not a dataset; the message says what to do.
    """
    if name in SYNTHETIC:
        folder = _render(name, cache, smoke)
        return NamedDataset(read_oxford(folder), _location_hash(str(folder.resolve())))
    if name in benchmarks.NAMES:
        images, location = benchmarks.load(name, data_dir=data_dir), name
    elif pathlib.Path(name).is_dir():
        images, location = read_dataset(name), str(pathlib.Path(name).resolve())
    else:
        known = ", ".join([*SYNTHETIC, *benchmarks.NAMES])
        raise ValueError(f"{name}: no such folder, and no dataset of that name; known: {known}")
    if smoke:
        images = images.subset(queries=2, positives=5, others=8 if images.queries else 16)
    return NamedDataset(images, _location_hash(location + " smoke" * smoke))


def _location_hash(text: str) -> str:
    """Returns a short hash that is part of the names of cache folders."""
    return hashlib.sha256(text.encode()).hexdigest()[:6]


def _render(name: str, cache: pathlib.Path, smoke: bool) -> pathlib.Path:
    """Renders a synthetic dataset, unless it is complete, and returns its folder."""
    folder = cache / (f"{name}_smoke" if smoke else name)
    settings = (SMOKE if smoke else SYNTHETIC)[name]
    total = settings["landmarks"] * (settings["views"] + settings["lookalikes"]) + settings["distractors"]
    with tqdm(total=total, desc=f"rendering {name}", unit="image", disable=None) as bar:
        synthetic.render_landmarks(folder, **settings, workers=os.cpu_count() or 1, progress=bar.update)
    return folder
