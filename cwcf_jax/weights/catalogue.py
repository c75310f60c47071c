"""The weights that can be downloaded: a strict reader of catalogue.toml."""

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
_DIGITS = {"sha256": 64, "sha256-prefix": 8, "sha1": 40, "md5": 32}
_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
_RESERVED = (".lock", ".partial")  # what fetch writes beside a file


class CatalogueError(ValueError):
    """A catalogue that cannot be used; the message names the file, the entry and the field."""


@dataclasses.dataclass(frozen=True)
class Hash:
    """What a file's hash has to be.

    Attributes:
        algorithm: sha256, sha1 or md5.
        digits: lower-case hex digits; the first 8 only if ``prefix``.
        prefix: whether these are the first digits only.
    """

    algorithm: str
    digits: str
    prefix: bool = False

    def matches(self, hexdigest: str) -> bool:
        """Whether a file with this complete digest is the right one."""
        return hexdigest.startswith(self.digits) if self.prefix else hexdigest == self.digits

    def __str__(self) -> str:
        return f"{self.algorithm} {self.digits}{'...' if self.prefix else ''}"


@dataclasses.dataclass(frozen=True)
class CataloguePreprocessing:
    """(x - mean) * scale on 0-255 pixels, in the order of ``channels``."""

    channels: str
    mean: tuple[float, float, float]
    scale: tuple[float, float, float]


