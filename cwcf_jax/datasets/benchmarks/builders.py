"""The datasets as TFDS builders, written and read without tensorflow.

They write shard by shard: TFDS's `GeneratorBasedBuilder` shuffles what is above 1 GB through files of tensorflow's, and
sorts it in memory where shuffling is disabled; all of these are larger.
"""

import dataclasses
import itertools
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import tensorflow_datasets as tfds  # type: ignore[import-untyped]

from cwcf_jax.datasets.benchmarks.assembly import DatasetAssembly
from cwcf_jax.datasets.benchmarks.specs import DATASETS, ExpectedCounts
from cwcf_jax.images.imagesets import DatasetError

PICTURES_PER_SHARD = 250
"""TFDS holds a shard in memory while it writes it: some 100 MB."""

Examples = Iterator[tuple[int, dict[str, Any]]]


@dataclasses.dataclass(eq=False)
class BenchmarkConfig(tfds.core.BuilderConfig):  # type: ignore[misc]
    """How many pictures and queries a dataset has to have."""

    counts: ExpectedCounts | None = None


def configured(counts: ExpectedCounts) -> BenchmarkConfig:
    """The configuration for other counts than the published ones: a part of a dataset is a dataset of its own."""
    images = "_or_".join(map(str, counts.images))
    return BenchmarkConfig(name=f"{images}_images_{counts.queries}_queries", counts=counts)


class BenchmarkBuilder(tfds.core.ShardBasedBuilder, skip_registration=True):  # type: ignore[misc,call-arg]
    """A benchmark from its archives, or from folders, in TFDS's manual folder.

    Split ``images``: the database, in the order in which it was found; split ``queries``, where there are any: pictures
    of queries that are not in the database. Names, order, ground truth and release are in ``info.metadata``, see
    `DatasetAssembly.metadata`.
    """

    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = "See docs/datasets.md for what to get and where to put it."

    def _info(self) -> Any:
        features = tfds.features.FeaturesDict(
            {"image": tfds.features.Image(shape=(None, None, 3)), "name": tfds.features.Text()}
        )
        return tfds.core.DatasetInfo(
            builder=self,
            description=DATASETS[self.name].description,
            features=features,
            disable_shuffling=True,
            metadata=tfds.core.MetadataDict(),
        )

    def _shard_iterators_per_split(self, dl_manager: Any) -> Mapping[str, Sequence[Callable[[], Examples]]]:
        try:
            manual = pathlib.Path(dl_manager.manual_dir)
        except AssertionError as error:
            raise DatasetError(" ".join(str(error).split())) from error
        counts = self.builder_config.counts
        gathering = DatasetAssembly(DATASETS[self.name], manual, counts)
        splits = {"images": _shards(gathering.images(), max(counts.images), self._note(gathering))}
        if gathering.has_queries_apart:
            splits["queries"] = _shards(gathering.queries(), counts.queries)
        return splits

    def _note(self, gathering: DatasetAssembly) -> Callable[[], None]:
        return lambda: self.info.metadata.update(gathering.metadata())


def _shards(
    pictures: Iterator[tuple[str, bytes]], count: int, at_end: Callable[[], None] = lambda: None
) -> list[Callable[[], Examples]]:
    """One stream of pictures cut into shards, which TFDS asks for one after the other."""
    examples = ((number, {"image": content, "name": name}) for number, (name, content) in enumerate(pictures))
    shards = max(1, -(-count // PICTURES_PER_SHARD))

    def shard(index: int) -> Examples:
        if index < shards - 1:
            yield from itertools.islice(examples, PICTURES_PER_SHARD)
        else:
            yield from examples
            at_end()

    return [lambda index=index: shard(index) for index in range(shards)]  # type: ignore[misc]


def _published(name: str) -> list[BenchmarkConfig]:
    return [BenchmarkConfig(name="published", counts=DATASETS[name].counts, description=DATASETS[name].description)]


class Oxford5k(BenchmarkBuilder):
    """Oxford Buildings."""

    name = "oxford5k"
    BUILDER_CONFIGS = _published(name)


class Paris6k(BenchmarkBuilder):
    """Paris Buildings."""

    name = "paris6k"
    BUILDER_CONFIGS = _published(name)


class Flickr100k(BenchmarkBuilder):
    """The distractors of Oxford105k and Paris106k."""

    name = "flickr100k"
    BUILDER_CONFIGS = _published(name)


class ROxford5k(BenchmarkBuilder):
    """Revisited Oxford."""

    name = "roxford5k"
    BUILDER_CONFIGS = _published(name)


class RParis6k(BenchmarkBuilder):
    """Revisited Paris."""

    name = "rparis6k"
    BUILDER_CONFIGS = _published(name)


class Revisitop1m(BenchmarkBuilder):
    """R1M, the distractors of the revisited benchmarks."""

    name = "revisitop1m"
    BUILDER_CONFIGS = _published(name)


class Instre(BenchmarkBuilder):
    """INSTRE."""

    name = "instre"
    BUILDER_CONFIGS = _published(name)


BUILDERS = {
    builder.name: builder for builder in (Oxford5k, Paris6k, Flickr100k, ROxford5k, RParis6k, Revisitop1m, Instre)
}
"""One for each of `DATASETS`."""
