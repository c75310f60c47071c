"""Images through the network into a store: once, resumably, leaving out what cannot be read."""

import dataclasses
import hashlib
import pathlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cwcf_jax import datasets, encoder
from cwcf_jax.datasets import ImageSet, Resize, Unreadable
from cwcf_jax.encoder import Model
from cwcf_jax.store import PooledStore

EXTRACTION = 1
"""To be counted up by every change of code that changes what a pass leaves: older stores are then refused."""

Progress = Callable[[int], object]
"""Called with how many more images are finished."""


@dataclasses.dataclass(frozen=True)
class Extraction:
    """How images become rows of a store.

    Attributes:
        resize: applied to every picture before the network.
        scale_boxes: whether query boxes follow the resize; the authors' code leaves them in original pixels.
        batch_size: pictures in one pass; 0 chooses 1 on a CPU, where batches gain nothing, and 16 elsewhere.
    """

    resize: Resize
    scale_boxes: bool = True
    batch_size: int = 0

    def rows(self) -> int:
        """Pictures in one pass on the default device."""
        return self.batch_size or (1 if jax.default_backend() == "cpu" else 16)


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
    """The store for a dataset's images, or for its queries' regions, under the fingerprint of everything it depends on.

    Args:
        folder: made if missing.
        model: whose passes it will hold.
        images: the dataset.
        extraction: how its pictures become rows.
        weights: `networks.fingerprint` of the model's weights.
        files: `fingerprint_files` of the dataset.
        queries: whether the rows are the queries' regions instead of the images.

    Raises:
        StaleStoreError, StoreBusyError: see `PooledStore`.
    """
    spec = model.network.spec
    fingerprint: dict[str, Any] = {
        "extraction": EXTRACTION,
        "weights": weights,
        "network": spec.name,
        "preprocessing": dataclasses.asdict(spec.preprocessing) | {"resize": str(extraction.resize)},
        "encoder": dataclasses.asdict(dataclasses.replace(model.config, channel_weighting=True)),
        "files": files,
        "regions": _fingerprint_regions(images, extraction) if queries else None,
    }
    length = len(images.queries) if queries else len(images)
    return PooledStore(folder, fingerprint, length=length, classes=spec.num_classes, dim=model.feature_dim)


def fill_store(
    store: PooledStore, model: Model, images: ImageSet, extraction: Extraction, *, queries: bool, progress: Progress
) -> list[str]:
    """Encodes what the store lacks, and says which pictures were left out and why."""
    if queries:
        paths = [images.paths[query.image] for query in images.queries]
        boxes = np.array([query.box for query in images.queries], np.float32)
    else:
        paths, boxes = list(images.paths), None
    missing = store.missing().tolist()
    progress(len(paths) - len(missing))
    left_out = []
    for batch in _batches(paths, missing, extraction):
        if isinstance(batch, Unreadable):
            left_out.append(batch.reason)
            progress(1)
            continue
        scaled = None if boxes is None else _scale_boxes(boxes, batch, extraction)
        pooled = encoder.pool(
            model, batch.images, sizes=batch.sizes, boxes=scaled, class_ids=jnp.arange(model.network.spec.num_classes)
        )
        rows = {name: np.asarray(value) for name, value in pooled._asdict().items() if name != "class_ids"}
        for row, index in enumerate(batch.indices):
            store.write(index, **{name: value[row] for name, value in rows.items()})
        progress(len(batch.indices))
    return left_out


def fingerprint_files(images: ImageSet) -> str:
    """sha256 over names and contents; a file that cannot be read counts as empty, `fill_store` reports it."""
    digest = hashlib.sha256()
    for name, path in zip(images.names, images.paths, strict=True):
        digest.update(name.encode() + b"\0")
        try:
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        except OSError:
            digest.update(b"\0" * 32)
    return digest.hexdigest()


def _fingerprint_regions(images: ImageSet, extraction: Extraction) -> str:
    regions = [(query.name, query.image, query.box) for query in images.queries]
    return hashlib.sha256(repr((regions, extraction.scale_boxes)).encode()).hexdigest()


def _batches(
    paths: Sequence[pathlib.Path], indices: Iterable[int], extraction: Extraction
) -> Iterable[datasets.Batch | Unreadable]:
    return datasets.read_batches(
        paths, indices, resize=extraction.resize, batch_size=extraction.rows(), step=encoder.BUCKET_STEP
    )


def _scale_boxes(boxes: np.ndarray, batch: datasets.Batch, extraction: Extraction) -> np.ndarray:
    """Boxes of the batch's rows in resized pixels."""
    rows = list(batch.indices) + [batch.indices[-1]] * (len(batch.sizes) - len(batch.indices))
    chosen = boxes[rows]
    if not extraction.scale_boxes:
        return chosen
    scale = (batch.sizes / batch.original_sizes)[:, [1, 0, 1, 0]]
    return (chosen * scale).astype(np.float32)
