"""An evaluation protocol: every choice that changes a published number and is not the method itself."""

import dataclasses
from typing import Any

from cwcf_jax.descriptors import NORMALIZATIONS, WhiteningConfig
from cwcf_jax.descriptors.regions import RULES
from cwcf_jax.encoder import POOLINGS
from cwcf_jax.extraction import ExtractionConfig
from cwcf_jax.images import Resize
from cwcf_jax.search.pipeline import SearchConfig
from cwcf_jax.search.reranking import RegionConfig

CHOICES = {
    "pixel_mean": ("network", "reversed"),
    "cam_normalization": tuple(NORMALIZATIONS),
    "negative_maps": ("drop", "scale"),
    "pooling": tuple(POOLINGS),
    "bad_vectors": ("drop", "repeat"),
    "query_classes": ("region", "crop"),
    "query_features": ("region", "floor", "crop"),
    "query_boxes": ("scaled", "original"),
    "query_row": ("ranked", "first"),
    "expansion_rows": ("searched", "images"),
    "region": RULES,
    "region_rows": ("query", "kept"),
    "whitening": ("pca", "shrinkage"),
}
"""The values of those fields of a `ProtocolConfig` that have a few."""

CLASS_CROP = Resize("multiple", 16)
"""What the authors' code makes of a query's pixels to find its classes."""


@dataclasses.dataclass(frozen=True)
class ProtocolConfig:
    """Each field switches alone.

    Attributes:
        name: of the preset it started from.
        resize: ``none``, ``min720``, ``max1024``, ``squash1024x720``.
        scales: what every picture is multiplied by after that, with commas: the network sees it at each. The whitened
            class vectors of all scales are summed; classes and the maps of regions are those of the first scale.
        pixel_mean: ``network`` subtracts each channel's mean from that channel; ``reversed`` subtracts the list in
            reversed order, as the authors' code does by accident.
        cam_normalization: ``min_max``, ``max_clip`` (the authors' code) or ``raw``.
        negative_maps: what becomes of a class whose map is nowhere positive: ``drop`` or ``scale`` like any other.
        pooling: what a class vector is: ``sum`` (Eq. 4 with its channel weights) or ``gem``, a power mean with p = 3
            and without them (`encoder.EncoderConfig`).
        bad_vectors: what becomes of a class vector without evidence: ``drop``, or ``repeat`` the one before it.
        query_classes: those of the ``region``, or of the box's pixels passed alone at native scale, ``crop``.
        query_features: the cells that the box touches, ``region``; whole strides of it as in the authors' code,
            ``floor``; or the box's pixels as an image of their own, ``crop``.
        query_boxes: ``scaled`` with the resize, or left in ``original`` pixels as in the authors' code.
        query_row: the query's own picture is ``ranked`` like any other, or always ``first``, as where the released code
            overwrites its row with the query.
        expansion_rows: what expansion sums: rows as they were ``searched``, or those of the ``images`` even where the
            query stood in for one.
        thresholds: of the heat map, in percent of its maximum, for regions of section 4.5; ascending, with commas.
        region: ``component``, the box of the largest connected component, or ``contour``, of the largest outline.
        min_region: cells that both sides of a region must have; images without such a region come last.
        region_rows: regions that won stand in for their images in this ``query``'s expansion, or are ``kept`` for every
            later query's search too, as the authors' code does by accident (OfA).
        whitening: ``pca`` or ``shrinkage``.
        whitening_dim: dimensions kept, at most; 0: all that have variance.
        shrinkage: ratio of the shrinkage whitening.
    """

    name: str
    resize: str = "min720"
    scales: str = "1"
    pixel_mean: str = "network"
    cam_normalization: str = "min_max"
    negative_maps: str = "drop"
    pooling: str = "sum"
    bad_vectors: str = "drop"
    query_classes: str = "region"
    query_features: str = "region"
    query_boxes: str = "scaled"
    query_row: str = "ranked"
    expansion_rows: str = "searched"
    thresholds: str = "1,10,20,30,40"
    region: str = "component"
    min_region: int = 0
    region_rows: str = "query"
    whitening: str = "pca"
    whitening_dim: int = 0
    shrinkage: float = 0.2

    def __post_init__(self) -> None:
        Resize.parse(self.resize)
        if not 0.0 <= self.shrinkage <= 1.0:
            raise ValueError(f"the shrinkage ratio must lie between 0 and 1, not {self.shrinkage}")
        if self.min_region < 0:
            raise ValueError(f"min_region must be 0 cells or more, not {self.min_region}")
        self.fractions()
        if self.image_scales() != (1.0,) and self.query_boxes == "original":
            raise ValueError("boxes left in original pixels fit one scale; scales need query_boxes=scaled")
        if self.whitening_dim < 0:
            raise ValueError(f"whitening_dim must be 0 (all) or more, not {self.whitening_dim}")
        for field, known in CHOICES.items():
            if getattr(self, field) not in known:
                raise ValueError(f"unknown {field} {getattr(self, field)!r}; known: {', '.join(known)}")
        if self.pooling == "gem" and self.cam_normalization == "raw":
            raise ValueError("negative values of raw maps cannot weight a power mean: pooling=gem needs others")

    def replace(self, **changes: Any) -> "ProtocolConfig":
        """A copy with some fields changed; ValueError for a field there is not."""
        known = {field.name for field in dataclasses.fields(self)}
        unknown = changes.keys() - known
        if unknown:
            raise ValueError(f"no such protocol field: {', '.join(sorted(unknown))}; known: {', '.join(sorted(known))}")
        return dataclasses.replace(self, **changes)

    def __str__(self) -> str:
        """The preset's name and what was changed of it."""
        preset = dataclasses.asdict(PROTOCOLS.get(self.name, self))
        changed = [f"{field}={value}" for field, value in dataclasses.asdict(self).items() if value != preset[field]]
        return " + ".join([self.name, *changed])

    def model_options(self, mean: tuple[float, float, float]) -> dict[str, Any]:
        """The options of `encoder.load` that follow from it, for a network with this pixel mean."""
        return {
            "cam_normalization": self.cam_normalization,
            "drop_negative": self.negative_maps == "drop",
            "pooling": self.pooling,
            "pixel_mean": mean[::-1] if self.pixel_mean == "reversed" else None,
            "repeat_dropped": self.bad_vectors == "repeat",
            "region_cells": "floor" if self.query_features == "floor" else "touched",
        }

    def image_scales(self) -> tuple[float, ...]:
        """The scales as numbers, the one that classes and maps are of first."""
        try:
            scales = tuple(float(text) for text in self.scales.split(","))
        except ValueError:
            scales = ()
        if not scales or not all(0.01 <= scale <= 100 for scale in scales) or len(set(scales)) < len(scales):
            raise ValueError(f"scales are different numbers from 0.01 to 100, not {self.scales!r}")
        return scales

    def extractions(self, batch_size: int) -> tuple[ExtractionConfig, ...]:
        """How pictures become rows of a store, at each scale."""
        one = self.extraction(batch_size)
        return tuple(
            dataclasses.replace(one, resize=Resize.parse(self.resize).scaled(scale)) for scale in self.image_scales()
        )

    def extraction(self, batch_size: int) -> ExtractionConfig:
        """How pictures become rows of a store, at the first scale."""
        return ExtractionConfig(
            Resize.parse(self.resize).scaled(self.image_scales()[0]),
            scale_boxes=self.query_boxes == "scaled",
            batch_size=batch_size,
            crop_queries=self.query_features == "crop",
            crop_classes=CLASS_CROP if self.query_classes == "crop" else None,
        )

    def fractions(self) -> tuple[float, ...]:
        """The thresholds as shares of a heat map's maximum."""
        try:
            shares = tuple(float(text) / 100 for text in self.thresholds.split(","))
        except ValueError:
            shares = ()
        if not shares or not all(0 <= share < 1 for share in shares) or sorted(set(shares)) != list(shares):
            raise ValueError(f"thresholds are percentages from 0 to below 100, ascending, not {self.thresholds!r}")
        return shares

    def search_config(self, config: SearchConfig) -> SearchConfig:
        """Add to a search what the protocol says of the row of the query's own picture."""
        pinned = self.query_row == "first"
        expand_images = pinned and config.expansion > 0 and self.expansion_rows == "images"
        return dataclasses.replace(config, pin_query_row=pinned, expand_images=expand_images)

    def region_config(self) -> RegionConfig:
        """How regions are found in re-ranking."""
        return RegionConfig(fractions=self.fractions(), rule=self.region, minimum=self.min_region)

    def whitening_config(self) -> WhiteningConfig:
        """How whitenings are fitted."""
        return WhiteningConfig(self.whitening, self.whitening_dim or None, self.shrinkage)


