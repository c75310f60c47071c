"""This module lists the files that users download by hand, finds them, and tells which release they are."""

import dataclasses
import datetime
import pathlib
from collections.abc import Sequence

from cwcf_jax.datasets.benchmarks.archives import SUFFIXES
from cwcf_jax.images.imagesets import DatasetError

ORIGINAL, BLURRED, UNKNOWN = "original", "face-blurred", "unknown"
"""Releases of the Oxford and Paris photographs."""

FLICKR_START = datetime.datetime(2004, 2, 1, tzinfo=datetime.UTC).timestamp()
ORIGINAL_END = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC).timestamp()
"""Photographs last written between these times are original: Flickr began in 2004, the blurred release is of 2022."""


@dataclasses.dataclass(frozen=True)
class PublishedSource:
    """A `PublishedSource` describes one part of a dataset that its authors publish.

    Attributes:
        title: name of the part, for error messages.
        choices: alternative sets of paths in the manual folder, the preferred set first. A path stands for a folder or
            file of that name and for archives of that name (``.tgz`` and so on); ``*`` stands for any text.
        address: address of the page that publishes the part.
        advice: further advice for the user.
    """

    title: str
    choices: tuple[tuple[str, ...], ...]
    address: str
    advice: str = ""


def locate(manual_dir: pathlib.Path, source: PublishedSource) -> tuple[pathlib.Path, ...]:
    """Returns the paths of the first choice that is complete in the manual folder, archives before folders.

    Raises:
        DatasetError: no choice is complete; the message names the files, their address and the folder to put them into.
    """
    for choice in source.choices:
        matches = [_matches(manual_dir, stem) for stem in choice]
        if all(matches):
            return tuple(path for paths in matches for path in paths)
    alternatives = " or ".join(" and ".join(_describe(stem) for stem in choice) for choice in source.choices)
    advice = f" ({source.advice})" if source.advice else ""
    raise DatasetError(
        f"{manual_dir}: {source.title} is missing; get it from {source.address} and put it into this folder as "
        f"{alternatives}, an archive of that name ({', '.join(SUFFIXES)}) or a folder{advice}"
    )


def detect_release(paths: Sequence[pathlib.Path], dates: tuple[float, float]) -> str:
    """Returns the release of the Oxford or Paris photographs: `ORIGINAL`, `BLURRED` or `UNKNOWN`.

    The blurred release of 2022 is published as ``*-v1``, in place of the original one. Copies of both releases exist
    under the old names as well. For old names the dates of the photographs decide, which tar preserves.

    Args:
        paths: the archives or folders.
        dates: modification times of the oldest and of the newest photograph, seconds since 1970.
    """
    stems = {path.name.split(".")[0] for path in paths}
    if all(stem.endswith("-v1") for stem in stems):
        return BLURRED
    return ORIGINAL if dates[0] >= FLICKR_START and dates[1] < ORIGINAL_END else UNKNOWN


def _matches(manual_dir: pathlib.Path, stem: str) -> list[pathlib.Path]:
    """Returns the archives of a stem if there are any, otherwise the file or folder of exactly that name."""
    if "*" in stem:
        return sorted(path for path in manual_dir.glob(stem) if path.name.endswith(SUFFIXES) and path.is_file())
    for suffix in SUFFIXES:
        archive = manual_dir / f"{stem}{suffix}"
        if archive.is_file():
            return [archive]
    return [manual_dir / stem] if (manual_dir / stem).exists() else []


def _describe(stem: str) -> str:
    return stem.replace(".*", ".N") if "*" in stem else stem


def _revisited_source(name: str, base: str) -> PublishedSource:
    return PublishedSource(
        f"the ground truth gnd_{name}.pkl",
        ((f"gnd_{name}.pkl",), (f"{name}/gnd_{name}.pkl",)),
        f"http://cmp.felk.cvut.cz/revisitop (data/datasets/{name})",
        f"the photographs are those of {base}",
    )


OXFORD_PICTURES = PublishedSource(
    "the photographs of Oxford5k",
    (("oxbuild_images",), ("oxbuild_images-v1",), ("oxford5k/jpg",), ("roxford5k/jpg",)),
    "https://www.robots.ox.ac.uk/~vgg/data/oxbuildings",
)
OXFORD_LABELS = PublishedSource(
    "the ground truth of Oxford5k",
    (("gt_files_170407",), ("oxford5k/lab",)),
    "https://www.robots.ox.ac.uk/~vgg/data/oxbuildings",
)
PARIS_PICTURES = PublishedSource(
    "the photographs of Paris6k",
    (("paris_1", "paris_2"), ("paris_1-v1", "paris_2-v1"), ("paris",), ("paris6k/jpg",), ("rparis6k/jpg",)),
    "https://www.robots.ox.ac.uk/~vgg/data/parisbuildings",
)
PARIS_LABELS = PublishedSource(
    "the ground truth of Paris6k",
    (("paris_120310",), ("paris6k/lab",)),
    "https://www.robots.ox.ac.uk/~vgg/data/parisbuildings",
)
FLICKR_PICTURES = PublishedSource(
    "the photographs of Flickr100k",
    (("oxc1_100k",), ("oxc1_100k.*",), ("flickr100k/jpg",)),
    "https://www.robots.ox.ac.uk/~vgg/data/oxbuildings/flickr100k.html",
    "published as oxc1_100k.partNN.rar: unrar x oxc1_100k.part01.rar makes the folder",
)
MILLION_PICTURES = PublishedSource(
    "the photographs of the R1M distractors",
    (("revisitop1m.*",), ("revisitop1m/jpg",)),
    "http://ptak.felk.cvut.cz/revisitop/revisitop1m/jpg",
    "revisitop1m.1.tar.gz to revisitop1m.100.tar.gz",
)
MILLION_LIST = PublishedSource(
    "the list revisitop1m.txt",
    (("revisitop1m.txt",), ("revisitop1m/revisitop1m.txt",)),
    "http://ptak.felk.cvut.cz/revisitop/revisitop1m",
)
INSTRE_PICTURES = PublishedSource(
    "the photographs of INSTRE",
    (("instre",), ("INSTRE_release",)),
    "ftp://ftp.irisa.fr/local/texmex/corpus/instre",
)
INSTRE_LISTS = PublishedSource(
    "the ground truth gnd_instre.mat",
    (("gnd_instre.mat",), ("gnd_instre.pkl",), ("instre/gnd_instre.mat",), ("instre/gnd_instre.pkl",)),
    "ftp://ftp.irisa.fr/local/texmex/corpus/instre",
)
ROXFORD_LISTS = _revisited_source("roxford5k", "Oxford5k")
RPARIS_LISTS = _revisited_source("rparis6k", "Paris6k")
