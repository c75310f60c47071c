"""A dataset's pictures through the network into a store: resumably, leaving out what cannot be read.

`fill_rows` and `fill_maps` fill stores with whatever a function computes, `fill_store` and `Filler` with what a model
computes. All of them, and an index, go through `streaming.pass_pictures`.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, runtime_checkable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from cwcf_jax import encoder
from cwcf_jax.arrays import Shape
from cwcf_jax.encoder import Model
from cwcf_jax.extraction.config import ExtractionConfig, fingerprint
from cwcf_jax.extraction.streaming import Progress, ignore, pass_pictures
from cwcf_jax.images import Batch, Box, ImageSet, Picture
from cwcf_jax.store import PooledStore


@runtime_checkable
class RowSink(Protocol):
    """Takes a row of each picture: a `RowStore`, or who carries the rows to one."""

    length: int

    def missing(self) -> np.ndarray:
        """Indices of the rows that it lacks."""

    def write(self, index: int, /, **rows: np.ndarray) -> None:
        """Takes one row of each field."""


@runtime_checkable
class MapSink(Protocol):
    """Takes the maps of each picture: a `MapStore`, or who carries the maps to one."""

    def missing(self, rows: Sequence[int], /) -> Sequence[int] | np.ndarray:
        """Those of the pictures whose maps it lacks."""

    def write(self, index: int, /, **maps: np.ndarray) -> None:
        """Takes the maps [h, w, c] of one picture."""


def open_store(
    folder: pathlib.Path,
    model: Model,
    images: ImageSet,
    extraction: ExtractionConfig,
    *,
    weights: str,
    files: str,
    queries: bool,
) -> PooledStore:
    """The store for a dataset's images, or for its queries, under its `fingerprint`; arguments as there.

    Raises:
        StaleStoreError, StoreBusyError: see `PooledStore`.
    """
    conditions = fingerprint(model, images, extraction, weights=weights, files=files, queries=queries)
    length = len(images.queries) if queries else len(images)
    classes = model.network.spec.num_labels
    return PooledStore(
        folder,
        conditions,
        length=length,
        classes=classes,
        dim=model.feature_dim,
        channel_weighting=model.config.pooling == "sum",
    )


def fill_store(
    store: RowSink, model: Model, images: ImageSet, extraction: ExtractionConfig, *, queries: bool, progress: Progress
) -> list[str]:
    """Fills a store with `encoder.pool` over all classes, and says which pictures were left out and why."""
    everything = jnp.arange(model.network.spec.num_labels)
    logits, refused = _crop_logits(store, model, images, extraction) if queries else ({}, {})
    boxes = queries and not extraction.crop_queries

    def compile_bucket(bucket: Shape) -> None:
        shape = extraction.rows(), *bucket
        encoder.compile_ahead(encoder.pool, model, shape, class_ids=everything, boxes=boxes)

    def pooled(batch: Batch, boxes: np.ndarray | None) -> dict[str, Array | np.ndarray]:
        found = encoder.pool(model, batch.images, sizes=batch.sizes, boxes=boxes, class_ids=everything)
        rows: dict[str, Array | np.ndarray] = {**found._asdict()}
        del rows["class_ids"]
        if logits:
            rows["logits"] = np.stack([logits[index] for index in _padded_indices(batch)])
        return rows

    return fill_rows(
        store,
        images,
        extraction,
        pooled,
        queries=queries,
        refused=refused,
        compile_bucket=compile_bucket,
        progress=progress,
    )


def fill_rows(
    store: RowSink,
    images: ImageSet,
    extraction: ExtractionConfig,
    compute: Callable[[Batch, np.ndarray | None], Mapping[str, Array | np.ndarray]],
    *,
    queries: bool,
    refused: Mapping[int, str] | None = None,
    compile_bucket: Callable[[Shape], object] = ignore,
    progress: Progress,
) -> list[str]:
    """Fills what a store lacks with what ``compute`` makes of it, and says what was left out and why.

    Args:
        store: of the dataset's images, or of its queries.
        images: the dataset.
        extraction: how its pictures are read.
        compute: called with batches and with their queries' boxes in pixels of the batch, None where whole pictures are
            meant; returns a row of every field for each picture of the batch, perhaps still in the making.
        queries: whether the store's rows are the queries.
        refused: rows that are left out, and why.
        compile_bucket: see `pass_pictures`.
        progress: called with how many more are finished.
    """
    refused = refused or {}
    missing = [row for row in store.missing().tolist() if row not in refused]
    progress(store.length - len(missing))
    cut = queries and not extraction.crop_queries
    pictures, crops = _pictures(images, extraction, queries=queries)
    unreadable = pass_pictures(
        pictures,
        missing,
        extraction,
        lambda batch: compute(batch, _scale_boxes(images, batch, extraction) if cut else None),
        lambda index, rows: store.write(index, **rows),
        crops=crops,
        compile_bucket=compile_bucket,
        progress=progress,
    )
    return [*refused.values(), *(one.reason for one in unreadable)]


def fill_maps(
    store: MapSink,
    images: ImageSet,
    extraction: ExtractionConfig,
    rows: np.ndarray,
    compute: Callable[[Batch], dict[str, tuple[Array, Array]]],
    *,
    queries: bool = False,
    compile_bucket: Callable[[Shape], object] = ignore,
    progress: Progress,
) -> list[str]:
    """Keeps the maps of those of the given images whose maps are not there yet; says what was left out and why.

    Args:
        store: of the dataset's images, or of its queries, by their indices.
        images: the dataset.
        extraction: how its pictures are read.
        rows: indices of images or queries.
        compute: maps [b, h, w, c] of a batch by name, and how much of each is valid [b, 2].
        queries: whether the store's rows are the queries.
        compile_bucket: see `pass_pictures`.
        progress: called with how many more are finished.
    """
    missing = np.asarray(store.missing(rows.tolist())).tolist()
    progress(len(rows) - len(missing))
    pictures, crops = _pictures(images, extraction, queries=queries)
    unreadable = pass_pictures(
        pictures,
        missing,
        extraction,
        compute,
        lambda index, made: store.write(index, **crop_maps(made)),
        crops=crops,
        compile_bucket=compile_bucket,
        progress=progress,
    )
    return [one.reason for one in unreadable]


def model_maps(model: Model, batch: Batch) -> dict[str, tuple[Array, Array]]:
    """Computes for `fill_maps` what `reranking` reads."""
    maps = encoder.feature_maps(model, batch.images, sizes=batch.sizes)
    return {"features": (maps.features, maps.feature_size), "cam_features": (maps.cam_features, maps.cam_size)}


def compile_model_maps(model: Model, extraction: ExtractionConfig, bucket: Shape) -> None:
    """Compiles `model_maps` for the pictures of a bucket."""
    encoder.compile_ahead(encoder.feature_maps, model, (extraction.rows(), *bucket))


def crop_maps(made: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> dict[str, np.ndarray]:
    """The valid part [h, w, c] of each padded map of one picture, which comes with its valid size [2]."""
    return {name: maps[: size[0], : size[1]] for name, (maps, size) in made.items()}


@dataclasses.dataclass(frozen=True)
class Filler:
    """Fills stores by a model in this process; `ray_filling.RayFiller` does the same on a cluster."""

    model: Model

    def fill_store(
        self, store: PooledStore, images: ImageSet, extraction: ExtractionConfig, *, queries: bool, progress: Progress
    ) -> list[str]:
        """See `fill_store`."""
        return fill_store(store, self.model, images, extraction, queries=queries, progress=progress)

    def fill_maps(
        self,
        store: MapSink,
        images: ImageSet,
        extraction: ExtractionConfig,
        rows: np.ndarray,
        *,
        progress: Progress,
    ) -> list[str]:
        """See `fill_maps`, with `model_maps`."""
        compute = functools.partial(model_maps, self.model)
        compile_bucket = functools.partial(compile_model_maps, self.model, extraction)
        return fill_maps(store, images, extraction, rows, compute, compile_bucket=compile_bucket, progress=progress)


def _pictures(
    images: ImageSet, extraction: ExtractionConfig, *, queries: bool
) -> tuple[Sequence[Picture], Sequence[Box] | None]:
    """Pictures of the dataset, or of its queries, and which part of each is read."""
    if not queries:
        return images.paths, None
    return images.query_pictures(), [query.box for query in images.queries] if extraction.crop_queries else None


def _crop_logits(
    store: RowSink, model: Model, images: ImageSet, extraction: ExtractionConfig
) -> tuple[dict[int, np.ndarray], dict[int, str]]:
    """The logits of the missing queries' boxes, each an image of its own, and why some have none."""
    logits: dict[int, np.ndarray] = {}
    if extraction.crop_classes is None:
        return logits, {}
    alone = dataclasses.replace(extraction, resize=extraction.crop_classes, crop_queries=True)
    pictures, crops = _pictures(images, alone, queries=True)
    unreadable = pass_pictures(
        pictures,
        store.missing().tolist(),
        alone,
        lambda batch: encoder.pool(model, batch.images, sizes=batch.sizes, num_classes=1).logits,
        logits.__setitem__,
        crops=crops,
    )
    return logits, {one.index: one.reason for one in unreadable}


def _padded_indices(batch: Batch) -> list[int]:
    """An index for every row of the batch; rows that fill it up repeat the last picture."""
    return list(batch.indices) + [batch.indices[-1]] * (len(batch.sizes) - len(batch.indices))


def _scale_boxes(images: ImageSet, batch: Batch, extraction: ExtractionConfig) -> np.ndarray:
    """Boxes of the batch's queries in resized pixels."""
    chosen = np.array([images.queries[index].box for index in _padded_indices(batch)], np.float32)
    if not extraction.scale_boxes:
        return chosen
    scale = (batch.sizes / batch.original_sizes)[:, [1, 0, 1, 0]]
    return (chosen * scale).astype(np.float32)
