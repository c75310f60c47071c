"""What every driver starts from: the flags for network, data and protocol, and the network passes they ask for."""

import contextlib
import dataclasses
import hashlib
import pathlib
import sys
from collections.abc import Sequence

from absl import flags
from tqdm import tqdm

import cwcf_jax
from cwcf_jax import datasets, indexing, networks, protocol
from cwcf_jax.benchmark import Collection
from cwcf_jax.datasets import ImageSet
from cwcf_jax.indexing import Extraction
from cwcf_jax.protocol import Protocol

SHARED = "../shared"

_DATASET = flags.DEFINE_string("dataset", f"{SHARED}/data/oxford_dev", "Folder in Oxford layout: jpg/ and lab/.")
_WHITENING_DATASET = flags.DEFINE_list(
    "whitening_dataset",
    [f"{SHARED}/data/{name}" for name in ("imagenet_cls_dev", "instre_boxes_dev", "boofcv_triplets")],
    "Folders whose pictures, and queries if any, the whitening is fitted on; not those of --dataset.",
)
_NETWORK = flags.DEFINE_enum("network", "googlenet", sorted(networks.NETWORKS), "CAM network.")
_WEIGHTS = flags.DEFINE_string("weights", f"{SHARED}/weights/googlenet_bvlc.npz", "Its weights; see weights/README.md.")
_FEATURE_LAYER = flags.DEFINE_string("feature_layer", None, "Layer whose maps are pooled; default: the network's own.")
_CACHE = flags.DEFINE_string("cache", "results/cache", "Folder that keeps what the network made of each picture.")
_BATCH = flags.DEFINE_integer("batch_size", 0, "Pictures in one pass; 0: 1 on a CPU, 16 elsewhere.", lower_bound=0)
_PROTOCOL = flags.DEFINE_enum(
    "protocol",
    None,
    sorted(protocol.PROTOCOLS),
    "Preset of the fields below. Default: paper; development where --dataset is left at its default.",
)
_FIELDS = {
    "resize": flags.DEFINE_string("resize", None, "none, min720, max1024 or squash1024x720."),
    "pixel_mean": flags.DEFINE_enum(
        "pixel_mean", None, protocol.CHOICES["pixel_mean"], "Mean subtracted from the pixels."
    ),
    "cam_normalization": flags.DEFINE_enum(
        "cam_normalization", None, protocol.CHOICES["cam_normalization"], "Normalisation of the class activation maps."
    ),
    "negative_maps": flags.DEFINE_enum(
        "negative_maps",
        None,
        protocol.CHOICES["negative_maps"],
        "What becomes of a class whose map is nowhere positive.",
    ),
    "query_boxes": flags.DEFINE_enum(
        "query_boxes", None, protocol.CHOICES["query_boxes"], "Pixels that query boxes are in."
    ),
    "whitening": flags.DEFINE_enum("whitening", None, protocol.CHOICES["whitening"], "Kind of whitening."),
    "whitening_dim": flags.DEFINE_integer("whitening_dim", None, "Dimensions kept, at most; 0: all.", lower_bound=0),
    "shrinkage": flags.DEFINE_float("shrinkage", None, "Ratio of the shrinkage whitening, 0 to 1."),
}


@dataclasses.dataclass(frozen=True)
class Inputs:
    """A benchmark after its network passes.

    Attributes:
        model: the network with its weights.
        weights: sha256 of the weights file.
        protocol: every choice that is not the method.
        benchmark: images and ground truth.
        database: the benchmark's rows.
        whitening: rows of the datasets that whitenings are fitted on.
        left_out: pictures that could not be read, and why.
        data: name, size and sha256 over names and contents of each dataset, the benchmark first.
    """

    model: cwcf_jax.Model
    weights: str
    protocol: Protocol
    benchmark: ImageSet
    database: Collection
    whitening: tuple[Collection, ...]
    left_out: tuple[str, ...]
    data: tuple[dict[str, str | int], ...]


