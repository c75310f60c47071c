"""This module reads an index from disk."""

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

FOLDER_NAME = ".cwcf"
"""The name of the index folder inside a folder of photographs."""

POSTGRES_SCHEMES = "postgresql://", "postgres://"

TABLE_NAME_FILE = "table.name"
"""The file in a generation's folder with the unique name of the generation in a shared database or store."""


@dataclasses.dataclass(frozen=True)
class GenerationPaths:
    """A `GenerationPaths` says where a generation stores its table and its class vectors.

    Attributes:
        table: folder or address of a LanceDB, or address of a PostgreSQL database.
        name: name of the table in the database.
        dim: number of dimensions of a descriptor.
        vectors: folder or address of the class-vector store.
    """

    table: str
    name: str
    dim: int
    vectors: str


def name_generation(generation: pathlib.Path) -> None:
    """Writes a new, unique name of a generation to its folder."""
    files.write_text(generation / TABLE_NAME_FILE, f"cwcf_{uuid.uuid4().hex}\n")


def find_generation_paths(generation: pathlib.Path, config: IndexConfig) -> GenerationPaths:
    """Returns the paths of a generation, given its folder."""
    if not (config.table or config.store):
        return GenerationPaths(str(generation / "table"), "", config.dim, str(generation / "vectors"))
    name = (generation / TABLE_NAME_FILE).read_text().strip()
    root = f"{config.store.rstrip('/')}/{name}" if config.store else str(generation)
    if not config.table:
        return GenerationPaths(f"{root}/table", name, config.dim, f"{root}/vectors")
    is_postgres = config.table.startswith(POSTGRES_SCHEMES)
    table = config.table if is_postgres else f"{config.table.rstrip('/')}/{name}"
    return GenerationPaths(table, name, config.dim, f"{root}/vectors")


def open_table(paths: GenerationPaths) -> TableStore:
    """Opens the table of a generation.

    Raises:
        ConnectionError: the database does not answer.
        ValueError: the client of the database is not installed.
    """
    if paths.table.startswith(POSTGRES_SCHEMES):
        return _open_postgres(paths.table, paths.dim, paths.name)
    return LanceStore(paths.table, paths.dim)


def remove_generation(generation: pathlib.Path, config: IndexConfig) -> None:
    """Removes the folder of a generation, and its table and class vectors in a shared database or store."""
    if (config.table or config.store) and (generation / TABLE_NAME_FILE).exists():
        paths = find_generation_paths(generation, config)
        open_table(paths).drop()
        if config.store:
            remove(paths.vectors)
    shutil.rmtree(generation)


class IndexReader:
    """An `IndexReader` reads the index of one folder of photographs.

    Attributes:
        folder: the folder of the index.
        root: the folder of photographs, or its address on an object store.
    """

    def __init__(self, folder: str | pathlib.Path, *, model: Model | None = None) -> None:
        """Opens an index.

        Args:
            folder: the folder of the index, or a folder of photographs with ``.cwcf`` inside.
            model: the model of the index; None: the model is loaded when it is first needed.

        Raises:
            FileNotFoundError: the folder contains no index.
            ValueError: the index is damaged, or the model has another pooling.
        """
        folder = pathlib.Path(folder)
        self.folder = folder / FOLDER_NAME if (folder / FOLDER_NAME).is_dir() else folder
        self._header = read_header(self.folder)
        if model is not None and model.config.pooling != self.config.pooling:
            raise ValueError(
                f"{self.folder} was made with pooling={self.config.pooling}, the model has {model.config.pooling}"
            )
        root = find_root(self._header.root)
        self._loaded_model = model
        self.root: Root = (self.folder / root).resolve() if isinstance(root, pathlib.Path) else root

    @property
    def config(self) -> IndexConfig:
        """Returns the index config."""
        return self._header.config

    @functools.cached_property
    def model(self) -> Model:
        """Returns the model of the index; raises the errors of `index_config.load_model`."""
        return self._loaded_model or load_model(self.config, self._header.weights)[0]

    def header(self) -> Header:
        """Reads the current header of the index."""
        return read_header(self.folder)

    def generation(self) -> pathlib.Path:
        """Returns the folder of the current generation.

        Raises:
            FileNotFoundError: the index is empty.
        """
        header = self.header()
        if not header.generation:
            raise FileNotFoundError(f"{self.folder} is an empty index; fill it with cwcf index")
        return generation_folder(self.folder, header.generation)

    def generation_paths(self) -> GenerationPaths:
        """Returns the paths of the current generation; raises the errors of `generation`."""
        return find_generation_paths(self.generation(), self.config)

    def table(self) -> TableStore:
        """Opens the table of the current generation; raises the errors of `generation`."""
        return open_table(self.generation_paths())

    def snapshot(self) -> Snapshot:
        """Returns the current pictures and their descriptors; raises the errors of `generation`."""
        return self.table().snapshot()


@functools.cache
def _open_postgres(address: str, dim: int, name: str) -> TableStore:
    """Opens a table in PostgreSQL; all readers of a process share one connection to it."""
    try:
        from cwcf_jax.index.postgres import PostgresStore
    except ImportError as error:
        raise ValueError(f"{error.name} is not installed; pip install 'cwcf-jax[postgres]'") from error
    store = PostgresStore(address, dim, name=name)
    atexit.register(store.close)
    return store
