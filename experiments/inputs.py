"""What every driver starts from: the flags for network, data and protocol, and the network passes they ask for."""

import contextlib
import dataclasses
import pathlib
import sys

import numpy as np
from absl import flags
from tqdm import tqdm

import cwcf_jax
from cwcf_jax import encoder, networks, store
from cwcf_jax.evaluation.benchmark import Collection
from cwcf_jax.evaluation.protocol import Protocol
from cwcf_jax.extraction import Extraction, fingerprint, fingerprint_files, open_store
from cwcf_jax.images import ImageSet
from experiments import data, passes, protocol_flags
from experiments.data import Source
from experiments.passes import AnyFiller

flags.adopt_module_key_flags(protocol_flags)
flags.adopt_module_key_flags(passes)

ROOT = pathlib.Path(__file__).parent.parent
SHIPPED = ROOT / "weights" / "vgg_small_cam.npz"

_DATASET = flags.DEFINE_string(
    "dataset",
    "synthetic",
    "A folder in Oxford layout, jpg/ and lab/; a registered benchmark such as oxford5k; or synthetic, rendered under "
    "--cache.",
)
_WHITENING_DATASET = flags.DEFINE_list(
    "whitening_dataset",
    ["synthetic_whitening"],
    "Folders or registered datasets whose pictures, and queries if any, the whitening is fitted on, not those of "
    "--dataset; or synthetic_whitening.",
)
_DATA_DIR = flags.DEFINE_string("data_dir", None, "Where TFDS keeps registered datasets; default: TFDS's own.")
_NETWORK = flags.DEFINE_enum(
    "network", None, sorted(networks.NETWORKS), "CAM network. Default: the one that --weights say they are of."
)
_WEIGHTS = flags.DEFINE_string(
    "weights", str(SHIPPED), "Its weights, FILE or NETWORK:FILE; see weights/README.md. Default: what ships."
)
_FEATURE_LAYER = flags.DEFINE_string("feature_layer", None, "Layer whose maps are pooled; default: the network's own.")
_DTYPE = flags.DEFINE_enum(
    "dtype", "float32", encoder.DTYPES, "What the network computes in; bfloat16 is for accelerators."
)
_CACHE = flags.DEFINE_string("cache", "results/cache", "Folder that keeps what the network made of each picture.")
_BATCH = flags.DEFINE_integer(
    "batch_size", 0, "Pictures in one pass; 0: 1 on a CPU, elsewhere 16 a device.", lower_bound=0
)
_MAPS = flags.DEFINE_enum(
    "maps", "float16", store.MAP_DTYPES, "How maps for re-ranking are kept; int8 takes half the bytes."
)
_SMOKE = flags.DEFINE_bool("smoke", False, "The whole driver on a few pictures: does it run here?")


@dataclasses.dataclass(frozen=True)
class Inputs:
    """A benchmark after its network passes.

    Attributes:
        filler: who makes the passes.
        weights: sha256 of the weights file.
        protocol: every choice that is not the method.
        sources: the benchmark, then the datasets that whitenings are fitted on.
        database: the benchmark's rows.
        whitening: the other datasets' rows.
        left_out: pictures that could not be read, and why.
        data: name, size, release and sha256 over names and contents of each dataset, the benchmark first.
    """

    filler: AnyFiller
    weights: str
    protocol: Protocol
    sources: tuple[Source, ...]
    database: Collection
    whitening: tuple[Collection, ...]
    left_out: tuple[str, ...]
    data: tuple[dict[str, str | int], ...]

    @property
    def model(self) -> cwcf_jax.Model:
        """The network with its weights."""
        return self.filler.model

    @property
    def benchmark(self) -> ImageSet:
        """Images and ground truth."""
        return self.sources[0].images

    @property
    def queries(self) -> store.PooledStore:
        """The rows of the benchmark's queries."""
        assert self.database.queries is not None  # `prepare` refuses a dataset without
        return self.database.queries

    @property
    def extraction(self) -> Extraction:
        """How pictures are read."""
        return self.protocol.extraction(_BATCH.value)


