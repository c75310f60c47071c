"""The evaluation protocol as flags: a preset, and each of its fields."""

from absl import flags
from absl.flags import FlagValues

from cwcf_jax.evaluation import protocol
from cwcf_jax.evaluation.protocol import ProtocolConfig

flags.disclaim_key_flags()

_FIELDS = {
    "resize": "none, min720, max1024 or squash1024x720.",
    "scales": "Scales that the network sees every picture at, such as 1,0.7; their class vectors are summed.",
    "pixel_mean": "Mean subtracted from the pixels.",
    "cam_normalization": "Normalisation of the class activation maps.",
    "negative_maps": "What becomes of a class whose map is nowhere positive.",
    "pooling": "What a class vector is: Eq. 4, or a power mean (p = 3) without channel weights.",
    "bad_vectors": "What becomes of a class vector without evidence.",
    "query_classes": "Where a query's classes come from.",
    "query_features": "What of its picture a query is.",
    "query_boxes": "Pixels that query boxes are in.",
    "query_row": "Place of the query's own picture in a ranking.",
    "expansion_rows": "Rows that query expansion sums.",
    "thresholds": "Percentages of a heat map's maximum that regions are found at.",
    "region": "Kind of region.",
    "min_region": "Cells that a region's sides must have.",
    "region_rows": "How long regions that won stand in for their images.",
    "whitening": "Kind of whitening.",
    "whitening_dim": "Dimensions kept, at most; 0: all.",
    "shrinkage": "Ratio of the shrinkage whitening, 0 to 1.",
}


def define_flags(flag_values: FlagValues) -> None:
    """Defines --protocol and a flag for each field."""
    text = "Preset of the fields below. Default: paper; for the synthetic dataset development with 160 dimensions."
    flags.DEFINE_enum("protocol", None, sorted(protocol.PROTOCOLS), text, flag_values=flag_values)
    for name, text in _FIELDS.items():
        if name in protocol.CHOICES:
            flags.DEFINE_enum(name, None, protocol.CHOICES[name], text, flag_values=flag_values)
        elif name in ("min_region", "whitening_dim"):
            flags.DEFINE_integer(name, None, text, lower_bound=0, flag_values=flag_values)
        elif name == "shrinkage":
            flags.DEFINE_float(name, None, text, flag_values=flag_values)
        else:
            flags.DEFINE_string(name, None, text, flag_values=flag_values)


def chosen(flag_values: FlagValues, *, default: ProtocolConfig) -> ProtocolConfig:
    """The preset of --protocol, or else ``default``, and what was changed of it; ValueError names the flag."""
    given = {name: flag_values[name].value for name in _FIELDS if flag_values[name].value is not None}
    preset = protocol.get(flag_values.protocol) if flag_values.protocol else default
    result = preset.replace(**given)
    if "shrinkage" in given and result.whitening != "shrinkage":
        raise ValueError("--shrinkage has no effect without --whitening=shrinkage")
    return result
