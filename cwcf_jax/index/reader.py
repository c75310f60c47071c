"""An index on disk, as whoever reads it sees it."""

import atexit
import dataclasses
import functools
import pathlib
import shutil
import uuid

from cwcf_jax import files
from cwcf_jax.encoder import Model
from cwcf_jax.images import Root, find_root
from cwcf_jax.index.index_config import Header, IndexConfig, generation_folder, load_model, read_header
from cwcf_jax.index.table import LanceStore, Snapshot, TableStore
from cwcf_jax.store import remove

NAME = ".cwcf"
"""The folder inside a folder of photographs that holds its index."""

POSTGRES = "postgresql://", "postgres://"


NAMED = "table.name"
"""Inside a generation: what it is called in a database or a store that holds others too."""


@dataclasses.dataclass(frozen=True)
class GenerationPaths:
    """Where a generation keeps what grows with its pictures, the same for every process.

    Attributes:
        table: folder or address of a LanceDB, or of a PostgreSQL database.
        name: of the table in that database.
        dim: of its descriptors.
        vectors: folder or address of the class-vector store.
    """

    table: str
    name: str
    dim: int
    vectors: str


def name_generation(generation: pathlib.Path) -> None:
    """Gives a new generation a name that no other has."""
    files.write_text(generation / NAMED, f"cwcf_{uuid.uuid4().hex}\n")


def find_places(generation: pathlib.Path, settings: IndexConfig) -> GenerationPaths:
    """Where the parts of a generation are."""
    if not (settings.table or settings.store):
        return GenerationPaths(str(generation / "table"), "", settings.dim, str(generation / "vectors"))
    name = (generation / NAMED).read_text().strip()
    place = f"{settings.store.rstrip('/')}/{name}" if settings.store else str(generation)
    if not settings.table:
        return GenerationPaths(f"{place}/table", name, settings.dim, f"{place}/vectors")
    postgres = settings.table.startswith(POSTGRES)
    table = settings.table if postgres else f"{settings.table.rstrip('/')}/{name}"
    return GenerationPaths(table, name, settings.dim, f"{place}/vectors")


def open_table(places: GenerationPaths) -> TableStore:
    """The pictures and descriptors of a generation.

    Raises:
        ConnectionError: its database does not answer; ValueError: what talks to it is not installed.
    """
    if places.table.startswith(POSTGRES):
        return _postgres(places.table, places.dim, places.name)
    return LanceStore(places.table, places.dim)


def remove_generation(generation: pathlib.Path, settings: IndexConfig) -> None:
    """Removes a generation with what it keeps elsewhere."""
    if (settings.table or settings.store) and (generation / NAMED).exists():
        places = find_places(generation, settings)
        open_table(places).drop()
        if settings.store:
            remove(places.vectors)
    shutil.rmtree(generation)


class IndexReader:
    """The index of one folder.

    Attributes:
        folder: where the index is.
        root: the folder of photographs, or its address on an object store.
    """

    def __init__(self, folder: str | pathlib.Path, *, model: Model | None = None) -> None:
        """Opens an index.

        Args:
            folder: the index itself, or the folder with ``.cwcf`` inside it.
            model: its network where that is loaded already; None: it is loaded when it is first needed.

        Raises:
            FileNotFoundError: there is none; ValueError: it is damaged, or the model pools otherwise.
        """
        folder = pathlib.Path(folder)
        self.folder = folder / NAME if (folder / NAME).is_dir() else folder
        self._header = read_header(self.folder)
        if model is not None and model.config.pooling != self.settings.pooling:
            raise ValueError(
                f"{self.folder} was made with pooling={self.settings.pooling}, the model has {model.config.pooling}"
            )
        root = find_root(self._header.root)
        self._loaded = model
        self.root: Root = (self.folder / root).resolve() if isinstance(root, pathlib.Path) else root

    @property
    def settings(self) -> IndexConfig:
        """How its pictures are described."""
        return self._header.settings

    @functools.cached_property
    def model(self) -> Model:
        """Its network; errors as in `settings.load_model`."""
        return self._loaded or load_model(self.settings, self._header.weights)[0]

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

    def places(self) -> GenerationPaths:
        """Where its parts are now; errors as in `generation`."""
        return find_places(self.generation(), self.settings)

    def table(self) -> TableStore:
        """Its pictures and descriptors; errors as in `generation`."""
        return open_table(self.places())

    def snapshot(self) -> Snapshot:
        """Its pictures now; errors as in `generation`."""
        return self.table().snapshot()


@functools.cache
def _postgres(address: str, dim: int, name: str) -> TableStore:
    """One connection a process and table."""
    try:
        from cwcf_jax.index.postgres import PostgresStore
    except ImportError as error:
        raise ValueError(f"{error.name} is not installed; pip install 'cwcf-jax[postgres]'") from error
    store = PostgresStore(address, dim, name=name)
    atexit.register(store.close)
    return store
