"""The pictures of a folder, on a disk or on an object store."""

import pathlib

from cwcf_jax.images.imagesets import DatasetError, ImageSet
from cwcf_jax.images.object_stores import ObjectFolder, Root

SUFFIXES = (
    *(".avif", ".bmp", ".gif", ".heic", ".heif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm"),
    *(".png", ".pnm", ".ppm", ".tga", ".tif", ".tiff", ".webp"),
)
"""What counts as a picture in a folder. Some need a Pillow plugin; without it they are reported, not passed over."""


def read_folder(folder: str | pathlib.Path) -> ImageSet:
    """Every picture below ``folder``, hidden ones left out, in the order of their paths.

    Raises:
        DatasetError: no such folder, or no picture in it.
    """
    folder = pathlib.Path(folder)
    relative = list_pictures(folder)
    if not relative:
        raise DatasetError(f"{folder}: no pictures in this folder or below")
    name = folder.resolve().name
    return ImageSet(name, tuple(path.as_posix() for path in relative), tuple(folder / path for path in relative))


def list_pictures(folder: Root) -> list[pathlib.PurePath]:
    """The paths of all pictures below ``folder``, relative to it and in order; DatasetError if there is no folder."""
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
