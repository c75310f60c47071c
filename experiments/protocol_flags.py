"""The evaluation protocol as flags: a preset, and each of its fields."""

from typing import Any

from absl import flags

from cwcf_jax.evaluation import protocol
from cwcf_jax.evaluation.protocol import Protocol

_PROTOCOL = flags.DEFINE_enum(
    "protocol",
    None,
    sorted(protocol.PROTOCOLS),
    "Preset of the fields below. Default: paper; development for the synthetic dataset.",
)


def _field(name: str, text: str) -> flags.FlagHolder[Any]:
    """A flag for a field of the protocol."""
    if name in protocol.CHOICES:
        return flags.DEFINE_enum(name, None, protocol.CHOICES[name], text)
    return flags.DEFINE_string(name, None, text)


_FIELDS: dict[str, flags.FlagHolder[Any]] = {
    "resize": _field("resize", "none, min720, max1024 or squash1024x720."),
    "pixel_mean": _field("pixel_mean", "Mean subtracted from the pixels."),
    "cam_normalization": _field("cam_normalization", "Normalisation of the class activation maps."),
    "negative_maps": _field("negative_maps", "What becomes of a class whose map is nowhere positive."),
    "bad_vectors": _field("bad_vectors", "What becomes of a class vector without evidence."),
    "query_classes": _field("query_classes", "Where a query's classes come from."),
    "query_features": _field("query_features", "What of its picture a query is."),
    "query_boxes": _field("query_boxes", "Pixels that query boxes are in."),
    "query_row": _field("query_row", "Place of the query's own picture in a ranking."),
    "expansion_rows": _field("expansion_rows", "Rows that query expansion sums."),
    "thresholds": _field("thresholds", "Percentages of a heat map's maximum that regions are found at."),
    "region": _field("region", "Kind of region."),
    "min_region": flags.DEFINE_integer("min_region", None, "Cells that a region's sides must have.", lower_bound=0),
    "region_rows": _field("region_rows", "How long regions that won stand in for their images."),
    "whitening": _field("whitening", "Kind of whitening."),
    "whitening_dim": flags.DEFINE_integer("whitening_dim", None, "Dimensions kept, at most; 0: all.", lower_bound=0),
    "shrinkage": flags.DEFINE_float("shrinkage", None, "Ratio of the shrinkage whitening, 0 to 1."),
}


def chosen(*, default: str) -> Protocol:
    """The preset of --protocol, or else ``default``, and what was changed of it; ValueError names the flag."""
    given = {name: flag.value for name, flag in _FIELDS.items() if flag.value is not None}
    result = protocol.get(_PROTOCOL.value or default).replace(**given)
    if "shrinkage" in given and result.whitening != "shrinkage":
        raise ValueError("--shrinkage has no effect without --whitening=shrinkage")
    return result
