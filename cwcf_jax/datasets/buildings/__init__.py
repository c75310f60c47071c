"""The buildings benchmarks, their distractors and INSTRE as TFDS datasets, without tensorflow."""

from cwcf_jax.datasets.buildings.lists import ListedQuery, Lists, read_instre, read_names, read_revisited
from cwcf_jax.datasets.buildings.prepared import NAMES, load
from cwcf_jax.datasets.buildings.recipes import RECIPES, Counts, Recipe

__all__ = [
    "NAMES",
    "RECIPES",
    "Counts",
    "ListedQuery",
    "Lists",
    "Recipe",
    "load",
    "read_instre",
    "read_names",
    "read_revisited",
]
