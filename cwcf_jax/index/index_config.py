"""This module defines the index config, and the header file that stores it in the index."""

import dataclasses
import json
import pathlib
from typing import Any

from cwcf_jax import encoder, files, networks
from cwcf_jax.encoder import Model
from cwcf_jax.images import Resize
from cwcf_jax.weights import finding, whitenings
from cwcf_jax.weights.installed import DEFAULT_NETWORK

HEADER_FORMAT = 1
HEADER_FILE = "index.json"

HEADER_KEYS = {"config": "settings"}
"""Fields of `Header` that have another key in the header file."""

GEM_NUM_CLASSES = 8
"""The default N_C of an index of power means (docs/development_benchmark.md)."""


@dataclasses.dataclass(frozen=True)
class IndexConfig:
    """An `IndexConfig` says how the pictures of an index are described; it is fixed when the index is created.

    Attributes:
        network: name of the network, a key of `networks.NETWORKS`.
        weights: absolute path of a file of weights or a checkpoint; empty: `weights.finding.find` is called each time.
        feature_layer: name of the feature layer; empty: the network's default.
        resize: resizing of every picture, see `images.Resize`.
        pooling: kind of class vectors, see `encoder.EncoderConfig`.
        num_classes: N_C, number of classes of an OfA descriptor and of a query.
        dim: number of dimensions of a descriptor, at most the number of channels of the feature layer; 0: all.
        table: address of the database of pictures and descriptors: ``postgresql://...``, or a LanceDB address such as
            ``s3://bucket/folder``; empty: a LanceDB in the store. The address must not contain a password; libpq reads
            passwords from ``~/.pgpass`` or ``PGPASSWORD``.
        store: address of the maps, class vectors and table of this index alone, such as ``s3://bucket/folder`` or
            ``gs://bucket/folder``; empty: inside the index folder.
        own_classes: number of each picture's most probable classes with stored class vectors, for OnA; 0: all classes.
        compact: whether only descriptors of pictures and of some of their regions are stored.
    """

    network: str
    weights: str = ""
    feature_layer: str = ""
    resize: str = "max640"
    num_classes: int = 64
    dim: int = 256
    table: str = ""
    store: str = ""
    pooling: str = "sum"
    own_classes: int = 128
    compact: bool = False

    def __post_init__(self) -> None:
        Resize.parse(self.resize)
        if self.store and "://" not in self.store:
            raise ValueError(f"a store is an address such as s3://bucket/folder, not {self.store}")
        if self.pooling not in encoder.POOLINGS:
            raise ValueError(f"unknown pooling {self.pooling!r}; known: {', '.join(encoder.POOLINGS)}")
        if self.num_classes < 1:
            raise ValueError(f"num_classes must be at least 1, not {self.num_classes}")
        if self.dim < 0:
            raise ValueError(f"dim must be at least 1, or 0 for all, not {self.dim}")
        if self.own_classes < 0:
            raise ValueError(f"own_classes is a number of classes, or 0 for all, not {self.own_classes}")


def make_index_config(weights: str | pathlib.Path | None = None, network: str = "", **choices: Any) -> IndexConfig:
    """Returns an index config with the defaults that suit a network.

    The default pooling is the pooling of the network's shipped whitening (`encoder.shipped_whitening`); without a
    shipped whitening, the default of `encoder.load`. With power means, the defaults are N_C 8 and all dimensions; with
    sums, the defaults of `IndexConfig`.

    Args:
        weights: path of a file of weights or a checkpoint; None: the weights that `weights.finding.find` finds.
        network: name of the network; empty: the network in the provenance record of the weights, or the default network
            if there are no weights.
        **choices: further fields of `IndexConfig`.

    Raises:
        ValueError: neither the weights nor ``network`` name a network.
        FileNotFoundError: the weights do not exist.
    """
    if weights is None:
        name = networks.get(network or DEFAULT_NETWORK).spec.name
        return IndexConfig(name, **_add_defaults(name, choices))
    path = pathlib.Path(weights).resolve()
    if not path.exists():
        raise FileNotFoundError(f"{weights}: no such weights; `cwcf weights list` names what can be downloaded")
    record = networks.read_provenance(path)
    name = network or (record.network if record else "")
    if not name:
        raise ValueError(f"{weights} does not say which network it is of; name it: {', '.join(networks.NETWORKS)}")
    return IndexConfig(name, str(path), **_add_defaults(name, choices))


