"""Class vectors of a whole collection into a store, for online aggregation."""

import dataclasses
import functools
import hashlib
import time
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from cwcf_jax import encoder
from cwcf_jax.descriptors import Whitening, quantize
from cwcf_jax.encoder import Model
from cwcf_jax.extraction.config import Extraction, fingerprint
from cwcf_jax.extraction.filling import picture_batches
from cwcf_jax.extraction.streaming import Progress, compute_batches
from cwcf_jax.images import Batch, ImageSet, Unreadable
from cwcf_jax.store import ClassVectorWriter

WINDOW = 64
"""Images among which those of one size are gathered into batches."""

FLUSH_SECONDS = 60.0
"""What is lost at most when a run is killed."""


def fingerprint_class_vectors(
    model: Model, images: ImageSet, extraction: Extraction, whitening: Whitening | None, *, weights: str, files: str
) -> dict[str, Any]:
    """Everything that stored class vectors depend on; arguments as in `fingerprint`."""
    rows = fingerprint(model, images, extraction, weights=weights, files=files, queries=False)
    return {**rows, "encoder": dataclasses.asdict(model.config), "whitening": fingerprint_whitening(whitening)}


def fingerprint_whitening(whitening: Whitening | None) -> str | None:
    """sha256 over its arrays; None for none."""
    if whitening is None:
        return None
    digest = hashlib.sha256()
    for array in (whitening.mean, whitening.projection, whitening.eigenvalues):
        digest.update(repr(array.shape).encode() + np.asarray(array, "<f4").tobytes())
    return digest.hexdigest()


def fill_class_vectors(
    writer: ClassVectorWriter,
    model: Model,
    images: ImageSet,
    extraction: Extraction,
    whitening: Whitening | None,
    *,
    progress: Progress,
) -> list[str]:
    """Encodes what the store lacks, image i into row i, and says which pictures cannot be read and why.

    The vectors of a picture that cannot be read are 0: it scores 0 under every query.

    Args:
        writer: whose layout says which classes to keep, and how.
        model: that makes the passes.
        images: the dataset.
        extraction: how its pictures are read.
        whitening: of class vectors; None: the store holds them as they are pooled, scaled to norm 1.
        progress: called with how many more are finished.

    Raises:
        ValueError: the layout asks for classes or dimensions that the model and the whitening do not give.
    """
    layout = writer.layout
    dim = model.feature_dim if whitening is None else whitening.dim
    if layout.dim != dim or layout.classes[-1] >= model.network.spec.num_classes:
        raise ValueError(
            f"class vectors have {dim} numbers and {model.network.spec.num_classes} classes, not {layout.dim} numbers "
            f"and class {layout.classes[-1]}"
        )
    classes = np.array(layout.classes, np.int32)

    def keep(batch: Batch) -> tuple[Array, Float[Array, "b n"] | None]:
        found = encoder.embed_classes(model, batch.images, num_classes=1, whitening=whitening, sizes=batch.sizes)
        return _kept(found.vectors, classes, dtype=layout.dtype)

    unreadable: list[Unreadable] = []
    progress(writer.length)
    flushed = time.monotonic()
    for window in _windows(writer.length, len(images)):
        values = np.zeros((len(window), len(layout.classes), layout.dim), layout.dtype)
        scales = np.zeros(values.shape[:2], np.float32) if layout.dtype == "int8" else None
        batches = picture_batches(images, window, extraction, queries=False)
        for batch, (found, steps) in compute_batches(batches, keep, unreadable, progress):
            rows = np.array(batch.indices) - window.start
            values[rows] = np.asarray(found)[: len(rows)]
            if scales is not None:
                scales[rows] = np.asarray(steps)[: len(rows)]
        writer.append(values, scales)
        if time.monotonic() - flushed > FLUSH_SECONDS:
            writer.flush()
            flushed = time.monotonic()
    writer.flush()
    return [one.reason for one in unreadable]


def _windows(start: int, stop: int) -> Iterator[range]:
    """Ends at the same images wherever it starts, so that an interrupted run makes the same batches."""
    while start < stop:
        end = min((start // WINDOW + 1) * WINDOW, stop)
        yield range(start, end)
        start = end


@functools.partial(jax.jit, static_argnames="dtype")
def _kept(
    vectors: Float[Array, "b classes d"], classes: Int[Array, " n"], *, dtype: str
) -> tuple[Array, Float[Array, "b n"] | None]:
    """Values and scales as a store keeps them: a fraction of the bytes leaves the device."""
    vectors = vectors[:, classes]
    return quantize(vectors) if dtype == "int8" else (vectors.astype(jnp.float16), None)
