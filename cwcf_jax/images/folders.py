"""This module lists the pictures of a folder on a disk or on an object store."""

import pathlib

from cwcf_jax.images.imagesets import DatasetError, ImageSet
from cwcf_jax.images.object_stores import ObjectFolder, Root

SUFFIXES = (
    *(".avif", ".bmp", ".gif", ".heic", ".heif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm"),
    *(".png", ".pnm", ".ppm", ".tga", ".tif", ".tiff", ".webp"),
)
"""The suffixes of pictures. Some need a Pillow plugin; without the plugin such files are reported as unreadable."""


def read_folder(folder: str | pathlib.Path) -> ImageSet:
    """Returns all pictures below ``folder`` except hidden files, in the order of their paths.

    Raises:
        DatasetError: the folder does not exist, or there is no picture below it.
    """
    folder = pathlib.Path(folder)
    relative_paths = list_pictures(folder)
    if not relative_paths:
        raise DatasetError(f"{folder}: no pictures in this folder or below")
    names = tuple(path.as_posix() for path in relative_paths)
    return ImageSet(folder.resolve().name, names, tuple(folder / path for path in relative_paths))


def list_pictures(folder: Root) -> list[pathlib.PurePath]:
    """Returns the sorted paths of all pictures below ``folder``, relative to ``folder``.

    Raises:
        DatasetError: the folder does not exist.
    """
    if isinstance(folder, ObjectFolder):
        return sorted(path for path in folder.paths() if path.suffix.lower() in SUFFIXES and not _hidden(path))
    if not folder.is_dir():
        raise DatasetError(f"{folder}: no such folder")
    return sorted(
        path.relative_to(folder)
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES and path.is_file() and not _hidden(path.relative_to(folder))
    )


def _hidden(path: pathlib.PurePath) -> bool:
    return any(part.startswith(".") for part in path.parts)