@dataclasses.dataclass(frozen=True)
class CatalogueEntry:
    """One file of weights.

    Attributes:
        name: what ``fetch`` calls it.
        network: which network it is for; several files may serve one.
        layout: caffe, keras or torchvision.
        file: the name it is saved under.
        url: where it is; http or https.
        hash: what it has to hash to; None where nobody publishes that.
        size: bytes; None if unknown.
        licence: of the weights, in a few words.
        preprocessing: what the network was trained on.
        paper: who to cite.
        note: where the fields above come from, and what to know before use.
        trunk: whether the layers after the last convolution are missing from the file.
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
        """Name of the hash algorithm; sha256 where there is nothing to compare with."""
        return self.hash.algorithm if self.hash else "sha256"

    def digest(self, file: pathlib.Path) -> str:
        """Hex digits that ``hash`` has to match."""
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, self.algorithm).hexdigest()


_OPTIONAL = ("hash", "size", "trunk")
_REQUIRED = tuple(f.name for f in dataclasses.fields(CatalogueEntry) if f.name not in ("name", *_OPTIONAL))


def read(path: str | pathlib.Path = PATH) -> dict[str, CatalogueEntry]:
    """All entries by name, in the order of the file.

    Raises:
        CatalogueError: not TOML, or a field is missing, unknown or malformed.
        OSError: the file cannot be read.
    """
    entries: dict[str, CatalogueEntry] = {}
    files: dict[str, str] = {}
    for name, table in read_tables(path, CatalogueError).items():
        try:
            entries[name] = _entry(name, table)
        except CatalogueError as error:
            raise CatalogueError(f"{path}: [{name}] {error}") from None
        # Two names that a file system may take for one would overwrite each other.
        other = files.setdefault(entries[name].file.lower(), name)
        if other != name:
            raise CatalogueError(f"{path}: [{name}] has the same file as [{other}], {entries[name].file}")
    return entries


def read_tables(path: str | pathlib.Path, error: Callable[[str], Exception]) -> dict[str, Any]:
    """What a TOML file holds; ``error`` makes the exception for one that is not TOML, OSError if it cannot be read."""
    try:
        return tomllib.loads(pathlib.Path(path).read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as reason:
        raise error(f"{path}: {reason}") from None


def _entry(name: str, table: Any) -> CatalogueEntry:
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise CatalogueError("a name has lower-case letters, digits and underscores")
    _keys(table, _REQUIRED, _OPTIONAL)
    digits = _hash(_text(table, "hash")) if "hash" in table else None
    note = _text(table, "note")
    if digits is None and "hash" not in note:
        raise CatalogueError("without a hash, the note has to say why there is no hash")
    size = table.get("size")
    if size is not None and (type(size) is not int or size <= 0):
        raise CatalogueError(f"size {size!r} is not a positive number of bytes")
    trunk = table.get("trunk", False)
    if not isinstance(trunk, bool):
        raise CatalogueError(f"trunk {trunk!r} is neither true nor false")
    return CatalogueEntry(
        name=name,
        network=_choice(table, "network", NETWORKS),
        layout=_choice(table, "layout", LAYOUTS),
        file=_file(_text(table, "file")),
        url=_url(_text(table, "url")),
        hash=digits,
        size=size,
        licence=_text(table, "licence"),
        preprocessing=_preprocessing(table["preprocessing"]),
        paper=_text(table, "paper"),
        note=note,
        trunk=trunk,
    )


def _keys(table: Any, required: tuple[str, ...], optional: tuple[str, ...] = ()) -> None:
    if not isinstance(table, dict):
        raise CatalogueError(f"is not a table, but {table!r}")
    if missing := [key for key in required if key not in table]:
        raise CatalogueError(f"lacks {', '.join(missing)}")
    if unknown := [key for key in table if key not in required + optional]:
        raise CatalogueError(f"has unknown keys: {', '.join(unknown)}")


def _text(table: Mapping[str, Any], key: str) -> str:
    value = table[key]
    if not isinstance(value, str) or not value.strip() or value != value.strip() or not value.isprintable():
        raise CatalogueError(f"{key} {value!r} is not one line of text")
    return value


def _choice(table: Mapping[str, Any], key: str, known: tuple[str, ...]) -> str:
    value = _text(table, key)
    if value not in known:
        raise CatalogueError(f"{key} {value!r} is none of {', '.join(known)}")
    return value


def _file(value: str) -> str:
    if not _FILE.fullmatch(value) or value.endswith(_RESERVED):
        raise CatalogueError(f"file {value!r} is not a plain file name")
    return value


def _url(value: str) -> str:
    try:
        parts = urllib.parse.urlsplit(value)
        usable = parts.scheme in ("http", "https") and parts.hostname and not parts.username and parts.port != 0
    except ValueError:
        usable = False
    if not usable or not re.fullmatch(r"[!-~]+", value):
        raise CatalogueError(f"url {value!r} is not an http or https address")
    return value


def _hash(value: str) -> Hash:
    kind, _, digits = value.partition(":")
    if kind not in _DIGITS or not re.fullmatch(f"[0-9a-f]{{{_DIGITS[kind]}}}", digits):
        kinds = ", ".join(f"{kind}:<{count} hex digits>" for kind, count in _DIGITS.items())
        raise CatalogueError(f"hash {value!r} is none of {kinds}")
    return Hash(kind.removesuffix("-prefix"), digits, prefix=kind.endswith("-prefix"))


def _preprocessing(table: Any) -> CataloguePreprocessing:
    try:
        _keys(table, ("channels", "mean", "scale"))
        channels = _choice(table, "channels", CHANNELS)
        mean = _triple(table, "mean", 0.0, 255.0)
        scale = _triple(table, "scale", 1e-4, 1.0)
    except CatalogueError as error:
        raise CatalogueError(f"preprocessing: {error}") from None
    return CataloguePreprocessing(channels, mean, scale)


def _triple(table: Mapping[str, Any], key: str, low: float, high: float) -> tuple[float, float, float]:
    values = table[key]
    if not isinstance(values, list) or len(values) != 3:
        raise CatalogueError(f"{key} {values!r} is not three numbers")
    for value in values:
        if type(value) not in (int, float) or not math.isfinite(value) or not low <= value <= high:
            raise CatalogueError(f"{key}: {value!r} is not a number from {low:g} to {high:g}")
    first, second, third = map(float, values)
    return first, second, third
