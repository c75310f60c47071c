"""An index on disk, as whoever reads it sees it."""

import atexit
import functools
import pathlib
import uuid

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


TABLE = "table.name"
"""Inside a generation: what its table is called in a database that holds others too."""


def name_table(generation: pathlib.Path) -> None:
    """Gives the table of a new generation a name that no other has."""
    (generation / TABLE).write_text(f"cwcf_{uuid.uuid4().hex}\n")


def open_table(generation: pathlib.Path, settings: Settings) -> Store:
    """The pictures and descriptors of a generation.

    Raises:
        ConnectionError: its database does not answer; ValueError: what talks to it is not installed.
    """
    if not settings.table:
        return LanceStore(generation / "table", settings.dim)
    name = (generation / TABLE).read_text().strip()
    if settings.table.startswith(("postgresql://", "postgres://")):
        return _postgres(settings.table, settings.dim, name)
    return LanceStore(f"{settings.table.rstrip('/')}/{name}", settings.dim)


def drop_table(generation: pathlib.Path, settings: Settings) -> None:
    """Removes what `open_table` keeps outside of a generation's folder."""
    if settings.table and (generation / TABLE).exists():
        open_table(generation, settings).drop()


@functools.cache
def _postgres(address: str, dim: int, name: str) -> Store:
    """One connection a process and table."""
    try:
        from cwcf_jax.collection.postgres import PostgresStore
    except ImportError as error:
        raise ValueError(f"{error.name} is not installed; pip install 'cwcf-jax[postgres]'") from error
    store = PostgresStore(address, dim, name=name)
    atexit.register(store.close)
    return store