def smoke() -> bool:
    """Whether this run is to be short."""
    return _SMOKE.value


def from_flags(stack: contextlib.ExitStack) -> Inputs:
    """`prepare` with the protocol and the weights that the flags name."""
    return prepare(stack, protocol_from_flags(), _WEIGHTS.value)


def prepare(stack: contextlib.ExitStack, chosen: Protocol, weights: str) -> Inputs:
    """Every picture through the network, or out of the cache; ``stack`` closes the stores.

    Args:
        stack: that the stores are entered into.
        chosen: the protocol.
        weights: a file or checkpoint, or NETWORK:FILE.

    Raises:
        ValueError, OSError, StoreBusyError: a flag, file or folder that cannot be used; the message names it.
    """
    sources = read_datasets()
    extraction = chosen.extraction(_BATCH.value)
    model = load_model(weights, chosen)
    fingerprint = networks.fingerprint(split_weights(weights)[1])
    filler = passes.filler(stack, model)
    collections: list[Collection] = []
    left_out: list[str] = []
    described: list[dict[str, str | int]] = []
    for source in sources:
        files = fingerprint_files(source.images)
        described.append(describe_data(source.images, files))
        collection, reasons = _extract(stack, filler, source, extraction, chosen, weights=fingerprint, files=files)
        collections.append(collection)
        left_out += reasons
    report_left_out(left_out)
    queries = collections[0].queries
    if queries is None or not queries.done.all():
        raise ValueError("a query's picture could not be read, see above; nothing can be measured without it")
    database, *whitening = collections
    return Inputs(
        filler, fingerprint, chosen, tuple(sources), database, tuple(whitening), tuple(left_out), tuple(described)
    )


def open_maps(stack: contextlib.ExitStack, given: Inputs) -> store.MapStore:
    """The benchmark's maps, filled by `fill_maps` as they are needed."""
    files = str(given.data[0]["sha256"])
    conditions = fingerprint(
        given.model, given.benchmark, given.extraction, weights=given.weights, files=files, queries=False
    )
    settings = (given.protocol.resize, given.protocol.pixel_mean)
    # What maps do not depend on must not tell stores apart.
    conditions["encoder"] = {name: conditions["encoder"][name] for name in ("feature_layer", "pixel_mean", "dtype")}
    conditions["length"] = len(given.benchmark)
    folder = cache_folder(given.sources[0], given.model, *settings) / (
        "maps" if _MAPS.value == "float16" else f"maps-{_MAPS.value}"
    )
    return stack.enter_context(store.MapStore.exclusive(folder, conditions, dtype=_MAPS.value))


def fill_maps(given: Inputs, maps: store.MapStore, rows: np.ndarray) -> None:
    """Makes sure that the maps of the given images are there."""
    if not maps.missing(rows.tolist()):
        return
    with tqdm(total=len(rows), desc=f"{given.benchmark.name} maps", unit="image", disable=None) as bar:
        given.filler.fill_maps(maps, given.benchmark, given.extraction, rows, progress=bar.update)


def protocol_from_flags() -> Protocol:
    """The preset and what was changed of it: the paper's, or for the synthetic dataset the development one."""
    return protocol_flags.chosen(default="development" if _DATASET.value in data.SYNTHETIC else "paper")


def read_datasets() -> list[Source]:
    """The benchmark, then the datasets that whitenings are fitted on; ValueError names the flag."""
    names = [_DATASET.value, *_WHITENING_DATASET.value]
    if len(names) < 2:
        raise ValueError("--whitening_dataset needs at least one folder")
    places = [pathlib.Path(name).resolve() for name in names]
    for name, place in zip(names, places, strict=True):
        if places.count(place) > 1:
            raise ValueError(f"{name} is named twice; --dataset and each of --whitening_dataset must differ")
    cache = pathlib.Path(_CACHE.value)
    sources = [data.read(name, cache=cache, data_dir=_DATA_DIR.value, smoke=_SMOKE.value) for name in names]
    if not sources[0].images.queries:
        raise ValueError(f"--dataset={names[0]} has no queries: it needs lab/ beside jpg/, see docs/datasets.md")
    return sources


