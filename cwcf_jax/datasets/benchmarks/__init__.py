"""This package prepares the buildings benchmarks, their distractors and INSTRE as TFDS datasets, without tensorflow."""

from cwcf_jax.datasets.benchmarks.lists import BenchmarkLists, ListedQuery, read_instre, read_names, read_revisited
from cwcf_jax.datasets.benchmarks.prepared import NAMES, load
from cwcf_jax.datasets.benchmarks.specs import DATASETS, DatasetSpec, ExpectedCounts

__all__ = [
    "DATASETS",
    "NAMES",
    "BenchmarkLists",
    "DatasetSpec",
    "ExpectedCounts",
    "ListedQuery",
    "load",
    "read_instre",
    "read_names",
    "read_revisited",
]
