"""Batches of a labelled dataset, Grain's random access underneath.

Training batch ``i`` is a function of the seed and ``i`` alone: whoever knows the step can go on from it.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import grain  # type: ignore[import-untyped]
import numpy as np

from cwcf_jax.datasets.labelled import LabelledImages
from cwcf_jax.training.augment import AugmentationConfig, augment, center_crop

Batch = dict[str, Any]
"""``images`` [b, size, size, 3] uint8, ``labels`` [b] int32, ``weights`` [b] float32: 1, or 0 for what fills up."""

PREFETCHED = 4
"""Batches that are made ahead of their use, besides one in each worker's hands."""


def training_dataset(
    images: LabelledImages, *, batch_size: int, seed: int, augmentation: AugmentationConfig | None, size: int
) -> Any:
    """An endless `grain.MapDataset` of batches: every epoch a new order, batches running on over its end.

    ``augmentation`` None: the central square, as in evaluation. Each picture has a random generator of its own, seeded
    with ``seed`` and the picture's place in the stream.
    """

    def example(place: int, index: int) -> Batch:
        image, label = images[int(index)]
        if augmentation is None:
            pixels = center_crop(image, size)
        else:
            pixels = augment(image, np.random.default_rng((seed, place)), augmentation)
        return {"images": pixels, "labels": np.int32(label), "weights": np.float32(1.0)}

    order = grain.MapDataset.range(len(images)).shuffle(seed=seed).repeat()
    return order.map_with_index(example).batch(batch_size, drop_remainder=True)


def evaluation_dataset(images: LabelledImages, *, batch_size: int, size: int) -> Any:
    """A `grain.MapDataset` of every picture once, in order; the last batch is filled up with weights of 0."""

    def example(index: int) -> Batch:
        if index >= len(images):
            return {"images": np.zeros((size, size, 3), np.uint8), "labels": np.int32(0), "weights": np.float32(0.0)}
        image, label = images[int(index)]
        return {"images": center_crop(image, size), "labels": np.int32(label), "weights": np.float32(1.0)}

    filled = -(-len(images) // batch_size) * batch_size
    return grain.MapDataset.range(filled).map(example).batch(batch_size, drop_remainder=True)


@contextlib.contextmanager
def batches(dataset: Any, *, start: int, workers: int) -> Iterator[Iterator[Batch]]:
    """Batches from number ``start`` on, made ahead in ``workers`` threads; 0: made when asked for."""
    options = grain.ReadOptions(num_threads=workers, prefetch_buffer_size=workers + PREFETCHED if workers else 0)
    iterator = iter(dataset[start:].to_iter_dataset(options))
    try:
        yield iterator
    finally:
        close = getattr(iterator, "close", None)
        if close is not None:
            close()  # its threads end here, and not when somebody collects garbage
