"""From files to what the device makes of them, with neither waiting for the other."""

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
"""Called with how many more images are finished."""


def ignore(argument: object) -> None:
    """Reports no progress, compiles no bucket."""
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
    """Reads pictures, computes batches of them and keeps what becomes of each, all three at once.

    Args:
        pictures: a list of them.
        indices: which of the list.
        extraction: how they are read.
        compute: a pytree of arrays [b, ...] of each batch, perhaps still in the making.
        keep: takes the index of a picture and its part of what was computed, a pytree of numpy arrays [...].
        crops: the box of each picture of the list that is read instead of the whole.
        compile_bucket: compiles ``compute`` for a padded height and width before the first batch of it is there.
        progress: called with how many more are kept, or cannot be read.

    Returns:
        The pictures that cannot be read, and why.
    """
    unreadable: list[Unreadable] = []
    with Precompiler(compile_bucket) as precompiler:
        batches = read_pictures(pictures, indices, extraction, crops, precompiler.request)
        for batch, made in compute_batches(batches, precompiler.wrap(compute), unreadable, progress):
            arrays = jax.tree.map(np.asarray, made)
            for row, index in enumerate(batch.indices):
                keep(index, jax.tree.map(lambda array, row=row: array[row], arrays))
    return unreadable


def read_pictures(
    pictures: Sequence[Picture],
    indices: Iterable[int],
    extraction: ExtractionConfig,
    crops: Sequence[Box] | None = None,
    coming: Callable[[Shape], object] | None = None,
) -> Iterator[Batch | Unreadable]:
    """`images.read_batches` as an extraction and the encoder's buckets want it."""
    return read_batches(
        pictures,
        indices,
        resize=extraction.resize,
        batch_size=extraction.rows(),
        steps=encoder.BUCKET_STEPS,
        crops=crops,
        coming=coming,
    )


def compute_batches(
    batches: Iterable[Batch | Unreadable],
    compute: Callable[[Batch], Result],
    unreadable: list[Unreadable],
    progress: Progress,
) -> Iterator[tuple[Batch, Result]]:
    """Yields batches with what is computed of them; the device has the next one before this result is waited for.

    Args:
        batches: to go through.
        compute: returns arrays that may still be in the making.
        unreadable: gets what cannot be read.
        progress: called with how many more pictures the caller is done with.
    """
    waiting = None
    for batch in batches:
        if isinstance(batch, Unreadable):
            unreadable.append(batch)
            progress(1)
            continue
        begun = batch, compute(batch)
        if waiting is not None:
            yield waiting
            progress(len(waiting[0].indices))
        waiting = begun
    if waiting is not None:
        yield waiting
        progress(len(waiting[0].indices))
