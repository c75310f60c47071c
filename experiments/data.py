"""Datasets by name: folders, registered benchmarks, and the synthetic ones, rendered where they are not there yet."""

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
"""Arguments of `synthetic.render_landmarks`. The two have no landmark in common, as Oxford5k and Paris6k have none."""

SMOKE: dict[str, dict[str, Any]] = {
    "synthetic": dict(seed=1, landmarks=2, queries=2, views=5, lookalikes=1, distractors=6, side=128),
    "synthetic_whitening": dict(seed=2, landmarks=3, queries=1, views=4, lookalikes=1, distractors=9, side=128),
}
"""The same, a few small pictures each, for --smoke."""


@dataclasses.dataclass(frozen=True)
class NamedDataset:
    """A dataset, and a short text that tells its place from others of the same name."""

    images: ImageSet
    place: str


def read(name: str, *, cache: pathlib.Path, data_dir: str | None, smoke: bool) -> NamedDataset:
    """The dataset called ``name``, or in the folder ``name``; with ``smoke`` a few pictures of it.

    Raises:
        ValueError: nothing of that name, or what is there is no dataset; the message says what to do.
    """
    if name in SYNTHETIC:
        folder = _rendered(name, cache, smoke)
        return NamedDataset(read_oxford(folder), _place(str(folder.resolve())))
    if name in benchmarks.NAMES:
        found, place = benchmarks.load(name, data_dir=data_dir), name
    elif pathlib.Path(name).is_dir():
        found, place = read_dataset(name), str(pathlib.Path(name).resolve())
    else:
        known = ", ".join([*SYNTHETIC, *benchmarks.NAMES])
        raise ValueError(f"{name}: no such folder, and no dataset of that name; known: {known}")
    if smoke:
        found = found.subset(queries=2, positives=5, others=8 if found.queries else 16)
    return NamedDataset(found, _place(place + " smoke" * smoke))


def _place(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:6]


def _rendered(name: str, cache: pathlib.Path, smoke: bool) -> pathlib.Path:
    folder = cache / (f"{name}_smoke" if smoke else name)
    given = (SMOKE if smoke else SYNTHETIC)[name]
    total = given["landmarks"] * (given["views"] + given["lookalikes"]) + given["distractors"]
    with tqdm(total=total, desc=f"rendering {name}", unit="image", disable=None) as bar:
        synthetic.render_landmarks(folder, **given, workers=os.cpu_count() or 1, progress=bar.update)
    return folder
