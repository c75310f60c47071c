"""This package reads labelled data: benchmarks as TFDS datasets, folders in Oxford layout, and folders by class."""

from cwcf_jax.datasets.oxford import read_dataset, read_oxford

__all__ = ["read_dataset", "read_oxford"]
