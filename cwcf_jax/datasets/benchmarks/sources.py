"""What has to be got by hand, where it is published, and where it may lie; and which release it is."""

import dataclasses
import datetime
import pathlib
from collections.abc import Sequence

from cwcf_jax.datasets.benchmarks.archives import SUFFIXES
from cwcf_jax.images.imagesets import DatasetError

ORIGINAL, BLURRED, UNKNOWN = "original", "face-blurred", "unknown"
"""Releases of the Oxford and Paris photographs."""

FLICKR = datetime.datetime(2004, 2, 1, tzinfo=datetime.UTC).timestamp()
UNBLURRED = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC).timestamp()
"""Photographs last written in between are the original ones: Flickr is not older, the blurred release is of 2022."""


@dataclasses.dataclass(frozen=True)
class PublishedSource:
    """Something published that a dataset is made from.

    Attributes:
        what: it is.
        choices: ways to have it, the preferred first. Each is a set of paths in the manual folder; a path stands for
            itself and for its archives (``.tgz`` and so on), ``*`` for any text.
        address: of the page that publishes it.
        advice: what else to know.
    """

    what: str
    choices: tuple[tuple[str, ...], ...]
    address: str
    advice: str = ""


def locate(manual: pathlib.Path, source: PublishedSource) -> tuple[pathlib.Path, ...]:
    """Where the source lies: the first of its choices that is complete, an archive before a folder.

    Raises:
        DatasetError: none is; the message says what to get, from where, and where to put it.
    """
    for choice in source.choices:
        found = [_matches(manual, stem) for stem in choice]
        if all(found):
            return tuple(path for paths in found for path in paths)
    ways = " or ".join(" and ".join(_spoken(stem) for stem in choice) for choice in source.choices)
    advice = f" ({source.advice})" if source.advice else ""
    raise DatasetError(
        f"{manual}: {source.what} is missing; get it from {source.address} and put it into this folder as {ways}, "
        f"an archive of that name ({', '.join(SUFFIXES)}) or a folder{advice}"
    )


def release(paths: Sequence[pathlib.Path], dates: tuple[float, float]) -> str:
    """Which release of the Oxford or Paris photographs this is, or `UNKNOWN`.

    The blurred release of 2022 is published as ``*-v1``, in place of the original one. The old names are still around
    for both, so that there the photographs' dates decide, which tar keeps: the release of 2022 had to be written anew.

    Args:
        paths: of the archives or folders.
        dates: of the oldest and of the newest photograph, seconds since 1970.
    """
    stems = {path.name.split(".")[0] for path in paths}
    if all(stem.endswith("-v1") for stem in stems):
        return BLURRED
    return ORIGINAL if dates[0] >= FLICKR and dates[1] < UNBLURRED else UNKNOWN


def _matches(manual: pathlib.Path, stem: str) -> list[pathlib.Path]:
    """The archives of a stem if there are any, otherwise the file or folder of that very name."""
    if "*" in stem:
        return sorted(path for path in manual.glob(stem) if path.name.endswith(SUFFIXES) and path.is_file())
    for suffix in SUFFIXES:
        archive = manual / f"{stem}{suffix}"
        if archive.is_file():
            return [archive]
    return [manual / stem] if (manual / stem).exists() else []


def _spoken(stem: str) -> str:
    return stem.replace(".*", ".N") if "*" in stem else stem


def _revisited(name: str, base: str) -> PublishedSource:
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
ROXFORD_LISTS = _revisited("roxford5k", "Oxford5k")
RPARIS_LISTS = _revisited("rparis6k", "Paris6k")
