"""Re-ranking images by their regions from stored maps, against passing the images through the network again.

python -m benchmarks.reranking --pictures=FOLDER --network=googlenet --weights=FILE

Keeps the maps of the first pictures of a folder in float16 and in int8, then looks at five regions of each (section 4.5
of the paper) from either, and takes the features anew from the pictures, in turns. Whitening is fitted on the pictures'
own class vectors.
"""

import dataclasses
import functools
import pathlib
import tempfile
from collections.abc import Callable, Sequence

import jax.numpy as jnp
import numpy as np
from absl import app, flags

import cwcf_jax
from benchmarks import measuring
from cwcf_jax.arrays import l2_normalize
from cwcf_jax.extraction import ExtractionConfig, Filler, crop_maps, ignore, model_maps, pass_pictures
from cwcf_jax.images import Batch, ImageSet, Resize, load_image, read_batches, read_folder
from cwcf_jax.search import reranking
from cwcf_jax.store import MapStore, maps

_PICTURES = flags.DEFINE_string("pictures", None, "A folder of photographs.", required=True)
_NETWORK = flags.DEFINE_string("network", None, "See weights/README.md.", required=True)
_WEIGHTS = flags.DEFINE_string("weights", None, "A checkpoint of it.", required=True)
_IMAGES = flags.DEFINE_integer("images", 100, "How many are looked at.", lower_bound=1)
_DIM = flags.DEFINE_integer("dim", 256, "Numbers of a descriptor.", lower_bound=1)
_RESIZE = flags.DEFINE_string("resize", "none", "As in the protocol.")
_ROUNDS = flags.DEFINE_integer("rounds", 7, "Re-rankings of each kind.", lower_bound=1)
_OUTPUT = flags.DEFINE_string("output", "", "A file for the JSON.")


def main(argv: Sequence[str]) -> None:
    """Keeps, looks, compares."""
    del argv
    model = cwcf_jax.load(_NETWORK.value, weights=_WEIGHTS.value)
    extraction = ExtractionConfig(Resize.parse(_RESIZE.value))
    images = first_pictures(read_folder(_PICTURES.value), _IMAGES.value)
    with tempfile.TemporaryDirectory() as folder:
        stores = {dtype: keep(model, images, extraction, pathlib.Path(folder, dtype), dtype) for dtype in maps.DTYPES}
        look = prepare(model, images, extraction)
        run: dict[str, Callable[[], reranking.BestRegions]] = {
            f"maps, {dtype}": functools.partial(look, store.read) for dtype, store in stores.items()
        }
        run["network"] = functools.partial(through_network, model, images, extraction, look)
        seconds = measuring.take_turns(run, _ROUNDS.value)
        reference, *others = (call().scores for call in run.values())
        size = {
            dtype: sum(file.stat().st_size for file in pathlib.Path(folder, dtype).iterdir())
            for dtype, store in stores.items()
        }
    result = {
        "what": "the best of five regions of each image, seconds",
        "images": len(images),
        "network": _NETWORK.value,
        "resize": _RESIZE.value,
        "bytes_per_image": {dtype: total / len(images) for dtype, total in size.items()},
        "seconds": {name: measuring.spread(taken) for name, taken in seconds.items()},
        "network_per_maps": {
            name: measuring.ratio(seconds["network"], taken) for name, taken in seconds.items() if name != "network"
        },
        "largest_difference_of_scores": max(float(np.abs(other - reference).max()) for other in others),
        "machine": measuring.machine(),
    }
    measuring.write(result, _OUTPUT.value)


def first_pictures(images: ImageSet, count: int) -> ImageSet:
    """A dataset of the first pictures of another."""
    return dataclasses.replace(images, names=images.names[:count], paths=images.paths[:count])


def keep(
    model: cwcf_jax.Model, images: ImageSet, extraction: ExtractionConfig, folder: pathlib.Path, dtype: str
) -> MapStore:
    """The maps of all images in a new store."""
    store = MapStore(folder, dtype=dtype)
    left_out = Filler(model).fill_maps(store, images, extraction, np.arange(len(images)), progress=ignore)
    if left_out:
        raise ValueError("; ".join(left_out))
    return store


def prepare(
    model: cwcf_jax.Model, images: ImageSet, extraction: ExtractionConfig
) -> Callable[[reranking.Read], reranking.BestRegions]:
    """What looks at all images for the first one as the query, given how to read maps."""
    batches = read_batches(images.paths, range(len(images)), resize=extraction.resize, batch_size=1, steps=(128,))
    found = [
        cwcf_jax.class_vectors(model, batch.images, sizes=batch.sizes, num_classes=64)
        for batch in batches
        if isinstance(batch, Batch)
    ]
    unit = l2_normalize(jnp.concatenate([one.vectors[0] for one in found]))
    whitening = cwcf_jax.fit_pca_whitening(unit, dim=_DIM.value, fitted_on=_PICTURES.value)
    query = load_image(images.paths[0], extraction.resize)[0]
    descriptor = cwcf_jax.encode(model, query[None], num_classes=6, whitening=whitening)[0]
    class_ids = np.asarray(cwcf_jax.class_vectors(model, query[None], num_classes=6).class_ids[0])
    config = reranking.RegionConfig()
    rows = np.arange(len(images))
    return lambda read: reranking.best_regions(model, read, rows, descriptor, class_ids, whitening, config)


def through_network(
    model: cwcf_jax.Model,
    images: ImageSet,
    extraction: ExtractionConfig,
    look: Callable[[reranking.Read], reranking.BestRegions],
) -> reranking.BestRegions:
    """The same without stored maps: every picture is decoded and goes through the network."""
    held: dict[int, dict[str, np.ndarray]] = {}

    def keep(index: int, made: dict[str, tuple[np.ndarray, np.ndarray]]) -> None:
        held[index] = crop_maps(made)

    pass_pictures(images.paths, range(len(images)), extraction, functools.partial(model_maps, model), keep)
    return look(held.__getitem__)


if __name__ == "__main__":
    app.run(main)
