"""What every driver starts from: the flags for network, data and protocol, and the network passes they ask for."""

import contextlib
import dataclasses
import hashlib
import os
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

from absl import flags
from tqdm import tqdm

import cwcf_jax
from cwcf_jax import datasets, indexing, networks, protocol
from cwcf_jax.benchmark import Collection
from cwcf_jax.datasets import ImageSet, synthetic
from cwcf_jax.indexing import Extraction
from cwcf_jax.protocol import Protocol

ROOT = pathlib.Path(__file__).parent.parent
SHIPPED = ROOT / "weights" / "vgg_small_cam.npz"

SYNTHETIC: dict[str, dict[str, Any]] = {
    "synthetic": dict(seed=1, landmarks=11, queries=5, views=18, lookalikes=6, distractors=130),
    "synthetic_whitening": dict(seed=2, landmarks=16, queries=1, views=12, lookalikes=4, distractors=144),
}
"""Arguments of `synthetic.render_landmarks`. The two have no landmark in common, as Oxford5k and Paris6k have none."""

_DATASET = flags.DEFINE_string(
    "dataset", "synthetic", "Folder in Oxford layout, jpg/ and lab/; or synthetic, which is rendered under --cache."
)
_WHITENING_DATASET = flags.DEFINE_list(
    "whitening_dataset",
    ["synthetic_whitening"],
    "Folders whose pictures, and queries if any, the whitening is fitted on, not those of --dataset; or "
    "synthetic_whitening.",
)
_NETWORK = flags.DEFINE_enum(
    "network", None, sorted(networks.NETWORKS), "CAM network. Default: the one that --weights say they are of."
)
_WEIGHTS = flags.DEFINE_string("weights", str(SHIPPED), "Its weights; see weights/README.md. Default: what ships.")
_FEATURE_LAYER = flags.DEFINE_string("feature_layer", None, "Layer whose maps are pooled; default: the network's own.")
_CACHE = flags.DEFINE_string("cache", "results/cache", "Folder that keeps what the network made of each picture.")
_BATCH = flags.DEFINE_integer("batch_size", 0, "Pictures in one pass; 0: 1 on a CPU, 16 elsewhere.", lower_bound=0)
_PROTOCOL = flags.DEFINE_enum(
    "protocol",
    None,
    sorted(protocol.PROTOCOLS),
    "Preset of the fields below. Default: paper; development for the synthetic dataset.",
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
    preset = _PROTOCOL.value or ("development" if _DATASET.value in SYNTHETIC else "paper")
    _check_folders([_DATASET.value, *_WHITENING_DATASET.value])
    chosen = protocol.get(preset).replace(
        **{name: flag.value for name, flag in _FIELDS.items() if flag.value is not None}
    )
    if _FIELDS["shrinkage"].value is not None and chosen.whitening != "shrinkage":
        raise ValueError("--shrinkage has no effect without --whitening=shrinkage")
    extraction = chosen.extraction(_BATCH.value)
    network = network_from_flags()
    options = chosen.model_options(network.spec.preprocessing.mean)
    model = cwcf_jax.load(network, _WEIGHTS.value, feature_layer=_FEATURE_LAYER.value, **options)
    weights = networks.fingerprint(_WEIGHTS.value)
    folders = [_folder(name) for name in (_DATASET.value, *_WHITENING_DATASET.value)]
    benchmark = datasets.read_oxford(folders[0])
    sets = [benchmark, *(datasets.read_dataset(folder) for folder in folders[1:])]
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


def network_from_flags() -> networks.Network:
    """The network of --network and --weights, with the classes and the preprocessing that the weights' record names."""
    if not pathlib.Path(_WEIGHTS.value).exists():
        raise FileNotFoundError(f"no weights at {_WEIGHTS.value}: see weights/README.md for where they come from")
    record = networks.read_provenance(_WEIGHTS.value)
    name = _NETWORK.value or (record.network if record is not None else None)
    if name is None:
        raise ValueError(f"{_WEIGHTS.value} does not say which network it is of; name it with --network")
    return networks.adapt(networks.get(name), record)


def _folder(name: str) -> str:
    """The folder of a dataset, rendered if it is a synthetic one that is not there yet."""
    if name not in SYNTHETIC:
        return name
    folder = pathlib.Path(_CACHE.value) / name
    given = SYNTHETIC[name]
    total = given["landmarks"] * (given["views"] + given["lookalikes"]) + given["distractors"]
    with tqdm(total=total, desc=f"rendering {name}", unit="image", disable=None) as bar:
        synthetic.render_landmarks(folder, **given, workers=os.cpu_count() or 1, progress=bar.update)
    return str(folder)


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
