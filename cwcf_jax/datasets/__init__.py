"""Photographs and benchmarks: decoding, resizing, folders, padded batches."""

from cwcf_jax.datasets.batches import Batch, Unreadable, read_batches
from cwcf_jax.datasets.folders import list_pictures, read_dataset, read_folder, read_oxford
from cwcf_jax.datasets.images import Box, ImageError, Resize, load_image, read_image, read_size
from cwcf_jax.datasets.imagesets import DatasetError, ImageSet, Picture, Query, Record, absolute
from cwcf_jax.datasets.objects import ObjectFile, ObjectFolder, Root, find_picture, find_root

__all__ = [
    "Batch",
    "Box",
    "DatasetError",
    "ImageError",
    "ImageSet",
    "ObjectFile",
    "ObjectFolder",
    "Picture",
    "Query",
    "Record",
    "Resize",
    "Root",
    "Unreadable",
    "absolute",
    "find_picture",
    "find_root",
    "list_pictures",
    "load_image",
    "read_batches",
    "read_dataset",
    "read_folder",
    "read_image",
    "read_oxford",
    "read_size",
]
