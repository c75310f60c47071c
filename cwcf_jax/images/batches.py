"""This module decodes pictures in threads, ahead of the device, and pads them to batches."""

import collections
import concurrent.futures
import dataclasses
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from cwcf_jax.arrays import Shape, bucket_shape
from cwcf_jax.images.decoding import Box, ImageError, Resize, load_image
from cwcf_jax.images.imagesets import Picture

DECODERS = max(2, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 2)
"""The number of threads that decode. Pillow releases Python's lock while it decodes and resizes."""

MAX_PENDING_PICTURES = max(16, 2 * DECODERS)
"""The largest number of pictures that are being decoded, or are decoded and not yet in a bucket."""

MAX_UNFINISHED_BATCHES = 8
"""The largest number of pictures in unfinished batches, counted in full batches."""


@dataclasses.dataclass(frozen=True)
class Batch:
    """A `Batch` holds pictures that are padded to one shape.

    Attributes:
        indices: indices of the pictures in the list of `read_batches`; fewer than b if the batch was filled up.
        images: shape [b, h, w, 3], uint8, zero outside the valid area; images beyond ``indices`` repeat the last one.
        sizes: shape [b, 2], int32; the valid rows and columns of each image.
        original_sizes: shape [b, 2], int32; the rows and columns of each picture, or of its crop, before the resize.
    """

    indices: tuple[int, ...]
    images: np.ndarray
    sizes: np.ndarray
    original_sizes: np.ndarray


@dataclasses.dataclass(frozen=True)
class Unreadable:
    """An `Unreadable` holds the index of a picture that cannot be read, and the reason, which names the file."""

    index: int
    reason: str


def read_batches(
    paths: Sequence[Picture],
    indices: Iterable[int],
    *,
    resize: Resize,
    batch_size: int,
    steps: Sequence[int],
    crops: Sequence[Box] | None = None,
    coming: Callable[[Shape], object] | None = None,
) -> Iterator[Batch | Unreadable]:
    """Decodes pictures in threads and yields them in batches, each batch from one bucket.

    A batch is yielded as soon as its bucket holds ``batch_size`` pictures; unfinished batches are filled up and yielded
    at the end. Memory is bounded for any mixture of shapes: at most `MAX_PENDING_PICTURES` pictures are outside the
    buckets. If the buckets hold more pictures than `MAX_UNFINISHED_BATCHES` batches, the fullest bucket is filled up
    and yielded.

    Args:
        paths: all pictures.
        indices: indices of the pictures to read, in the order of decoding.
        resize: the resize of every picture.
        batch_size: the number of images of every batch.
        steps: the steps of the buckets, see `bucket_shape`.
        crops: a box of each picture of ``paths``, to read in its place; None for whole pictures.
        coming: a function that is called with the bucket of each picture as soon as the picture is decoded, in any
            thread.
    """
    waiting: dict[tuple[int, int], list[tuple[int, np.ndarray, tuple[int, int]]]] = collections.defaultdict(list)

    def load(index: int) -> tuple[np.ndarray, tuple[int, int]]:
        image, original_size = load_image(paths[index], resize, None if crops is None else crops[index])
        if coming is not None:
            coming(bucket_shape(image.shape[:2], *steps))
        return image, original_size

    for index, outcome in _decode_in_order(load, iter(indices)):
        if isinstance(outcome, ImageError):
            yield Unreadable(index, str(outcome))
            continue
        image, original_size = outcome
        bucket = bucket_shape(image.shape[:2], *steps)
        waiting[bucket].append((index, image, original_size))
        if len(waiting[bucket]) < batch_size:
            if sum(map(len, waiting.values())) <= MAX_UNFINISHED_BATCHES * batch_size:
                continue
            bucket = max(waiting, key=lambda shape: len(waiting[shape]))
        yield _pad_batch(waiting.pop(bucket), bucket, batch_size)
    for bucket, pictures in waiting.items():
        yield _pad_batch(pictures, bucket, batch_size)


def _decode_in_order(
    load: Callable[[int], tuple[np.ndarray, tuple[int, int]]], indices: Iterator[int]
) -> Iterator[tuple[int, tuple[np.ndarray, tuple[int, int]] | ImageError]]:
    with concurrent.futures.ThreadPoolExecutor(DECODERS) as pool:
        first_indices = itertools.islice(indices, MAX_PENDING_PICTURES)
        pending = collections.deque((index, pool.submit(load, index)) for index in first_indices)
        while pending:
            index, future = pending.popleft()
            try:
                yield index, future.result()
            except ImageError as error:
                yield index, error
            for next_index in itertools.islice(indices, 1):
                pending.append((next_index, pool.submit(load, next_index)))


def _pad_batch(
    pictures: list[tuple[int, np.ndarray, tuple[int, int]]], bucket: tuple[int, int], batch_size: int
) -> Batch:
    filled_up = pictures + [pictures[-1]] * (batch_size - len(pictures))
    padded_images = np.zeros((batch_size, *bucket, 3), np.uint8)
    for padded, (_, image, _) in zip(padded_images, filled_up, strict=True):
        padded[: image.shape[0], : image.shape[1]] = image
    return Batch(
        indices=tuple(index for index, _, _ in pictures),
        images=padded_images,
        sizes=np.array([image.shape[:2] for _, image, _ in filled_up], np.int32),
        original_sizes=np.array([original_size for _, _, original_size in filled_up], np.int32),
    )
