"""Pictures as padded batches, decoded ahead of the device."""

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
"""Threads: Pillow decodes and resizes outside of Python's lock."""

AHEAD = max(16, 2 * DECODERS)
"""Decoded pictures that wait outside the buckets."""

PARTIAL = 8
"""How many batches' worth of pictures wait in unfinished batches, at most."""


@dataclasses.dataclass(frozen=True)
class Batch:
    """Pictures padded to one shape.

    Attributes:
        indices: which pictures of the list these are; fewer than the batch has rows where it was filled up.
        images: [b, h, w, 3] uint8, zero outside the valid area; rows beyond ``indices`` repeat the last picture.
        sizes: [b, 2] int32, valid rows and columns.
        original_sizes: [b, 2] int32, rows and columns before the resize, of the part where there are crops.
    """

    indices: tuple[int, ...]
    images: np.ndarray
    sizes: np.ndarray
    original_sizes: np.ndarray


@dataclasses.dataclass(frozen=True)
class Unreadable:
    """A picture that was left out, and why; the reason names the file."""

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
    """Decodes ``paths[i]``, or its part ``crops[i]``, in threads and yields full batches of one bucket each.

    Buckets are `bucket_shape`s of ``steps``. A batch comes out when its bucket is full, the rest at the end, all of
    ``batch_size`` rows. Memory is bounded whatever the shapes: at most `AHEAD` decoded pictures wait outside the
    buckets and `PARTIAL` batches' worth inside; beyond that the fullest bucket is filled up and comes out.

    ``coming`` is called, in any thread, with the bucket of each picture as soon as it is decoded.
    """
    waiting: dict[tuple[int, int], list[tuple[int, np.ndarray, tuple[int, int]]]] = collections.defaultdict(list)

    def load(index: int) -> tuple[np.ndarray, tuple[int, int]]:
        image, original = load_image(paths[index], resize, None if crops is None else crops[index])
        if coming is not None:
            coming(bucket_shape(image.shape[:2], *steps))
        return image, original

    for index, outcome in _decoded(load, iter(indices)):
        if isinstance(outcome, ImageError):
            yield Unreadable(index, str(outcome))
            continue
        image, original = outcome
        bucket = bucket_shape(image.shape[:2], *steps)
        waiting[bucket].append((index, image, original))
        if len(waiting[bucket]) < batch_size:
            if sum(map(len, waiting.values())) <= PARTIAL * batch_size:
                continue
            bucket = max(waiting, key=lambda one: len(waiting[one]))
        yield _batch(waiting.pop(bucket), bucket, batch_size)
    for bucket, rest in waiting.items():
        yield _batch(rest, bucket, batch_size)


def _decoded(
    load: Callable[[int], tuple[np.ndarray, tuple[int, int]]], indices: Iterator[int]
) -> Iterator[tuple[int, tuple[np.ndarray, tuple[int, int]] | ImageError]]:
    with concurrent.futures.ThreadPoolExecutor(DECODERS) as pool:
        pending = collections.deque((index, pool.submit(load, index)) for index in itertools.islice(indices, AHEAD))
        while pending:
            index, future = pending.popleft()
            try:
                yield index, future.result()
            except ImageError as error:
                yield index, error
            for following in itertools.islice(indices, 1):
                pending.append((following, pool.submit(load, following)))


def _batch(pictures: list[tuple[int, np.ndarray, tuple[int, int]]], bucket: tuple[int, int], batch_size: int) -> Batch:
    rows = pictures + [pictures[-1]] * (batch_size - len(pictures))
    images = np.zeros((batch_size, *bucket, 3), np.uint8)
    for row, (_, image, _) in zip(images, rows, strict=True):
        row[: image.shape[0], : image.shape[1]] = image
    return Batch(
        indices=tuple(index for index, _, _ in pictures),
        images=images,
        sizes=np.array([image.shape[:2] for _, image, _ in rows], np.int32),
        original_sizes=np.array([original for _, _, original in rows], np.int32),
    )
