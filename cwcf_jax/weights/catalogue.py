"""This module reads catalogue.toml, the list of weights that can be downloaded, and refuses malformed entries."""

import dataclasses
import hashlib
import math
import pathlib
import re
import tomllib
import urllib.parse
from collections.abc import Callable, Mapping
from typing import Any

PATH = pathlib.Path(__file__).with_name("catalogue.toml")
NETWORKS = (
    "decomposeme",
    "densenet161",
    "googlenet",
    "googlenet_cam",
    "resnet50",
    "squeezenet1_1",
    "vgg16",
    "vgg16_cam",
    "vgg16_cam_grouped",
)
LAYOUTS = ("caffe", "keras", "torchvision")
CHANNELS = ("BGR", "RGB")
_DIGIT_COUNTS = {"sha256": 64, "sha256-prefix": 8, "sha1": 40, "md5": 32}
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
_RESERVED_SUFFIXES = (".lock", ".partial")  # `fetch` writes such files next to a download


class CatalogueError(ValueError):
    """Raised when a catalogue cannot be used; the message names the file, the entry and the field."""


@dataclasses.dataclass(frozen=True)
class Hash:
    """A `Hash` holds the expected hash of a file.

    Attributes:
        algorithm: sha256, sha1 or md5.
        digits: lower-case hex digits; only the first 8 digits if ``prefix`` is true.
        prefix: whether ``digits`` are only the first digits of the hash.
    """

    algorithm: str
    digits: str
    prefix: bool = False

    def matches(self, hexdigest: str) -> bool:
        """Returns whether a complete digest agrees with the expected hash."""
        return hexdigest.startswith(self.digits) if self.prefix else hexdigest == self.digits

    def __str__(self) -> str:
        return f"{self.algorithm} {self.digits}{'...' if self.prefix else ''}"


@dataclasses.dataclass(frozen=True)
class CataloguePreprocessing:
    """A `CataloguePreprocessing` means (x - mean) * scale on pixels of 0 to 255, in the order of ``channels``."""

    channels: str
    mean: tuple[float, float, float]
    scale: tuple[float, float, float]


@dataclasses.dataclass(frozen=True)
class CatalogueEntry:
    """A `CatalogueEntry` describes one file of weights that can be downloaded.

    Attributes:
        name: name of the entry, for ``cwcf weights fetch``.
        network: name of the network; several files may belong to one network.
        layout: caffe, keras or torchvision.
        file: name under which the file is saved.
        url: http or https address of the file.
        hash: expected hash of the file; None where no hash is published.
        size: size in bytes; None if unknown.
        licence: licence of the weights, in a few words.
        preprocessing: preprocessing that the network was trained with.
        paper: publication to cite.
        note: sources of the other fields, and advice for users.
        trunk: whether the file lacks the layers after the last convolution.
    """

    name: str
    network: str
    layout: str
    file: str
    url: str
    hash: Hash | None
    size: int | None
    licence: str
    preprocessing: CataloguePreprocessing
    paper: str
    note: str
    trunk: bool = False

    @property
    def algorithm(self) -> str:
        """Returns the name of the hash algorithm; sha256 where no hash is published."""
        return self.hash.algorithm if self.hash else "sha256"

    def digest(self, file: pathlib.Path) -> str:
        """Returns the digest of a downloaded file, in hex digits, for comparison with ``hash``."""
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, self.algorithm).hexdigest()


_OPTIONAL = ("hash", "size", "trunk")
_REQUIRED = tuple(f.name for f in dataclasses.fields(CatalogueEntry) if f.name not in ("name", *_OPTIONAL))


def read_catalogue(path: str | pathlib.Path = PATH) -> dict[str, CatalogueEntry]:
    """Reads all entries by name, in the order of the file.

    Raises:
        CatalogueError: the file is not TOML, or a field is missing, unknown or malformed.
        OSError: the file cannot be read.
    """
    entries: dict[str, CatalogueEntry] = {}
    files: dict[str, str] = {}
    for name, table in read_tables(path, CatalogueError).items():
        try:
            entries[name] = _parse_entry(name, table)
        except CatalogueError as error:
            raise CatalogueError(f"{path}: [{name}] {error}") from None
        # Names that differ only in case are the same file on some file systems.
        other = files.setdefault(entries[name].file.lower(), name)
        if other != name:
            raise CatalogueError(f"{path}: [{name}] has the same file name as [{other}], {entries[name].file}")
    return entries