def _add_defaults(network: str, choices: dict[str, Any]) -> dict[str, Any]:
    """Returns the choices with the network's default pooling and the defaults of this pooling."""
    file = whitenings.shipped().get(network)
    default = whitenings.read_record(file).encoder["pooling"] if file else networks.get(network).spec.pooling
    pooling = choices.get("pooling", default)
    gem_defaults = {"pooling": pooling, "num_classes": GEM_NUM_CLASSES, "dim": 0}
    return gem_defaults | choices if pooling == "gem" else {"pooling": pooling} | choices


@dataclasses.dataclass(frozen=True)
class Header:
    """A `Header` is the content of the file ``index.json``.

    Attributes:
        root: path or address of the folder of photographs; a relative path starts at the index folder.
        config: the index config.
        weights: fingerprint of the weights, see `load_model`.
        generation: number of the current generation; 0: no generation yet.
        removed: paths of removed pictures, which an update does not add.
    """

    root: str
    config: IndexConfig
    weights: str
    generation: int = 0
    removed: tuple[str, ...] = ()

    def conditions(self) -> dict[str, str]:
        """Returns everything that the maps of the pictures depend on."""
        return {"weights": self.weights, "layer": self.config.feature_layer, "resize": self.config.resize}

    def write(self, folder: pathlib.Path) -> None:
        """Replaces the header file in one step; the files of its generation must be on the disk already."""
        content = {HEADER_KEYS.get(name, name): value for name, value in dataclasses.asdict(self).items()}
        files.write_json(folder / HEADER_FILE, {"format": HEADER_FORMAT, **content})


def read_header(folder: pathlib.Path) -> Header:
    """Reads the header of an index.

    Raises:
        FileNotFoundError: the folder is no index.
        ValueError: the header is damaged, or of another version.
    """
    file = folder / HEADER_FILE
    if not file.is_file():
        raise FileNotFoundError(f"no index in {folder}; make one with cwcf index")
    try:
        content = json.loads(file.read_text())
        if content.pop("format") != HEADER_FORMAT:
            raise ValueError(f"this version reads format {HEADER_FORMAT}")
        fields = content.pop(HEADER_KEYS["config"])
        config = IndexConfig(**{"own_classes": 0} | fields)  # earlier versions stored the class vectors of all classes
        return Header(config=config, removed=tuple(content.pop("removed")), **content)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{file} cannot be used ({error}); remove {folder} and index again") from error


def maps_location(folder: pathlib.Path, config: IndexConfig) -> str:
    """Returns the location of an index's map store; the name of a picture in this store is its content."""
    return f"{config.store.rstrip('/')}/maps" if config.store else str(folder / "maps")


def generation_folder(folder: pathlib.Path, generation: int) -> pathlib.Path:
    """Returns the folder of a generation."""
    return folder / f"generation-{generation}"


def load_model(config: IndexConfig, fingerprint: str = "") -> tuple[Model, str]:
    """Loads the model of an index.

    Args:
        config: the index config.
        fingerprint: fingerprint of the weights that the index was created with; empty: the index is being created.

    Returns:
        The model, and the fingerprint of its weights (`networks.fingerprint`).

    Raises:
        FileNotFoundError: the weights do not exist, or no weights are found.
        ValueError: the weights have another fingerprint.
    """
    encoder_config = encoder.EncoderConfig(config.feature_layer or None, pooling=config.pooling)
    if not config.weights:
        checkpoint = finding.find_weights(networks.get(config.network), fingerprint=fingerprint)
        model = encoder.load(checkpoint.network, checkpoint.params, encoder_config)
        return encoder.replicate(model), checkpoint.fingerprint
    if fingerprint and not pathlib.Path(config.weights).exists():
        raise FileNotFoundError(f"{config.weights}: the weights of this index do not exist; put the file back")
    current = networks.fingerprint(config.weights)
    if fingerprint not in ("", current):
        raise ValueError(
            f"{config.weights} has changed since the index was created: sha256 {fingerprint[:12]}... then, "
            f"{current[:12]}... now. Put the file back, or create a new index"
        )
    return encoder.replicate(encoder.load(config.network, config.weights, encoder_config)), current
