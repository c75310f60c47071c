"""An evaluation protocol: every choice that changes a published number and is not the method itself."""

import dataclasses
from typing import Any

from cwcf_jax.datasets import Resize
from cwcf_jax.descriptors import NORMALIZATIONS, WhiteningConfig
from cwcf_jax.indexing import Extraction

CHOICES = {
    "pixel_mean": ("network", "reversed"),
    "cam_normalization": tuple(NORMALIZATIONS),
    "negative_maps": ("drop", "scale"),
    "query_boxes": ("scaled", "original"),
    "whitening": ("pca", "shrinkage"),
}
"""The values of those fields of a `Protocol` that have a few."""


@dataclasses.dataclass(frozen=True)
class Protocol:
    """Each field switches alone.

    Attributes:
        name: of the preset it started from.
        resize: ``none``, ``min720``, ``max1024``, ``squash1024x720``.
        pixel_mean: ``network`` subtracts each channel's mean from that channel; ``reversed`` subtracts the list in
            reversed order, as the authors' code does by accident.
        cam_normalization: ``min_max``, ``max_clip`` (the authors' code) or ``raw``.
        negative_maps: what becomes of a class whose map is nowhere positive: ``drop`` or ``scale`` like any other.
        query_boxes: ``scaled`` with the resize, or left in ``original`` pixels as in the authors' code.
        whitening: ``pca`` or ``shrinkage``.
        whitening_dim: dimensions kept, at most; 0: all that have variance.
        shrinkage: ratio of the shrinkage whitening.
    """

    name: str
    resize: str = "min720"
    pixel_mean: str = "network"
    cam_normalization: str = "min_max"
    negative_maps: str = "drop"
    query_boxes: str = "scaled"
    whitening: str = "pca"
    whitening_dim: int = 0
    shrinkage: float = 0.2

    def __post_init__(self) -> None:
        Resize.parse(self.resize)
        if not 0.0 <= self.shrinkage <= 1.0:
            raise ValueError(f"the shrinkage ratio must lie between 0 and 1, not {self.shrinkage}")
        if self.whitening_dim < 0:
            raise ValueError(f"whitening_dim must be 0 (all) or more, not {self.whitening_dim}")
        for field, known in CHOICES.items():
            if getattr(self, field) not in known:
                raise ValueError(f"unknown {field} {getattr(self, field)!r}; known: {', '.join(known)}")

    def replace(self, **changes: Any) -> "Protocol":
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
            "pixel_mean": mean[::-1] if self.pixel_mean == "reversed" else None,
        }

    def extraction(self, batch_size: int) -> Extraction:
        """How pictures become rows of a store."""
        return Extraction(Resize.parse(self.resize), self.query_boxes == "scaled", batch_size)

    def whitening_config(self) -> WhiteningConfig:
        """How whitenings are fitted."""
        return WhiteningConfig(self.whitening, self.whitening_dim or None, self.shrinkage)


PAPER = Protocol("paper")
"""The paper's text: section 4.1, and section 3.2 for what it says of maps."""

DEVELOPMENT = Protocol("development", resize="none", whitening_dim=256)
"""For the development sets, whose pictures are small and whose whitening images are too few for all dimensions."""

PROTOCOLS = {protocol.name: protocol for protocol in (PAPER, DEVELOPMENT)}


def get(name: str) -> Protocol:
    """The preset called ``name``; ValueError lists the known ones."""
    if name not in PROTOCOLS:
        raise ValueError(f"unknown protocol {name!r}; known: {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]