def read_tables(path: str | pathlib.Path, error: Callable[[str], Exception]) -> dict[str, Any]:
    """Reads the tables of a TOML file.

    Args:
        path: the TOML file.
        error: makes the exception that is raised if the file is not TOML.

    Raises:
        OSError: the file cannot be read.
    """
    try:
        return tomllib.loads(pathlib.Path(path).read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as reason:
        raise error(f"{path}: {reason}") from None


def _parse_entry(name: str, table: Any) -> CatalogueEntry:
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise CatalogueError("a name consists of lower-case letters, digits and underscores")
    _check_keys(table, _REQUIRED, _OPTIONAL)
    expected_hash = _parse_hash(_parse_text(table, "hash")) if "hash" in table else None
    note = _parse_text(table, "note")
    if expected_hash is None and "hash" not in note:
        raise CatalogueError("has no hash; the note must say why there is no hash")
    size = table.get("size")
    if size is not None and (type(size) is not int or size <= 0):
        raise CatalogueError(f"size {size!r} is not a positive number of bytes")
    trunk = table.get("trunk", False)
    if not isinstance(trunk, bool):
        raise CatalogueError(f"trunk {trunk!r} is neither true nor false")
    return CatalogueEntry(
        name=name,
        network=_parse_choice(table, "network", NETWORKS),
        layout=_parse_choice(table, "layout", LAYOUTS),
        file=_parse_file_name(_parse_text(table, "file")),
        url=_parse_url(_parse_text(table, "url")),
        hash=expected_hash,
        size=size,
        licence=_parse_text(table, "licence"),
        preprocessing=_parse_preprocessing(table["preprocessing"]),
        paper=_parse_text(table, "paper"),
        note=note,
        trunk=trunk,
    )


def _check_keys(table: Any, required: tuple[str, ...], optional: tuple[str, ...] = ()) -> None:
    if not isinstance(table, dict):
        raise CatalogueError(f"is not a table, but {table!r}")
    if missing := [key for key in required if key not in table]:
        raise CatalogueError(f"lacks {', '.join(missing)}")
    if unknown := [key for key in table if key not in required + optional]:
        raise CatalogueError(f"has unknown keys: {', '.join(unknown)}")


def _parse_text(table: Mapping[str, Any], key: str) -> str:
    value = table[key]
    if not isinstance(value, str) or not value.strip() or value != value.strip() or not value.isprintable():
        raise CatalogueError(f"{key} {value!r} is not one line of text")
    return value


def _parse_choice(table: Mapping[str, Any], key: str, choices: tuple[str, ...]) -> str:
    value = _parse_text(table, key)
    if value not in choices:
        raise CatalogueError(f"{key} {value!r} is not one of {', '.join(choices)}")
    return value


def _parse_file_name(value: str) -> str:
    if not _FILE_NAME.fullmatch(value) or value.endswith(_RESERVED_SUFFIXES):
        raise CatalogueError(f"file {value!r} is not a plain file name")
    return value


def _parse_url(value: str) -> str:
    try:
        parts = urllib.parse.urlsplit(value)
        usable = parts.scheme in ("http", "https") and parts.hostname and not parts.username and parts.port != 0
    except ValueError:
        usable = False
    if not usable or not re.fullmatch(r"[!-~]+", value):
        raise CatalogueError(f"url {value!r} is not an http or https address")
    return value


def _parse_hash(value: str) -> Hash:
    algorithm, _, digits = value.partition(":")
    if algorithm not in _DIGIT_COUNTS or not re.fullmatch(f"[0-9a-f]{{{_DIGIT_COUNTS[algorithm]}}}", digits):
        formats = ", ".join(f"{algorithm}:<{count} hex digits>" for algorithm, count in _DIGIT_COUNTS.items())
        raise CatalogueError(f"hash {value!r} is not one of {formats}")
    return Hash(algorithm.removesuffix("-prefix"), digits, prefix=algorithm.endswith("-prefix"))


def _parse_preprocessing(table: Any) -> CataloguePreprocessing:
    try:
        _check_keys(table, ("channels", "mean", "scale"))
        channels = _parse_choice(table, "channels", CHANNELS)
        mean = _parse_triple(table, "mean", 0.0, 255.0)
        scale = _parse_triple(table, "scale", 1e-4, 1.0)
    except CatalogueError as error:
        raise CatalogueError(f"preprocessing: {error}") from None
    return CataloguePreprocessing(channels, mean, scale)


def _parse_triple(table: Mapping[str, Any], key: str, minimum: float, maximum: float) -> tuple[float, float, float]:
    values = table[key]
    if not isinstance(values, list) or len(values) != 3:
        raise CatalogueError(f"{key} {values!r} is not three numbers")
    for value in values:
        if type(value) not in (int, float) or not math.isfinite(value) or not minimum <= value <= maximum:
            raise CatalogueError(f"{key}: {value!r} is not a number from {minimum:g} to {maximum:g}")
    first, second, third = map(float, values)
    return first, second, third
