"""This module makes batches of a labelled dataset, with Grain's random access.

Training batch ``i`` depends on the seed and on ``i`` alone, so that a training can be resumed at any step.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import grain  # type: ignore[import-untyped]
import numpy as np

from cwcf_jax.datasets.labelled import LabelledImages
from cwcf_jax.training.augment import AugmentationConfig, augment, center_crop

Batch = dict[str, Any]
"""``images`` [b, size, size, 3] uint8, ``labels`` [b] int32, ``weights`` [b] float32: 1 for pictures, 0 for padding."""

PREFETCHED_BATCHES = 4
"""The number of finished batches that wait to be used, besides one batch in work for each thread."""


def training_dataset(
    images: LabelledImages, *, batch_size: int, seed: int, augmentation: AugmentationConfig | None, size: int
) -> Any:
    """Returns an endless `grain.MapDataset` of training batches, in a new random order in every epoch.

    A batch may contain the end of one epoch and the start of the next. Without ``augmentation`` each picture is the
    central square, as in evaluation. Each picture has its own random generator, seeded with ``seed`` and the position
    of the picture in the stream.
    """

    def example(position: int, index: int) -> Batch:
        image, label = images[int(index)]
        if augmentation is None:
            pixels = center_crop(image, size)
        else:
            pixels = augment(image, np.random.default_rng((seed, position)), augmentation)
        return {"images": pixels, "labels": np.int32(label), "weights": np.float32(1.0)}

    order = grain.MapDataset.range(len(images)).shuffle(seed=seed).repeat()
    return order.map_with_index(example).batch(batch_size, drop_remainder=True)


def evaluation_dataset(images: LabelledImages, *, batch_size: int, size: int) -> Any:
    """Returns a `grain.MapDataset` of every picture once, in order; padding of weight 0 fills up the last batch."""

    def example(index: int) -> Batch:
        if index >= len(images):
            return {"images": np.zeros((size, size, 3), np.uint8), "labels": np.int32(0), "weights": np.float32(0.0)}
        image, label = images[int(index)]
        return {"images": center_crop(image, size), "labels": np.int32(label), "weights": np.float32(1.0)}

    padded_length = -(-len(images) // batch_size) * batch_size
    return grain.MapDataset.range(padded_length).map(example).batch(batch_size, drop_remainder=True)


@contextlib.contextmanager
def batches(dataset: Any, *, start: int, workers: int) -> Iterator[Iterator[Batch]]:
    """Yields an iterator over the batches from number ``start`` on.

    Args:
        dataset: a result of `training_dataset` or `evaluation_dataset`.
        start: number of the first batch.
        workers: number of threads that make batches ahead of their use; 0: batches are made when they are used.
    """
    prefetched = workers + PREFETCHED_BATCHES if workers else 0
    options = grain.ReadOptions(num_threads=workers, prefetch_buffer_size=prefetched)
    iterator = iter(dataset[start:].to_iter_dataset(options))
    try:
        yield iterator
    finally:
        close = getattr(iterator, "close", None)
        if close is not None:
            close()  # ends the threads now, and not at some garbage collection
