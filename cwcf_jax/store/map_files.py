"""Maps of images that come and go: each has a name, such as the sha256 of its file; int8, see `maps`."""

import io
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorstore

from cwcf_jax import files
from cwcf_jax.store import zarr
from cwcf_jax.store.folder import StaleStoreError
from cwcf_jax.store.maps import DAMAGE, FORMAT, damaged, dump, load
from cwcf_jax.store.zarr import Location


class MapFiles:
    """One file an image in a folder, or one object an image on an object store.

    An image appears whole, and what has one name is alike: any number of processes may write, the same image twice
    included. Whoever removes sees to it that nobody writes meanwhile.
    """

    def __init__(self, location: Location) -> None:
        """``location``: a folder, made with its parents when it is written to, or an address: see `Location`."""
        self.location = location
        self._folder = zarr.local_folder(location)
        self._kvstore = zarr.connect(location)

    def claim(self, fingerprint: Mapping[str, Any]) -> None:
        """Writes down what the maps depend on, anything JSON can hold; StaleStoreError if others depend on others."""
        header = {"format": FORMAT, "dtype": "int8", **fingerprint}
        stored = zarr.read_json(self._kvstore, "fingerprint.json")
        if stored is None:
            zarr.write_json(self._kvstore, "fingerprint.json", header)
        else:
            files.compare(str(self.location), stored, header, StaleStoreError)

    def sweep(self) -> None:
        """Removes what killed writers left; nobody may write meanwhile."""
        if self._folder is not None:
            for partial in self._folder.glob("*/*.partial"):
                partial.unlink()

    def __contains__(self, name: str) -> bool:
        if self._folder is not None:
            return (self._folder / _key(name)).exists()
        only = tensorstore.KvStore.KeyRange(_key(name), _key(name) + "\0")
        return bool(self._kvstore.list(only).result())

    def names(self) -> set[str]:
        """The images that are there."""
        if self._folder is not None:
            return {file.stem for file in self._folder.glob("*/*.npz")}
        keys = (key.decode() for key in self._kvstore.list().result())
        return {pathlib.PurePosixPath(key).stem for key in keys if key.endswith(".npz")}

    def write(self, name: str, **maps: np.ndarray) -> None:
        """Keeps the maps [h, w, c] of one image; values beyond float16 are cut to its largest."""
        if self._folder is None:
            content = io.BytesIO()
            dump(content, maps, compact=True)
            self._kvstore.write(_key(name), content.getvalue()).result()
            return
        file = self._folder / _key(name)
        file.parent.mkdir(parents=True, exist_ok=True)
        with files.replacing(file, lasting=False, shared=True) as partial, partial.open("wb") as stream:
            dump(stream, maps, compact=True)

    def read(self, name: str) -> dict[str, np.ndarray]:
        """The maps of one image, float32; StaleStoreError names what is damaged or not there."""
        place = f"{self.location}/{_key(name)}" if self._folder is None else self._folder / _key(name)
        try:
            if isinstance(place, pathlib.Path):
                with place.open("rb") as stream:  # numpy leaves a damaged file open
                    return load(stream)
            found = self._kvstore.read(_key(name)).result()
            if found.state != "value":
                raise FileNotFoundError("no such object")
            return load(io.BytesIO(found.value))
        except DAMAGE as error:
            raise damaged(place, error) from error

    def remove(self, name: str) -> None:
        """Forgets an image; one that is not there does no harm."""
        if self._folder is None:
            self._kvstore.write(_key(name), None).result()
        else:
            (self._folder / _key(name)).unlink(missing_ok=True)


def _key(name: str) -> str:
    return f"{name[:2]}/{name}.npz"
