"""This module defines the datasets as TFDS builders, which write and read them without tensorflow.

The builders write shard by shard. Above 1 GB, TFDS's `GeneratorBasedBuilder` shuffles through files of tensorflow, or
sorts in memory where shuffling is disabled, and all of these datasets are larger.
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
"""The number of pictures of a shard. TFDS keeps a shard in memory while it is written, here about 100 MB."""

Examples = Iterator[tuple[int, dict[str, Any]]]


@dataclasses.dataclass(eq=False)
class BenchmarkConfig(tfds.core.BuilderConfig):  # type: ignore[misc]
    """A `BenchmarkConfig` holds the expected numbers of pictures and queries of a dataset."""

    counts: ExpectedCounts | None = None


def config_for(counts: ExpectedCounts) -> BenchmarkConfig:
    """Returns the configuration for other counts than the published ones, under a name of its own."""
    images = "_or_".join(map(str, counts.images))
    return BenchmarkConfig(name=f"{images}_images_{counts.queries}_queries", counts=counts)


class BenchmarkBuilder(tfds.core.ShardBasedBuilder, skip_registration=True):  # type: ignore[misc,call-arg]
    """A `BenchmarkBuilder` prepares one benchmark from archives or folders in TFDS's manual folder.

    Split ``images`` is the database in the order of the archives. Split ``queries`` has the query pictures that are not
    in the database; it is absent where all are. Names, order, ground truth and release are in ``info.metadata``, see
    `DatasetAssembly.metadata`.
    """

    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = "docs/datasets.md lists the files to download and the folder to put them into."

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
            manual_dir = pathlib.Path(dl_manager.manual_dir)
        except AssertionError as error:
            raise DatasetError(" ".join(str(error).split())) from error
        counts = self.builder_config.counts
        assembly = DatasetAssembly(DATASETS[self.name], manual_dir, counts)
        splits = {"images": _shards(assembly.images(), max(counts.images), self._metadata_writer(assembly))}
        if assembly.has_query_pictures:
            splits["queries"] = _shards(assembly.queries(), counts.queries)
        return splits

    def _metadata_writer(self, assembly: DatasetAssembly) -> Callable[[], None]:
        return lambda: self.info.metadata.update(assembly.metadata())


def _shards(
    pictures: Iterator[tuple[str, bytes]], count: int, on_end: Callable[[], None] = lambda: None
) -> list[Callable[[], Examples]]:
    """Cuts a stream of pictures into shards, which TFDS requests in order; the last shard calls ``on_end``."""
    examples = ((number, {"image": content, "name": name}) for number, (name, content) in enumerate(pictures))
    shards = max(1, -(-count // PICTURES_PER_SHARD))

    def shard(index: int) -> Examples:
        if index < shards - 1:
            yield from itertools.islice(examples, PICTURES_PER_SHARD)
        else:
            yield from examples
            on_end()

    return [lambda index=index: shard(index) for index in range(shards)]  # type: ignore[misc]


def _published_configs(name: str) -> list[BenchmarkConfig]:
    return [BenchmarkConfig(name="published", counts=DATASETS[name].counts, description=DATASETS[name].description)]


class Oxford5k(BenchmarkBuilder):
    """`Oxford5k` prepares Oxford Buildings."""

    name = "oxford5k"
    BUILDER_CONFIGS = _published_configs(name)


class Paris6k(BenchmarkBuilder):
    """`Paris6k` prepares Paris Buildings."""

    name = "paris6k"
    BUILDER_CONFIGS = _published_configs(name)


class Flickr100k(BenchmarkBuilder):
    """`Flickr100k` prepares the distractors of Oxford105k and Paris106k."""

    name = "flickr100k"
    BUILDER_CONFIGS = _published_configs(name)


class ROxford5k(BenchmarkBuilder):
    """`ROxford5k` prepares Revisited Oxford."""

    name = "roxford5k"
    BUILDER_CONFIGS = _published_configs(name)


class RParis6k(BenchmarkBuilder):
    """`RParis6k` prepares Revisited Paris."""

    name = "rparis6k"
    BUILDER_CONFIGS = _published_configs(name)


class Revisitop1m(BenchmarkBuilder):
    """`Revisitop1m` prepares R1M, the distractors of the revisited benchmarks."""

    name = "revisitop1m"
    BUILDER_CONFIGS = _published_configs(name)


class Instre(BenchmarkBuilder):
    """`Instre` prepares INSTRE."""

    name = "instre"
    BUILDER_CONFIGS = _published_configs(name)


BUILDERS = {
    builder.name: builder for builder in (Oxford5k, Paris6k, Flickr100k, ROxford5k, RParis6k, Revisitop1m, Instre)
}
"""The builder of each dataset in `DATASETS`, by name."""