def from_flags(stack: contextlib.ExitStack) -> Inputs:
    """Every picture through the network, or out of the cache; ``stack`` closes the stores.

    Raises:
        ValueError, OSError, StoreBusyError: a flag, file or folder that cannot be used; the message names it.
    """
    development = pathlib.Path(_DATASET.value).resolve() == pathlib.Path(_DATASET.default or "").resolve()
    preset = _PROTOCOL.value or ("development" if development else "paper")
    _check_folders([_DATASET.value, *_WHITENING_DATASET.value])
    chosen = protocol.get(preset).replace(
        **{name: flag.value for name, flag in _FIELDS.items() if flag.value is not None}
    )
    if _FIELDS["shrinkage"].value is not None and chosen.whitening != "shrinkage":
        raise ValueError("--shrinkage has no effect without --whitening=shrinkage")
    extraction = chosen.extraction(_BATCH.value)
    mean = networks.get(_NETWORK.value).spec.preprocessing.mean
    model = cwcf_jax.load(
        _NETWORK.value, _WEIGHTS.value, feature_layer=_FEATURE_LAYER.value, **chosen.model_options(mean)
    )
    weights = networks.fingerprint(_WEIGHTS.value)
    benchmark = datasets.read_oxford(_DATASET.value)
    folders = [_DATASET.value, *_WHITENING_DATASET.value]
    sets = [benchmark, *(datasets.read_dataset(folder) for folder in _WHITENING_DATASET.value)]
    collections: list[Collection] = []
    left_out: list[str] = []
    data: list[dict[str, str | int]] = []
    for images, folder in zip(sets, folders, strict=True):
        cache = pathlib.Path(_CACHE.value) / _cache_name(images, folder, model, chosen)
        files = indexing.fingerprint_files(images)
        data.append({"name": images.name, "images": len(images), "queries": len(images.queries), "sha256": files})
        collection, reasons = _extract(stack, model, images, extraction, cache, weights=weights, files=files)
        collections.append(collection)
        left_out += reasons
    _report(left_out)
    queries = collections[0].queries
    if queries is None or not queries.done.all():
        raise ValueError("a query's picture could not be read, see above; nothing can be measured without it")
    return Inputs(
        model, weights, chosen, benchmark, collections[0], tuple(collections[1:]), tuple(left_out), tuple(data)
    )


def _check_folders(folders: Sequence[str]) -> None:
    if len(folders) < 2:
        raise ValueError("--whitening_dataset needs at least one folder")
    places = [pathlib.Path(folder).resolve() for folder in folders]
    for folder, place in zip(folders, places, strict=True):
        if places.count(place) > 1:
            raise ValueError(f"{folder} is named twice; --dataset and each of --whitening_dataset must differ")


def _extract(
    stack: contextlib.ExitStack,
    model: cwcf_jax.Model,
    images: ImageSet,
    extraction: Extraction,
    cache: pathlib.Path,
    *,
    weights: str,
    files: str,
) -> tuple[Collection, list[str]]:
    stores, left_out = [], []
    for queries in (False, True) if images.queries else (False,):
        kind = "queries" if queries else "images"
        store = indexing.open_store(
            cache / kind, model, images, extraction, weights=weights, files=files, queries=queries
        )
        stack.enter_context(store)
        with tqdm(total=store.length, desc=f"{images.name} {kind}", unit="image", disable=None) as bar:
            left_out += indexing.fill_store(store, model, images, extraction, queries=queries, progress=bar.update)
        stores.append(store)
    return Collection(images.name, *stores), left_out


def _cache_name(images: ImageSet, folder: str, model: cwcf_jax.Model, chosen: Protocol) -> str:
    """Readable, and apart for settings that people vary; the store's fingerprint is what counts."""
    place = hashlib.sha256(str(pathlib.Path(folder).resolve()).encode()).hexdigest()[:6]
    settings = (chosen.resize, chosen.cam_normalization, chosen.negative_maps, chosen.pixel_mean, chosen.query_boxes)
    return "-".join((images.name, place, model.network.spec.name, model.config.feature_layer, *settings))


def _report(left_out: Sequence[str]) -> None:
    for reason in dict.fromkeys(left_out):
        print(f"left out: {reason}", file=sys.stderr)
