"""This module defines protocols: all choices that change a published number and are not part of the method itself."""

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
"""The allowed values of the fields of a `ProtocolConfig` that have a fixed list of values."""

CLASS_CROP = Resize("multiple", 16)
"""The resize that the authors' code applies to a query's crop before the crop is classified."""


@dataclasses.dataclass(frozen=True)
class ProtocolConfig:
    """A `ProtocolConfig` holds one choice a field; each field can be changed without the others.

    Attributes:
        name: name of the preset that the config started from.
        resize: resize of every picture: ``none``, ``min720``, ``max1024``, ``squash1024x720``.
        scales: factors by which the resized pictures are scaled, separated by commas. The network runs at each scale,
            and the whitened class vectors of all scales are summed. The first scale gives the classes and the maps of
            regions.
        pixel_mean: ``network`` subtracts each channel's mean from this channel; ``reversed`` subtracts the list of
            means in reversed order, as the authors' code does by accident.
        cam_normalization: ``min_max``, ``max_clip`` (the authors' code) or ``raw``.
        negative_maps: treatment of a class whose CAM is nowhere positive: ``drop`` the class, or ``scale`` the CAM
            like any other.
        pooling: pooling of class vectors: ``sum`` (Eq. 4, with channel weights) or ``gem``, a power mean with p = 3
            without channel weights (`encoder.EncoderConfig`).
        bad_vectors: treatment of a class vector without evidence: ``drop`` the vector, or ``repeat`` the vector before
            it.
        query_classes: pixels that give the query's classes: the ``region`` of the whole image, or the ``crop``, which
            is the box's pixels passed alone at native scale.
        query_features: cells that give the query's features: the cells that the box touches, ``region``; whole strides
            of the box as in the authors' code, ``floor``; or the box's pixels as a separate image, ``crop``.
        query_boxes: ``scaled`` with the resize, or left in ``original`` pixels as in the authors' code.
        query_row: the query's own picture is ``ranked`` like any other, or always ``first``, as in the released code,
            which overwrites the picture's row with the query.
        expansion_rows: rows that query expansion sums: the rows as they were ``searched``, or the rows of the
            ``images``, even where the query replaced a row in the search.
        thresholds: thresholds of the heat map for regions (section 4.5), in percent of the maximum; ascending,
            separated by commas.
        region: rule for a region: ``component``, the box of the largest connected component, or ``contour``, the box
            of the largest outline.
        min_region: smallest height and width of a region in cells; images without such a region are ranked last.
        region_rows: best regions replace the rows of their images in the expansion of this ``query``, or are ``kept``
            for the searches of all later queries too, as the authors' code does by accident (OfA).
        whitening: ``pca`` or ``shrinkage``.
        whitening_dim: largest number of dimensions kept; 0: all dimensions with variance.
        shrinkage: weight of the mean variance in a shrinkage whitening, 0 to 1.
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
            raise ValueError(
                "negative values of raw maps cannot weight a power mean: choose cam_normalization min_max or max_clip"
                " for pooling=gem"
            )

    def replace(self, **changes: Any) -> "ProtocolConfig":
        """Returns a copy with some fields changed; raises ValueError for an unknown field."""
        known = {field.name for field in dataclasses.fields(self)}
        unknown = changes.keys() - known
        if unknown:
            raise ValueError(f"no such protocol field: {', '.join(sorted(unknown))}; known: {', '.join(sorted(known))}")
        return dataclasses.replace(self, **changes)

    def __str__(self) -> str:
        """Returns the preset's name and the fields that differ from the preset."""
        preset = dataclasses.asdict(PROTOCOLS.get(self.name, self))
        changed = [f"{field}={value}" for field, value in dataclasses.asdict(self).items() if value != preset[field]]
        return " + ".join([self.name, *changed])

    def model_options(self, mean: tuple[float, float, float]) -> dict[str, Any]:
        """Returns the options of `encoder.load` under this protocol, for a network with the pixel mean ``mean``."""
        return {
            "cam_normalization": self.cam_normalization,
            "drop_negative": self.negative_maps == "drop",
            "pooling": self.pooling,
            "pixel_mean": mean[::-1] if self.pixel_mean == "reversed" else None,
            "repeat_dropped": self.bad_vectors == "repeat",
            "region_cells": "floor" if self.query_features == "floor" else "touched",
        }

    def image_scales(self) -> tuple[float, ...]:
        """Returns the scales as numbers; raises ValueError if `scales` is malformed."""
        try:
            scales = tuple(float(text) for text in self.scales.split(","))
        except ValueError:
            scales = ()
        if not scales or not all(0.01 <= scale <= 100 for scale in scales) or len(set(scales)) < len(scales):
            raise ValueError(f"scales are different numbers from 0.01 to 100, not {self.scales!r}")
        return scales

    def extractions(self, batch_size: int) -> tuple[ExtractionConfig, ...]:
        """Returns the extraction config of each scale: how pictures become rows of a store."""
        first = self.extraction(batch_size)
        return tuple(
            dataclasses.replace(first, resize=Resize.parse(self.resize).scaled(scale)) for scale in self.image_scales()
        )

    def extraction(self, batch_size: int) -> ExtractionConfig:
        """Returns the extraction config of the first scale: how pictures become rows of a store."""
        return ExtractionConfig(
            Resize.parse(self.resize).scaled(self.image_scales()[0]),
            scale_boxes=self.query_boxes == "scaled",
            batch_size=batch_size,
            crop_queries=self.query_features == "crop",
            crop_classes=CLASS_CROP if self.query_classes == "crop" else None,
        )

    def fractions(self) -> tuple[float, ...]:
        """Returns the thresholds as shares of a heat map's maximum; raises ValueError if `thresholds` is malformed."""
        try:
            shares = tuple(float(text) / 100 for text in self.thresholds.split(","))
        except ValueError:
            shares = ()
        if not shares or not all(0 <= share < 1 for share in shares) or sorted(set(shares)) != list(shares):
            raise ValueError(f"thresholds are percentages from 0 to below 100, ascending, not {self.thresholds!r}")
        return shares

    def search_config(self, config: SearchConfig) -> SearchConfig:
        """Returns a copy of ``config`` that treats the row of the query's own picture as the protocol says."""
        pinned = self.query_row == "first"
        expand_images = pinned and config.expansion > 0 and self.expansion_rows == "images"
        return dataclasses.replace(config, pin_query_row=pinned, expand_images=expand_images)

    def region_config(self) -> RegionConfig:
        """Returns the config of the regions in re-ranking."""
        return RegionConfig(fractions=self.fractions(), rule=self.region, minimum=self.min_region)

    def whitening_config(self) -> WhiteningConfig:
        """Returns the config of the whitenings."""
        return WhiteningConfig(self.whitening, self.whitening_dim or None, self.shrinkage)


PAPER = ProtocolConfig("paper")
"""The protocol of the paper's text: section 4.1, and section 3.2 for the maps."""

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
"""The protocol of the authors' released code."""

DEVELOPMENT = ProtocolConfig("development", resize="none", whitening_dim=256)
"""The protocol of the development sets: small pictures, and too few whitening images for all dimensions."""

BEST = ProtocolConfig("best", resize="none", pooling="gem", whitening="shrinkage")
"""The protocol with the best mAP for frozen features: power means, and a whitening of all dimensions, shrinkage .2.

Pictures keep their stored size. N_C and N_pca are not part of a protocol; this protocol is meant for N_C 8, N_pca 32.
"""

PROTOCOLS = {protocol.name: protocol for protocol in (PAPER, AUTHORS_CODE, DEVELOPMENT, BEST)}


def get(name: str) -> ProtocolConfig:
    """Returns the preset called ``name``; raises ValueError, which lists the known presets, if there is none."""
    if name not in PROTOCOLS:
        raise ValueError(f"unknown protocol {name!r}; known: {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]
