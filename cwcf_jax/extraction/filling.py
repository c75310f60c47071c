"""Images through the network into a store: once, resumably, leaving out what cannot be read."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol, runtime_checkable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from cwcf_jax import encoder
from cwcf_jax.arrays import Shape
from cwcf_jax.encoder import Model
from cwcf_jax.extraction.config import Extraction, fingerprint
from cwcf_jax.extraction.precompiler import Precompiler
from cwcf_jax.extraction.streaming import Progress, compute_batches, read_pictures
from cwcf_jax.images import Batch, ImageSet, Unreadable
from cwcf_jax.store import MapStore, PooledStore


@runtime_checkable
class Rows(Protocol):
    """What takes rows: a `RowStore`, or who carries them to one."""

    length: int

    def missing(self) -> np.ndarray:
        """Indices of those that it lacks."""

    def write(self, index: int, **rows: np.ndarray) -> None:
        """Takes one."""


@runtime_checkable
class MapRows(Protocol):
    """What takes maps: a `MapStore`, or who carries them to one."""

    def missing(self, rows: np.ndarray, /) -> np.ndarray:
        """Those that it lacks."""

    def write(self, index: int, **maps: np.ndarray) -> None:
        """Takes one."""


def open_store(
    folder: pathlib.Path,
    model: Model,
    images: ImageSet,
    extraction: Extraction,
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
    classes = model.network.spec.num_classes
    return PooledStore(folder, conditions, length=length, classes=classes, dim=model.feature_dim)


def fill_store(
    store: Rows, model: Model, images: ImageSet, extraction: Extraction, *, queries: bool, progress: Progress
) -> list[str]:
    """Encodes what the store lacks, and says which pictures were left out and why."""
    everything = jnp.arange(model.network.spec.num_classes)
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

    with Precompiler(compile_bucket) as precompiler:
        return fill_rows(
            store,
            images,
            extraction,
            pooled,
            queries=queries,
            refused=refused,
            precompiler=precompiler,
            progress=progress,
        )


def fill_rows(
    store: Rows,
    images: ImageSet,
    extraction: Extraction,
    compute: Callable[[Batch, np.ndarray | None], Mapping[str, Array | np.ndarray]],
    *,
    queries: bool,
    refused: Mapping[int, str] | None = None,
    precompiler: Precompiler | None = None,
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
        precompiler: what compiles ``compute``.
        progress: called with how many more are finished.
    """
    refused = refused or {}
    missing = [row for row in store.missing().tolist() if row not in refused]
    progress(store.length - len(missing))
    unreadable: list[Unreadable] = []
    cut = queries and not extraction.crop_queries

    def start(batch: Batch) -> Mapping[str, Array | np.ndarray]:
        return compute(batch, _scale_boxes(images, batch, extraction) if cut else None)

    batches = picture_batches(
        images, missing, extraction, queries=queries, coming=precompiler.request if precompiler else None
    )
    for batch, found in compute_batches(
        batches, precompiler.wrap(start) if precompiler else start, unreadable, progress
    ):
        rows = {name: np.asarray(value) for name, value in found.items()}
        for row, index in enumerate(batch.indices):
            store.write(index, **{name: value[row] for name, value in rows.items()})
    return [*refused.values(), *(one.reason for one in unreadable)]


