"""This module specifies the sources of each dataset and its expected numbers of pictures and queries."""

import dataclasses
import pathlib
from collections.abc import Callable

from cwcf_jax.datasets.benchmarks import sources
from cwcf_jax.datasets.benchmarks.lists import BenchmarkLists, read_instre, read_names, read_revisited
from cwcf_jax.datasets.benchmarks.sources import PublishedSource

PARIS_CORRUPT = frozenset(
    {
        *("paris_louvre_000136", "paris_louvre_000146", "paris_moulinrouge_000422", "paris_museedorsay_001059"),
        *("paris_notredame_000188", "paris_pantheon_000284", "paris_pantheon_000960", "paris_pantheon_000974"),
        *("paris_pompidou_000195", "paris_pompidou_000196", "paris_pompidou_000201", "paris_pompidou_000467"),
        *("paris_pompidou_000640", "paris_sacrecoeur_000299", "paris_sacrecoeur_000330", "paris_sacrecoeur_000353"),
        *("paris_triomphe_000662", "paris_triomphe_000833", "paris_triomphe_000863", "paris_triomphe_000867"),
    }
)
"""The names of the 20 files of the Paris archives that are no pictures; publications leave them out.

Source: https://www.robots.ox.ac.uk/~vgg/data/parisbuildings/corrupt.txt.
"""


@dataclasses.dataclass(frozen=True)
class ExpectedCounts:
    """An `ExpectedCounts` holds the numbers of pictures and queries that a dataset must have.

    Attributes:
        images: allowed numbers of pictures in the database; several where publications differ.
        queries: number of queries with ground truth.
    """

    images: tuple[int, ...]
    queries: int = 0


@dataclasses.dataclass(frozen=True)
class DatasetSpec:
    """A `DatasetSpec` describes the sources of one dataset.

    Attributes:
        name: name of the dataset.
        description: description in one line.
        counts: numbers of pictures and queries of the published dataset.
        pictures: source of the pictures.
        labels: source of ground truth in the Oxford layout; None where there is none.
        lists: source of ground truth or of a list that names the pictures; None where there is none.
        read_lists: reader of ``lists``.
        picture_name: function from the path of a picture inside archive or folder to its name, for datasets without
            ``lists``.
        excluded_names: names of files that are no pictures.
        has_blurred_release: whether a face-blurred release exists.
    """

    name: str
    description: str
    counts: ExpectedCounts
    pictures: PublishedSource
    labels: PublishedSource | None = None
    lists: PublishedSource | None = None
    read_lists: Callable[[pathlib.Path], BenchmarkLists] = read_names
    picture_name: Callable[[str], str] = lambda path: pathlib.PurePosixPath(path).stem
    excluded_names: frozenset[str] = frozenset()
    has_blurred_release: bool = False


def _flickr_name(path: str) -> str:
    """Returns ``TAG/NAME``, since the names of Flickr100k are not unique."""
    parts = [part for part in pathlib.PurePosixPath(path).with_suffix("").parts if part != "oxc1_100k"]
    return "/".join(parts[-2:])


DATASETS = {
    spec.name: spec
    for spec in (
        DatasetSpec(
            "oxford5k",
            "Oxford Buildings (Philbin et al. 2007): 5,063 photographs, 55 queries",
            ExpectedCounts((5063,), 55),
            sources.OXFORD_PICTURES,
            labels=sources.OXFORD_LABELS,
            has_blurred_release=True,
        ),
        DatasetSpec(
            "paris6k",
            "Paris Buildings (Philbin et al. 2008): 6,392 photographs, 55 queries",
            ExpectedCounts((6392,), 55),
            sources.PARIS_PICTURES,
            labels=sources.PARIS_LABELS,
            excluded_names=PARIS_CORRUPT,
            has_blurred_release=True,
        ),
        # The authors' list has 100,070 names; the archives are said to hold 100,071 photographs.
        DatasetSpec(
            "flickr100k",
            "100,070 distractors from Flickr (Philbin et al. 2007), no queries",
            ExpectedCounts((100_070, 100_071)),
            sources.FLICKR_PICTURES,
            picture_name=_flickr_name,
        ),
        DatasetSpec(
            "roxford5k",
            "Revisited Oxford (Radenovic et al. 2018): 4,993 photographs, 70 queries that are not among them",
            ExpectedCounts((4993,), 70),
            sources.OXFORD_PICTURES,
            lists=sources.ROXFORD_LISTS,
            read_lists=read_revisited,
            has_blurred_release=True,
        ),
        DatasetSpec(
            "rparis6k",
            "Revisited Paris (Radenovic et al. 2018): 6,322 photographs, 70 queries that are not among them",
            ExpectedCounts((6322,), 70),
            sources.PARIS_PICTURES,
            lists=sources.RPARIS_LISTS,
            read_lists=read_revisited,
            has_blurred_release=True,
        ),
        DatasetSpec(
            "revisitop1m",
            "R1M, 1,001,001 distractors (Radenovic et al. 2018), no queries",
            ExpectedCounts((1_001_001,)),
            sources.MILLION_PICTURES,
            lists=sources.MILLION_LIST,
        ),
        DatasetSpec(
            "instre",
            "INSTRE as in Iscen et al. 2017: 27,293 photographs, 1,250 queries that are not among them",
            ExpectedCounts((27_293,), 1250),
            sources.INSTRE_PICTURES,
            lists=sources.INSTRE_LISTS,
            read_lists=read_instre,
        ),
    )
}
"""The spec of each dataset that TFDS prepares, by name."""
