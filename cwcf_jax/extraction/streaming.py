"""This module decodes pictures and computes batches on the device at the same time."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import jax
import numpy as np

from cwcf_jax import encoder
from cwcf_jax.arrays import Shape
from cwcf_jax.extraction.config import ExtractionConfig
from cwcf_jax.extraction.precompiler import Precompiler
from cwcf_jax.images import Batch, Box, Picture, Unreadable, read_batches

Result = TypeVar("Result")

Progress = Callable[[int], object]
"""A function that is called with the number of newly finished images."""


def ignore(argument: object) -> None:
    """Does nothing; for arguments that would report progress or compile a bucket."""
    del argument


def pass_pictures(
    pictures: Sequence[Picture],
    indices: Iterable[int],
    extraction: ExtractionConfig,
    compute: Callable[[Batch], Any],
    keep: Callable[[int, Any], object],
    *,
    crops: Sequence[Box] | None = None,
    compile_bucket: Callable[[Shape], object] = ignore,
    progress: Progress = ignore,
) -> list[Unreadable]:
    """Reads pictures, computes batches of pictures and keeps each picture's result, all three at the same time.

    Args:
        pictures: list of pictures.
        indices: indices of the pictures that are passed.
        extraction: config of the extraction.
        compute: function that returns a pytree of arrays [b, ...] for a batch; they may still be in computation.
        keep: function that is called with a picture's index and its part of the result, a pytree of numpy arrays [...].
        crops: box of each picture in the list that is read; None: whole pictures are read.
        compile_bucket: function that compiles ``compute`` for a padded height and width, before the first such batch.
        progress: function that is called with the number of pictures that were newly kept or found unreadable.

    Returns:
        Unreadable pictures, with the reasons.
    """
    unreadable: list[Unreadable] = []
    with Precompiler(compile_bucket) as precompiler:
        batches = read_pictures(pictures, indices, extraction, crops, precompiler.request)
        for batch, results in compute_batches(batches, precompiler.wrap(compute), unreadable, progress):
            arrays = jax.tree.map(np.asarray, results)
            for row, index in enumerate(batch.indices):
                keep(index, jax.tree.map(lambda array, row=row: array[row], arrays))
    return unreadable


def read_pictures(
    pictures: Sequence[Picture],
    indices: Iterable[int],
    extraction: ExtractionConfig,
    crops: Sequence[Box] | None = None,
    on_bucket: Callable[[Shape], object] | None = None,
) -> Iterator[Batch | Unreadable]:
    """Reads batches by `images.read_batches`, with the options of an extraction and the encoder's buckets.

    Args:
        pictures: list of pictures.
        indices: indices of the pictures that are read.
        extraction: config of the extraction.
        crops: box of each picture in the list that is read; None: whole pictures are read.
        on_bucket: function that is called with the bucket of each decoded picture.
    """
    return read_batches(
        pictures,
        indices,
        resize=extraction.resize,
        batch_size=extraction.pass_size(),
        steps=encoder.BUCKET_STEPS,
        crops=crops,
        coming=on_bucket,
    )


def compute_batches(
    batches: Iterable[Batch | Unreadable],
    compute: Callable[[Batch], Result],
    unreadable: list[Unreadable],
    progress: Progress,
) -> Iterator[tuple[Batch, Result]]:
    """Yields batches with their results; each next batch is sent to the device before a result is yielded.

    Args:
        batches: batches and unreadable pictures.
        compute: function that returns the result of a batch; arrays may still be in computation.
        unreadable: list that unreadable pictures are appended to.
        progress: function that is called with the number of pictures that the caller has newly finished.
    """
    previous = None
    for batch in batches:
        if isinstance(batch, Unreadable):
            unreadable.append(batch)
            progress(1)
            continue
        current = batch, compute(batch)
        if previous is not None:
            yield previous
            progress(len(previous[0].indices))
        previous = current
    if previous is not None:
        yield previous
        progress(len(previous[0].indices))