def fill_maps(
    store: MapRows,
    images: ImageSet,
    extraction: Extraction,
    rows: np.ndarray,
    compute: Callable[[Batch], dict[str, tuple[Array, Array]]],
    *,
    queries: bool = False,
    progress: Progress,
) -> list[str]:
    """Keeps the maps of those of the given images whose maps are not there yet; says what was left out and why.

    Args:
        store: of the dataset's images, or of its queries.
        images: the dataset.
        extraction: how its pictures are read.
        rows: indices of images or queries.
        compute: maps [b, h, w, c] of a batch by name, and how much of each is valid [b, 2].
        queries: whether the store's rows are the queries.
        progress: called with how many more are finished.
    """
    missing = store.missing(rows).tolist()
    progress(len(rows) - len(missing))
    unreadable: list[Unreadable] = []
    batches = picture_batches(images, missing, extraction, queries=queries)
    for batch, made in compute_batches(batches, compute, unreadable, progress):
        found = {name: (np.asarray(maps), np.asarray(sizes)) for name, (maps, sizes) in made.items()}
        for row, index in enumerate(batch.indices):
            store.write(
                index, **{name: maps[row, : size[row, 0], : size[row, 1]] for name, (maps, size) in found.items()}
            )
    return [one.reason for one in unreadable]


def model_maps(model: Model, batch: Batch) -> dict[str, tuple[Array, Array]]:
    """For `fill_maps`: what `reranking` reads."""
    maps = encoder.feature_maps(model, batch.images, sizes=batch.sizes)
    return {"features": (maps.features, maps.feature_size), "cam_features": (maps.cam_features, maps.cam_size)}


@dataclasses.dataclass(frozen=True)
class Filler:
    """`fill_store` and `fill_maps` by a model in this process; `ray_filling.RayFiller` does the same on a cluster."""

    model: Model

    def fill_store(
        self, store: PooledStore, images: ImageSet, extraction: Extraction, *, queries: bool, progress: Progress
    ) -> list[str]:
        """See `fill_store`."""
        return fill_store(store, self.model, images, extraction, queries=queries, progress=progress)

    def fill_maps(
        self, store: MapStore, images: ImageSet, extraction: Extraction, rows: np.ndarray, *, progress: Progress
    ) -> list[str]:
        """See `fill_maps`, with `model_maps`."""
        compute = functools.partial(model_maps, self.model)
        return fill_maps(store, images, extraction, rows, compute, progress=progress)


def picture_batches(
    images: ImageSet,
    indices: Iterable[int],
    extraction: Extraction,
    *,
    queries: bool,
    coming: Callable[[Shape], object] | None = None,
) -> Iterable[Batch | Unreadable]:
    """Pictures of the dataset, or of its queries, as passes take them."""
    pictures = images.query_pictures() if queries else images.paths
    crops = [query.box for query in images.queries] if queries and extraction.crop_queries else None
    return read_pictures(pictures, indices, extraction, crops, coming)


def _crop_logits(
    store: Rows, model: Model, images: ImageSet, extraction: Extraction
) -> tuple[dict[int, np.ndarray], dict[int, str]]:
    """The logits of the missing queries' boxes, each an image of its own, and why some have none."""
    found: dict[int, np.ndarray] = {}
    refused: dict[int, str] = {}
    if extraction.crop_classes is None:
        return found, refused
    alone = dataclasses.replace(extraction, resize=extraction.crop_classes, crop_queries=True)
    for batch in picture_batches(images, store.missing().tolist(), alone, queries=True):
        if isinstance(batch, Unreadable):
            refused[batch.index] = batch.reason
            continue
        logits = np.asarray(encoder.pool(model, batch.images, sizes=batch.sizes, num_classes=1).logits)
        found.update(zip(batch.indices, logits, strict=False))
    return found, refused


def _padded_indices(batch: Batch) -> list[int]:
    """An index for every row of the batch; rows that fill it up repeat the last picture."""
    return list(batch.indices) + [batch.indices[-1]] * (len(batch.sizes) - len(batch.indices))


def _scale_boxes(images: ImageSet, batch: Batch, extraction: Extraction) -> np.ndarray:
    """Boxes of the batch's queries in resized pixels."""
    chosen = np.array([images.queries[index].box for index in _padded_indices(batch)], np.float32)
    if not extraction.scale_boxes:
        return chosen
    scale = (batch.sizes / batch.original_sizes)[:, [1, 0, 1, 0]]
    return (chosen * scale).astype(np.float32)
