"""This module passes a dataset's pictures through a network into a store; it can be resumed.

`fill_rows` and `fill_maps` fill stores with the results of any function, `fill_store` and `Filler` with those of a
model. Pictures that cannot be read are skipped and reported. All functions, and an index, use
`streaming.pass_pictures`.
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
    """A `RowSink` stores a row for each picture: a `RowStore`, or an object that collects rows for one."""

    length: int

    def missing(self) -> np.ndarray:
        """Returns the indices of the missing rows."""

    def write(self, index: int, /, **rows: np.ndarray) -> None:
        """Writes one row of each field."""


@runtime_checkable
class MapSink(Protocol):
    """A `MapSink` stores the maps of each picture: a `MapStore`, or an object that collects maps for one."""

    def missing(self, rows: Sequence[int], /) -> Sequence[int] | np.ndarray:
        """Returns the pictures without maps."""

    def write(self, index: int, /, **maps: np.ndarray) -> None:
        """Writes the maps [h, w, c] of one picture."""


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
    """Opens the store of a dataset's images, or of the dataset's queries, in ``folder``.

    The other arguments are those of `fingerprint`, whose result is the fingerprint of the store.

    Raises:
        StaleStoreError, StoreBusyError: see `PooledStore`.
    """
    store_fingerprint = fingerprint(model, images, extraction, weights=weights, files=files, queries=queries)
    length = len(images.queries) if queries else len(images)
    classes = model.network.spec.num_labels
    return PooledStore(
        folder,
        store_fingerprint,
        length=length,
        classes=classes,
        dim=model.feature_dim,
        channel_weighting=model.config.pooling == "sum",
    )


def fill_store(
    store: RowSink, model: Model, images: ImageSet, extraction: ExtractionConfig, *, queries: bool, progress: Progress
) -> list[str]:
    """Fills a store with `encoder.pool` over all classes; returns why pictures were left out, one reason for each."""
    all_classes = jnp.arange(model.network.spec.num_labels)
    logits, refused = _crop_logits(store, model, images, extraction) if queries else ({}, {})
    boxes = queries and not extraction.crop_queries

    def compile_bucket(bucket: Shape) -> None:
        shape = extraction.pass_size(), *bucket
        encoder.compile_ahead(encoder.pool, model, shape, class_ids=all_classes, boxes=boxes)

    def pool(batch: Batch, boxes: np.ndarray | None) -> dict[str, Array | np.ndarray]:
        features = encoder.pool(model, batch.images, sizes=batch.sizes, boxes=boxes, class_ids=all_classes)
        rows: dict[str, Array | np.ndarray] = {**features._asdict()}
        del rows["class_ids"]
        if logits:
            rows["logits"] = np.stack([logits[index] for index in _padded_indices(batch)])
        return rows

    return fill_rows(
        store,
        images,
        extraction,
        pool,
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
    """Fills the missing rows of a store with the results of ``compute``.

    Args:
        store: store of the dataset's images, or of the dataset's queries.
        images: dataset.
        extraction: config of the extraction.
        compute: function of a batch and of the queries' boxes in pixels of the batch, or None for whole pictures. It
            returns a row of every field for each picture of the batch; the arrays may still be in computation.
        queries: whether the store's rows are the queries.
        refused: reasons for leaving rows out, by row.
        compile_bucket: see `pass_pictures`.
        progress: function that is called with the number of newly finished rows.

    Returns:
        Reasons why pictures were left out, one for each.
    """
    refused = refused or {}
    missing = [row for row in store.missing().tolist() if row not in refused]
    progress(store.length - len(missing))
    with_boxes = queries and not extraction.crop_queries
    pictures, crops = _pictures(images, extraction, queries=queries)
    unreadable = pass_pictures(
        pictures,
        missing,
        extraction,
        lambda batch: compute(batch, _scale_boxes(images, batch, extraction) if with_boxes else None),
        lambda index, rows: store.write(index, **rows),
        crops=crops,
        compile_bucket=compile_bucket,
        progress=progress,
    )
    return [*refused.values(), *(picture.reason for picture in unreadable)]


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
    """Writes the missing maps of some images to a store.

    Args:
        store: store of the maps of the dataset's images, or of the dataset's queries, by index.
        images: dataset.
        extraction: config of the extraction.
        rows: indices of images or queries.
        compute: function that returns maps [b, h, w, c] of a batch by name, each with the valid sizes [b, 2].
        queries: whether the store's rows are the queries.
        compile_bucket: see `pass_pictures`.
        progress: function that is called with the number of newly finished images.

    Returns:
        Reasons why pictures were left out, one for each.
    """
    missing = np.asarray(store.missing(rows.tolist())).tolist()
    progress(len(rows) - len(missing))
    pictures, crops = _pictures(images, extraction, queries=queries)
    unreadable = pass_pictures(
        pictures,
        missing,
        extraction,
        compute,
        lambda index, maps: store.write(index, **crop_maps(maps)),
        crops=crops,
        compile_bucket=compile_bucket,
        progress=progress,
    )
    return [picture.reason for picture in unreadable]


def model_maps(model: Model, batch: Batch) -> dict[str, tuple[Array, Array]]:
    """Computes the maps that `search.reranking` reads, for `fill_maps`."""
    maps = encoder.feature_maps(model, batch.images, sizes=batch.sizes)
    return {"features": (maps.features, maps.feature_size), "cam_features": (maps.cam_features, maps.cam_size)}


def compile_model_maps(model: Model, extraction: ExtractionConfig, bucket: Shape) -> None:
    """Compiles `model_maps` for the pictures of a bucket."""
    encoder.compile_ahead(encoder.feature_maps, model, (extraction.pass_size(), *bucket))


def crop_maps(padded: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> dict[str, np.ndarray]:
    """Crops each padded map of one picture to the valid size [2] that comes with the map."""
    return {name: maps[: size[0], : size[1]] for name, (maps, size) in padded.items()}


@dataclasses.dataclass(frozen=True)
class Filler:
    """A `Filler` fills stores by a model in this process; `ray_filling.RayFiller` does the same on a cluster."""

    model: Model

    def fill_store(
        self, store: PooledStore, images: ImageSet, extraction: ExtractionConfig, *, queries: bool, progress: Progress
    ) -> list[str]:
        """Fills a store by the model, see `fill_store`."""
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
        """Writes missing maps by `model_maps`, see `fill_maps`."""
        compute = functools.partial(model_maps, self.model)
        compile_bucket = functools.partial(compile_model_maps, self.model, extraction)
        return fill_maps(store, images, extraction, rows, compute, compile_bucket=compile_bucket, progress=progress)


def _pictures(
    images: ImageSet, extraction: ExtractionConfig, *, queries: bool
) -> tuple[Sequence[Picture], Sequence[Box] | None]:
    """Returns the pictures of the dataset, or of its queries, and the crop of each; None: whole pictures are read."""
    if not queries:
        return images.paths, None
    return images.query_pictures(), [query.box for query in images.queries] if extraction.crop_queries else None


def _crop_logits(
    store: RowSink, model: Model, images: ImageSet, extraction: ExtractionConfig
) -> tuple[dict[int, np.ndarray], dict[int, str]]:
    """Computes the logits of the missing queries' crops; returns them, and the reasons where there are none."""
    logits: dict[int, np.ndarray] = {}
    if extraction.crop_classes is None:
        return logits, {}
    crop_extraction = dataclasses.replace(extraction, resize=extraction.crop_classes, crop_queries=True)
    pictures, crops = _pictures(images, crop_extraction, queries=True)
    unreadable = pass_pictures(
        pictures,
        store.missing().tolist(),
        crop_extraction,
        lambda batch: encoder.pool(model, batch.images, sizes=batch.sizes, num_classes=1).logits,
        logits.__setitem__,
        crops=crops,
    )
    return logits, {picture.index: picture.reason for picture in unreadable}


def _padded_indices(batch: Batch) -> list[int]:
    """Returns an index for every row of the batch; rows that fill the batch up repeat the last picture."""
    return list(batch.indices) + [batch.indices[-1]] * (len(batch.sizes) - len(batch.indices))


def _scale_boxes(images: ImageSet, batch: Batch, extraction: ExtractionConfig) -> np.ndarray:
    """Returns the boxes of the batch's queries, in resized pixels if ``extraction.scale_boxes``."""
    boxes = np.array([images.queries[index].box for index in _padded_indices(batch)], np.float32)
    if not extraction.scale_boxes:
        return boxes
    scale = (batch.sizes / batch.original_sizes)[:, [1, 0, 1, 0]]
    return (boxes * scale).astype(np.float32)
