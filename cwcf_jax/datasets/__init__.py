"""Data sets with ground truth: benchmarks as TFDS builders, folders in Oxford layout, folders with a class each."""

from cwcf_jax.datasets.oxford import read_dataset, read_oxford

__all__ = ["read_dataset", "read_oxford"]
