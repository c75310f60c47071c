"""This benchmark compares re-ranking by regions of stored maps with re-ranking by new passes through the network.

python -m benchmarks.reranking --pictures=FOLDER --network=googlenet --weights=FILE

The maps of the first pictures of a folder are stored in float16 and in int8. Then five regions of each picture (section
4.5 of the paper) are scored in turns from each store, and from maps that are computed anew from the pictures. The
whitening is fitted on the class vectors of the same pictures.
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

_PICTURES = flags.DEFINE_string("pictures", None, "Folder of photographs.", required=True)
_NETWORK = flags.DEFINE_string("network", None, "Name of the network, see weights/README.md.", required=True)
_WEIGHTS = flags.DEFINE_string("weights", None, "Checkpoint of the network.", required=True)
_IMAGES = flags.DEFINE_integer("images", 100, "Number of images that are re-ranked.", lower_bound=1)
_DIM = flags.DEFINE_integer("dim", 256, "Dimensions of a descriptor.", lower_bound=1)
_RESIZE = flags.DEFINE_string("resize", "none", "Resizing as in a protocol.")
_ROUNDS = flags.DEFINE_integer("rounds", 7, "Number of re-rankings of each kind.", lower_bound=1)
_OUTPUT = flags.DEFINE_string("output", "", "File for the results as JSON; empty for none.")


def main(argv: Sequence[str]) -> None:
    """Stores the maps, measures all re-rankings, and prints and saves the results."""
    del argv
    model = cwcf_jax.load(_NETWORK.value, weights=_WEIGHTS.value)
    extraction = ExtractionConfig(Resize.parse(_RESIZE.value))
    images = first_pictures(read_folder(_PICTURES.value), _IMAGES.value)
    with tempfile.TemporaryDirectory() as folder:
        stores = {
            dtype: store_maps(model, images, extraction, pathlib.Path(folder, dtype), dtype) for dtype in maps.DTYPES
        }
        score_regions = prepare_scoring(model, images, extraction)
        run: dict[str, Callable[[], reranking.BestRegions]] = {
            f"maps, {dtype}": functools.partial(score_regions, store.read) for dtype, store in stores.items()
        }
        run["network"] = functools.partial(score_through_network, model, images, extraction, score_regions)
        seconds = measuring.take_turns(run, _ROUNDS.value)
        reference, *others = (call().scores for call in run.values())
        store_bytes = {
            dtype: sum(file.stat().st_size for file in pathlib.Path(folder, dtype).iterdir())
            for dtype, store in stores.items()
        }
    result = {
        "what": "the best of five regions of each image, seconds",
        "images": len(images),
        "network": _NETWORK.value,
        "resize": _RESIZE.value,
        "bytes_per_image": {dtype: total / len(images) for dtype, total in store_bytes.items()},
        "seconds": {name: measuring.spread(durations) for name, durations in seconds.items()},
        "network_per_maps": {
            name: measuring.ratio(seconds["network"], durations)
            for name, durations in seconds.items()
            if name != "network"
        },
        "largest_difference_of_scores": max(float(np.abs(other - reference).max()) for other in others),
        "machine": measuring.describe_machine(),
    }
    measuring.print_and_save(result, _OUTPUT.value)


def first_pictures(images: ImageSet, count: int) -> ImageSet:
    """Returns the first ``count`` pictures of an image set."""
    return dataclasses.replace(images, names=images.names[:count], paths=images.paths[:count])


def store_maps(
    model: cwcf_jax.Model, images: ImageSet, extraction: ExtractionConfig, folder: pathlib.Path, dtype: str
) -> MapStore:
    """Stores the maps of all images in a new store.

    Raises:
        ValueError: A picture cannot be read.
    """
    store = MapStore(folder, dtype=dtype)
    left_out = Filler(model).fill_maps(store, images, extraction, np.arange(len(images)), progress=ignore)
    if left_out:
        raise ValueError("; ".join(left_out))
    return store


def prepare_scoring(
    model: cwcf_jax.Model, images: ImageSet, extraction: ExtractionConfig
) -> Callable[[reranking.ReadMaps], reranking.BestRegions]:
    """Returns a function that scores the regions of all images for image 0 as the query.

    The argument of the returned function is a function that reads the maps of an image.
    """
    batches = read_batches(images.paths, range(len(images)), resize=extraction.resize, batch_size=1, steps=(128,))
    batch_vectors = [
        cwcf_jax.class_vectors(model, batch.images, sizes=batch.sizes, num_classes=64)
        for batch in batches
        if isinstance(batch, Batch)
    ]
    unit_vectors = l2_normalize(jnp.concatenate([class_vectors.vectors[0] for class_vectors in batch_vectors]))
    whitening = cwcf_jax.fit_pca_whitening(unit_vectors, dim=_DIM.value, fitted_on=_PICTURES.value)
    query = load_image(images.paths[0], extraction.resize)[0]
    descriptor = cwcf_jax.encode(model, query[None], num_classes=6, whitening=whitening)[0]
    class_ids = np.asarray(cwcf_jax.class_vectors(model, query[None], num_classes=6).class_ids[0])
    config = reranking.RegionConfig()
    rows = np.arange(len(images))
    return lambda read: reranking.best_regions(model, read, rows, descriptor, class_ids, whitening, config)


def score_through_network(
    model: cwcf_jax.Model,
    images: ImageSet,
    extraction: ExtractionConfig,
    score_regions: Callable[[reranking.ReadMaps], reranking.BestRegions],
) -> reranking.BestRegions:
    """Scores the regions without stored maps: decodes every picture and passes it through the network."""
    maps_of_images: dict[int, dict[str, np.ndarray]] = {}

    def keep_maps(index: int, padded_maps: dict[str, tuple[np.ndarray, np.ndarray]]) -> None:
        maps_of_images[index] = crop_maps(padded_maps)

    pass_pictures(images.paths, range(len(images)), extraction, functools.partial(model_maps, model), keep_maps)
    return score_regions(maps_of_images.__getitem__)


if __name__ == "__main__":
    app.run(main)
