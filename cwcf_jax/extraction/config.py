"""How pictures become rows of a store, and what such rows depend on."""

import dataclasses
import hashlib
from typing import Any

import jax

from cwcf_jax.encoder import Model
from cwcf_jax.images import ImageSet, Resize

EXTRACTION = 2
"""To be counted up by every change of code that changes what a pass leaves: older stores are then refused."""


@dataclasses.dataclass(frozen=True)
class ExtractionConfig:
    """How images become rows of a store.

    Attributes:
        resize: applied to every picture before the network.
        scale_boxes: whether query boxes follow the resize; the authors' code leaves them in original pixels.
        batch_size: pictures in one pass; 0 chooses 1 on a CPU, where batches gain nothing, and elsewhere 16 a device.
        crop_queries: whether a query is its box's pixels, an image of its own, and not a region of its picture.
        crop_classes: the resize under which a query's box becomes the image that its classes are found in; None: its
            classes are those of its region.
    """

    resize: Resize
    scale_boxes: bool = True
    batch_size: int = 0
    crop_queries: bool = False
    crop_classes: Resize | None = None

    def rows(self) -> int:
        """Pictures in one pass."""
        return self.batch_size or (1 if jax.default_backend() == "cpu" else 16 * jax.local_device_count())


def fingerprint(
    model: Model, images: ImageSet, extraction: ExtractionConfig, *, weights: str, files: str, queries: bool
) -> dict[str, Any]:
    """Everything that a pass over a dataset's images, or over its queries, depends on.

    Args:
        model: that makes the pass.
        images: the dataset.
        extraction: how its pictures are read.
        weights: `networks.fingerprint` of the model's weights.
        files: `fingerprint_files` of the dataset.
        queries: whether the rows are the queries' regions instead of the images.
    """
    spec = model.network.spec
    config = dataclasses.asdict(model.config) | {"channel_weighting": True, "repeat_dropped": False}  # applied to rows
    if not queries:  # regions are cut from queries alone
        config["region_cells"] = "touched"
    if model.config.pooling == "sum":  # stores from before there was a choice stay good
        del config["pooling"], config["gem_p"]
    return {
        "extraction": EXTRACTION,
        "weights": weights,
        "network": spec.name,
        "preprocessing": dataclasses.asdict(spec.preprocessing) | {"resize": str(extraction.resize)},
        "encoder": config,
        "files": files,
        "regions": _fingerprint_regions(images, extraction) if queries else None,
    }


def fingerprint_files(images: ImageSet) -> str:
    """sha256 over names and contents; a file that cannot be read counts as empty, `fill_store` reports it."""
    digest = hashlib.sha256()
    own = [(query.name, query.picture) for query in images.queries if query.picture is not None]
    for name, path in [*zip(images.names, images.paths, strict=True), *own]:
        digest.update(name.encode() + b"\0")
        try:
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        except OSError:
            digest.update(b"\0" * 32)
    return digest.hexdigest()


def _fingerprint_regions(images: ImageSet, extraction: ExtractionConfig) -> str:
    regions = [(query.name, query.image, query.box) for query in images.queries]
    how = (extraction.scale_boxes, extraction.crop_queries, str(extraction.crop_classes))
    return hashlib.sha256(repr((regions, how)).encode()).hexdigest()
