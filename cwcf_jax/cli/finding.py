"""This module finds the index of a command."""

import os
import pathlib
from collections.abc import Iterable

from cwcf_jax.index import FOLDER_NAME, Index


def find_index(path: pathlib.Path | None, starts: Iterable[pathlib.Path] = ()) -> Index:
    """Returns the index at a path, at the path ``CWCF_INDEX``, or the nearest index at or above some folders.

    Args:
        path: path of the index, from the flag ``--index``.
        starts: folders at which the search begins, after the working directory.

    Raises:
        FileNotFoundError: there is no index.
        ValueError: the index is damaged.
    """
    if path is None and os.environ.get("CWCF_INDEX"):
        path = pathlib.Path(os.environ["CWCF_INDEX"])
    if path is not None:
        return Index(path.expanduser())
    for start in (pathlib.Path.cwd(), *(start.resolve() for start in starts)):
        for folder in (start, *start.parents):
            if (folder / FOLDER_NAME / "index.json").is_file():
                return Index(folder)
    raise FileNotFoundError(
        "no index in this folder or a folder above; create one with cwcf index FOLDER, or name one with --index"
    )
