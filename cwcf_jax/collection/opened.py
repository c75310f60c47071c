"""An index on disk, as whoever reads it sees it."""

import functools
import pathlib

from cwcf_jax.collection.settings import Header, Settings, generation_folder, load_model, read_header
from cwcf_jax.collection.table import LanceStore, Snapshot, Store
from cwcf_jax.encoder import Model

NAME = ".cwcf"
"""The folder inside a folder of photographs that holds its index."""


class Opened:
    """The index of one folder.

    Attributes:
        folder: where the index is.
        root: the folder of photographs.
    """

    def __init__(self, folder: str | pathlib.Path) -> None:
        """Opens an index: ``folder`` itself, or ``.cwcf`` inside it.

        Raises:
            FileNotFoundError: there is none; ValueError: it is damaged.
        """
        folder = pathlib.Path(folder)
        self.folder = folder / NAME if (folder / NAME).is_dir() else folder
        self._header = read_header(self.folder)
        self.root = (self.folder / self._header.root).resolve()

    @property
    def settings(self) -> Settings:
        """How its pictures are described."""
        return self._header.settings

    @functools.cached_property
    def model(self) -> Model:
        """Its network; errors as in `settings.load_model`."""
        return load_model(self._header)

    def header(self) -> Header:
        """``index.json`` as it is now."""
        return read_header(self.folder)

    def generation(self) -> pathlib.Path:
        """The folder with its whitening, its table and its class vectors, as of now.

        Raises:
            FileNotFoundError: nothing was indexed yet.
        """
        header = self.header()
        if not header.generation:
            raise FileNotFoundError(f"{self.folder} is an empty index; fill it with cwcf index")
        return generation_folder(self.folder, header.generation)

    def table(self) -> Store:
        """Its pictures and descriptors; errors as in `generation`."""
        return open_table(self.generation(), self.settings)

    def snapshot(self) -> Snapshot:
        """Its pictures now; errors as in `generation`."""
        return self.table().snapshot()


def open_table(generation: pathlib.Path, settings: Settings) -> Store:
    """The pictures and descriptors of a generation."""
    return LanceStore(generation / "table", settings.dim)
