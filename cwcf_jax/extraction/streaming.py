"""From files to what the device makes of them, with neither waiting for the other."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from cwcf_jax import encoder
from cwcf_jax.arrays import Shape
from cwcf_jax.extraction.config import Extraction
from cwcf_jax.images import Batch, Box, Picture, Unreadable, read_batches

Result = TypeVar("Result")

Progress = Callable[[int], object]
"""Called with how many more images are finished."""


def read_pictures(
    pictures: Sequence[Picture],
    indices: Iterable[int],
    extraction: Extraction,
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
    refused: list[Unreadable],
    progress: Progress,
) -> Iterator[tuple[Batch, Result]]:
    """Batches with what is computed of them; the device has the next one before this one's result is waited for.

    Args:
        batches: to go through.
        compute: returns arrays that may still be in the making.
        refused: gets what cannot be read.
        progress: hears of pictures when the caller is done with them.
    """
    waiting = None
    for batch in batches:
        if isinstance(batch, Unreadable):
            refused.append(batch)
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
