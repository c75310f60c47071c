"""Which index is meant when none is named."""

import os
import pathlib
from collections.abc import Iterable

from cwcf_jax.index import NAME, Index


def find_index(named: pathlib.Path | None, starts: Iterable[pathlib.Path] = ()) -> Index:
    """The index that is named, that ``CWCF_INDEX`` names, or the nearest above this folder or above ``starts``.

    Raises:
        FileNotFoundError: there is none; ValueError: it is damaged.
    """
    if named is None and os.environ.get("CWCF_INDEX"):
        named = pathlib.Path(os.environ["CWCF_INDEX"])
    if named is not None:
        return Index(named.expanduser())
    for start in (pathlib.Path.cwd(), *(start.resolve() for start in starts)):
        for folder in (start, *start.parents):
            if (folder / NAME / "index.json").is_file():
                return Index(folder)
    raise FileNotFoundError(
        "no index here or in a folder above; make one with cwcf index FOLDER, or name it by --index"
    )
