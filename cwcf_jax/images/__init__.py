"""This package lists the pictures of folders and object stores, decodes and resizes them, and pads them to batches."""

from cwcf_jax.images.batches import Batch, Unreadable, read_batches
from cwcf_jax.images.decoding import Box, ImageError, Resize, load_image, read_image, read_size
from cwcf_jax.images.folders import list_pictures, read_folder
from cwcf_jax.images.imagesets import BenchmarkQuery, DatasetError, DatasetPicture, ImageSet, Picture, absolute
from cwcf_jax.images.object_stores import ObjectFile, ObjectFolder, Root, find_picture, find_root

__all__ = [
    "Batch",
    "BenchmarkQuery",
    "Box",
    "DatasetError",
    "DatasetPicture",
    "ImageError",
    "ImageSet",
    "ObjectFile",
    "ObjectFolder",
    "Picture",
    "Resize",
    "Root",
    "Unreadable",
    "absolute",
    "find_picture",
    "find_root",
    "list_pictures",
    "load_image",
    "read_batches",
    "read_folder",
    "read_image",
    "read_size",
]
