"""What an index was made with; written once, and what its whitening is."""

import dataclasses
import json
import pathlib
from typing import Any

from cwcf_jax import encoder, files, networks
from cwcf_jax.encoder import Model
from cwcf_jax.images import Resize
from cwcf_jax.weights import finding, whitenings
from cwcf_jax.weights.installed import DEFAULT_NETWORK

FORMAT = 1
FILE = "index.json"

NUM_CLASSES = 8
"""N_C of a new index of power means (docs/development_benchmark.md)."""


@dataclasses.dataclass(frozen=True)
class IndexConfig:
    """How the pictures of an index are described; fixed when it is made.

    Attributes:
        network: a key of `networks.NETWORKS`.
        weights: its file or checkpoint, an absolute path; empty: whatever `weights.finding.find` finds, each time anew.
        feature_layer: whose maps are pooled; empty: the network's default.
        resize: applied to every picture, see `images.Resize`.
        pooling: what a class vector is, see `encoder.EncoderConfig`.
        num_classes: N_C, classes of an offline descriptor and of a query.
        dim: numbers of a descriptor, at most as many as the layer has channels; 0: as many.
        table: address of the database that keeps pictures and descriptors: ``postgresql://...``, or what LanceDB takes,
            such as ``s3://bucket/folder``; empty: a LanceDB in the store. It must not hold a password; libpq finds that
            in ``~/.pgpass`` or ``PGPASSWORD``.
        store: address of all that grows with the pictures, maps, class vectors and the table: ``s3://bucket/folder`` or
            ``gs://bucket/folder``, of this index alone; empty: inside the index.
        own_classes: classes of a picture, its most probable ones, whose vectors are kept for OnA; 0: all.
        compact: whether descriptors of pictures and of some of their regions are all that is kept.
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
    """Settings for weights whose record says which network they are of, unless ``network`` does.

    Where nothing else is said, class vectors are those that the network's shipped whitening is for
    (`encoder.shipped_whitening`), or else what `encoder.load` makes of the network. Power means, asked for or not, come
    with N_C 8 and all dimensions; sums with the defaults of `IndexConfig`.

    Args:
        weights: a file or checkpoint; None: those that `weights.finding.find` finds.
        network: of the weights; empty: the one that their record names, or, without weights, the default network.
        **choices: further fields of `IndexConfig`.

    Raises:
        ValueError: nothing says of which network the weights are; FileNotFoundError: no such weights.
    """
    if weights is None:
        name = networks.get(network or DEFAULT_NETWORK).spec.name
        return IndexConfig(name, **_suited(name, choices))
    path = pathlib.Path(weights).resolve()
    if not path.exists():
        raise FileNotFoundError(f"{weights}: no such weights; `cwcf weights list` names what can be downloaded")
    record = networks.read_provenance(path)
    name = network or (record.network if record else "")
    if not name:
        raise ValueError(f"{weights} does not say which network it is of; name it: {', '.join(networks.NETWORKS)}")
    return IndexConfig(name, str(path), **_suited(name, choices))


def _suited(network: str, choices: dict[str, Any]) -> dict[str, Any]:
    """The choices with what suits power means where these were chosen, or are the network's own."""
    file = whitenings.shipped().get(network)
    own = whitenings.read_record(file).encoder["pooling"] if file else networks.get(network).spec.pooling
    pooling = choices.get("pooling", own)
    suited = {"pooling": pooling, "num_classes": NUM_CLASSES, "dim": 0}
    return suited | choices if pooling == "gem" else {"pooling": pooling} | choices


@dataclasses.dataclass(frozen=True)
class Header:
    """``index.json``.

    Attributes:
        root: the folder whose pictures these are; relative to the index where that lies inside it; or its address.
        settings: how they are described.
        weights: fingerprint of the weights, see `load_model`.
        generation: the folder with the whitening and all that was made with it; 0 before there is one.
        removed: paths that stay out until they are added by name.
    """

    root: str
    settings: IndexConfig
    weights: str
    generation: int = 0
    removed: tuple[str, ...] = ()

    def conditions(self) -> dict[str, str]:
        """What the maps of its pictures depend on."""
        return {"weights": self.weights, "layer": self.settings.feature_layer, "resize": self.settings.resize}

    def write(self, folder: pathlib.Path) -> None:
        """Replaces the file at once; the generation that it names is on the disk already."""
        files.write_json(folder / FILE, {"format": FORMAT, **dataclasses.asdict(self)})


def read_header(folder: pathlib.Path) -> Header:
    """The header of the index in a folder.

    Raises:
        FileNotFoundError: there is no index; ValueError: it is damaged, or of another version.
    """
    file = folder / FILE
    if not file.is_file():
        raise FileNotFoundError(f"no index in {folder}; make one with cwcf index")
    try:
        content = json.loads(file.read_text())
        if content.pop("format") != FORMAT:
            raise ValueError(f"this version reads format {FORMAT}")
        settings = IndexConfig(**{"own_classes": 0} | content.pop("settings"))  # earlier versions kept those of all
        return Header(settings=settings, removed=tuple(content.pop("removed")), **content)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{file} cannot be used ({error}); remove {folder} and index again") from error


def maps_location(folder: pathlib.Path, settings: IndexConfig) -> str:
    """Where the maps of an index's pictures are, see `store.MapStore`; a picture's name there is its content."""
    return f"{settings.store.rstrip('/')}/maps" if settings.store else str(folder / "maps")


def generation_folder(folder: pathlib.Path, generation: int) -> pathlib.Path:
    """Where an index keeps a whitening and what was made with it."""
    return folder / f"generation-{generation}"


def load_model(settings: IndexConfig, fingerprint: str = "") -> tuple[Model, str]:
    """The network of an index, and what tells its weights from others.

    Args:
        settings: of the index.
        fingerprint: of the weights that the index was made with, and that no others may take the place of; empty: the
            index is being made.

    Returns:
        The model, and the fingerprint: `networks.fingerprint` of the named weights, or that of the found ones.

    Raises:
        FileNotFoundError: the weights are gone, or none are found; ValueError: they are others now.
    """
    config = encoder.EncoderConfig(settings.feature_layer or None, pooling=settings.pooling)
    if not settings.weights:
        found = finding.find(networks.get(settings.network), fingerprint=fingerprint)
        return encoder.replicate(encoder.load(found.network, found.params, config)), found.fingerprint
    if fingerprint and not pathlib.Path(settings.weights).exists():
        raise FileNotFoundError(f"{settings.weights}: the weights that the index was made with are gone")
    now = networks.fingerprint(settings.weights)
    if fingerprint not in ("", now):
        raise ValueError(
            f"{settings.weights} is not what the index was made with: sha256 {fingerprint[:12]}... then, "
            f"{now[:12]}... now. Put the file back, or make a new index"
        )
    return encoder.replicate(encoder.load(settings.network, settings.weights, config)), now