def load_model(weights: str, chosen: Protocol) -> cwcf_jax.Model:
    """A network with its weights as the protocol wants them; --network and --feature_layer are for --weights alone."""
    network = network_of(weights)
    options = chosen.model_options(network.spec.preprocessing.mean)
    layer = _FEATURE_LAYER.value if weights == _WEIGHTS.value else None
    file = split_weights(weights)[1]
    return encoder.spread(cwcf_jax.load(network, file, feature_layer=layer, dtype=_DTYPE.value, **options))


def network_from_flags() -> networks.Network:
    """The network of --network and --weights, with the classes and the preprocessing that the weights' record names."""
    return network_of(_WEIGHTS.value)


def weights_from_flags() -> str:
    """What --weights names."""
    return str(_WEIGHTS.value)


def describe_data(images: ImageSet, files: str) -> dict[str, str | int]:
    """What a results file says of a dataset."""
    described: dict[str, str | int] = {"name": images.name, "images": len(images), "queries": len(images.queries)}
    return described | ({"release": images.release} if images.release else {}) | {"sha256": files}


def report_left_out(left_out: list[str]) -> None:
    """Says which pictures could not be read."""
    for reason in dict.fromkeys(left_out):
        print(f"left out: {reason}", file=sys.stderr)


def cache_folder(source: Source, model: cwcf_jax.Model, *settings: str) -> pathlib.Path:
    """Readable, and apart for settings that people vary; a store's fingerprint is what counts."""
    dtype = () if model.config.dtype == "float32" else (model.config.dtype,)
    return cache_path(source, model.network.spec.name, model.feature_layer.name, *dtype, *settings)


def cache_path(source: Source, *settings: str) -> pathlib.Path:
    """`cache_folder` for what no model made."""
    return pathlib.Path(_CACHE.value) / "-".join((source.images.name, source.place, *settings))


def split_weights(weights: str) -> tuple[str | None, str]:
    """The network and the file of ``NETWORK:FILE``; None for the network where there is only a file."""
    name, _, file = weights.partition(":")
    return (name, file) if name in networks.NETWORKS else (None, weights)


def network_of(weights: str) -> networks.Network:
    """The network of FILE or NETWORK:FILE, with the classes and the preprocessing that its record names."""
    name, file = split_weights(weights)
    if not pathlib.Path(file).exists():
        raise FileNotFoundError(f"no weights at {file}: see weights/README.md for where they come from")
    record = networks.read_provenance(file)
    if name is None and weights == _WEIGHTS.value:
        name = _NETWORK.value
    if name is None and record is not None:
        name = record.network
    if name is None:
        raise ValueError(
            f"{file} does not say which network it is of; write NETWORK:{file}, or --network for --weights"
        )
    return networks.adapt(networks.get(name), record)


def _extract(
    stack: contextlib.ExitStack,
    filler: AnyFiller,
    source: Source,
    extraction: Extraction,
    chosen: Protocol,
    *,
    weights: str,
    files: str,
) -> tuple[Collection, list[str]]:
    settings = (chosen.resize, chosen.cam_normalization, chosen.negative_maps, chosen.pixel_mean)
    model, images = filler.model, source.images
    folder = cache_folder(source, model, *settings)
    kinds = {"images": False}
    if images.queries:
        kinds["-".join(("queries", chosen.query_boxes, chosen.query_features, chosen.query_classes))] = True
    stores, left_out = [], []
    for kind, queries in kinds.items():
        opened = open_store(folder / kind, model, images, extraction, weights=weights, files=files, queries=queries)
        stack.enter_context(opened)
        what = "queries" if queries else "images"
        with tqdm(total=opened.length, desc=f"{images.name} {what}", unit="image", disable=None) as bar:
            left_out += filler.fill_store(opened, images, extraction, queries=queries, progress=bar.update)
        stores.append(opened)
    return Collection(images.name, *stores), left_out