PAPER = ProtocolConfig("paper")
"""The paper's text: section 4.1, and section 3.2 for what it says of maps."""

AUTHORS_CODE = ProtocolConfig(
    "authors_code",
    resize="squash1024x720",
    pixel_mean="reversed",
    cam_normalization="max_clip",
    negative_maps="scale",
    bad_vectors="repeat",
    query_classes="crop",
    query_features="floor",
    query_boxes="original",
    query_row="first",
    expansion_rows="images",
    thresholds="1,10,20,30",
    region="contour",
    min_region=5,
    region_rows="kept",
)
"""What the authors' released code does."""

DEVELOPMENT = ProtocolConfig("development", resize="none", whitening_dim=256)
"""For the development sets, whose pictures are small and whose whitening images are too few for all dimensions."""

BEST = ProtocolConfig("best", resize="none", pooling="gem", whitening="shrinkage")
"""What gives frozen features their best figures: power means, and a whitening of all dimensions with shrinkage .2.

Pictures keep their stored size. N_C and N_pca are no part of a protocol; it is meant for N_C 8 and N_pca 32.
"""

PROTOCOLS = {protocol.name: protocol for protocol in (PAPER, AUTHORS_CODE, DEVELOPMENT, BEST)}


def get(name: str) -> ProtocolConfig:
    """The preset called ``name``; ValueError lists the known ones."""
    if name not in PROTOCOLS:
        raise ValueError(f"unknown protocol {name!r}; known: {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]
