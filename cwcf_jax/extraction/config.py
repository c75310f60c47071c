"""This module defines how pictures are read for a store, and the fingerprint of the stored rows."""

import dataclasses
import hashlib
from typing import Any

import jax

from cwcf_jax.encoder import Model
from cwcf_jax.images import ImageSet, Resize

EXTRACTION_VERSION = 2
"""The version of the extraction code: increase it whenever stored rows change, so that older stores are refused."""


@dataclasses.dataclass(frozen=True)
class ExtractionConfig:
    """An `ExtractionConfig` says how images become rows of a store.

    Attributes:
        resize: resize of every picture before the network.
        scale_boxes: whether query boxes are scaled with the resize; the authors' code leaves them in original pixels.
        batch_size: number of pictures in one pass; 0: 1 on a CPU, where batches gain nothing, otherwise 16 a device.
        crop_queries: whether a query is the crop of its box, as a separate image, instead of a region of its picture.
        crop_classes: resize of the crop that gives the query's classes; None: the query's region gives the classes.
    """

    resize: Resize
    scale_boxes: bool = True
    batch_size: int = 0
    crop_queries: bool = False
    crop_classes: Resize | None = None

    def pass_size(self) -> int:
        """Returns the number of pictures in one pass."""
        return self.batch_size or (1 if jax.default_backend() == "cpu" else 16 * jax.local_device_count())


def fingerprint(
    model: Model, images: ImageSet, extraction: ExtractionConfig, *, weights: str, files: str, queries: bool
) -> dict[str, Any]:
    """Returns the fingerprint of the rows of a dataset's images, or of the dataset's queries.

    Args:
        model: model that computes the rows.
        images: dataset.
        extraction: config of the extraction.
        weights: `networks.fingerprint` of the model's weights.
        files: `fingerprint_files` of the dataset.
        queries: whether the rows are the queries' regions instead of the images.
    """
    spec = model.network.spec
    # Channel weighting and repeated vectors are applied to stored rows, so that rows do not depend on them.
    config = dataclasses.asdict(model.config) | {"channel_weighting": True, "repeat_dropped": False}
    if not queries:  # only queries have regions
        config["region_cells"] = "touched"
    if model.config.pooling == "sum":  # keeps stores valid that were written before there were power means
        del config["pooling"], config["gem_p"]
    return {
        "extraction": EXTRACTION_VERSION,
        "weights": weights,
        "network": spec.name,
        "preprocessing": dataclasses.asdict(spec.preprocessing) | {"resize": str(extraction.resize)},
        "encoder": config,
        "files": files,
        "regions": _fingerprint_regions(images, extraction) if queries else None,
    }


def fingerprint_files(images: ImageSet) -> str:
    """Computes the sha256 over names and contents of a dataset's files; an unreadable file counts as zeros."""
    digest = hashlib.sha256()
    query_pictures = [(query.name, query.picture) for query in images.queries if query.picture is not None]
    for name, path in [*zip(images.names, images.paths, strict=True), *query_pictures]:
        digest.update(name.encode() + b"\0")
        try:
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        except OSError:
            digest.update(b"\0" * 32)
    return digest.hexdigest()


def _fingerprint_regions(images: ImageSet, extraction: ExtractionConfig) -> str:
    regions = [(query.name, query.image, query.box) for query in images.queries]
    options = (extraction.scale_boxes, extraction.crop_queries, str(extraction.crop_classes))
    return hashlib.sha256(repr((regions, options)).encode()).hexdigest()
