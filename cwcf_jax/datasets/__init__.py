"""Photographs and benchmarks: decoding, resizing, folders, padded batches."""

from cwcf_jax.datasets.batches import Batch, Unreadable, read_batches
from cwcf_jax.datasets.folders import DatasetError, ImageSet, Query, read_dataset, read_folder, read_oxford
from cwcf_jax.datasets.images import ImageError, Resize, load_image, read_image

__all__ = [
    "Batch",
    "DatasetError",
    "ImageError",
    "ImageSet",
    "Query",
    "Resize",
    "Unreadable",
    "load_image",
    "read_batches",
    "read_dataset",
    "read_folder",
    "read_image",
    "read_oxford",
]
