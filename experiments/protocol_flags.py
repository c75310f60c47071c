"""This module defines the flags of the evaluation protocol: a preset, and each of its fields."""

from absl import flags
from absl.flags import FlagValues

from cwcf_jax.evaluation import protocol
from cwcf_jax.evaluation.protocol import ProtocolConfig

flags.disclaim_key_flags()

_FIELDS = {
    "resize": "Resize of pictures: none, min720, max1024 or squash1024x720.",
    "scales": "Scales of every picture, such as 1,0.7; the class vectors of all scales are summed.",
    "pixel_mean": "Mean that is subtracted from the pixels.",
    "cam_normalization": "Normalisation of the class activation maps.",
    "negative_maps": "How a class is treated whose map is nowhere positive.",
    "pooling": "Pooling of class vectors: Eq. 4, or a power mean (p = 3) without channel weights.",
    "bad_vectors": "How a class vector without evidence is treated: dropped, or replaced by the one before it.",
    "query_classes": "Pixels that a query's classes are computed from.",
    "query_features": "Part of its picture that a query is described from.",
    "query_boxes": "Whether query boxes are scaled with the resize, or stay in pixels of the original picture.",
    "query_row": "Whether the query's own picture is ranked like any other, or is always first.",
    "expansion_rows": "Descriptors that query expansion sums.",
    "thresholds": "Thresholds of regions, in percent of the maximum of the heat map.",
    "region": "Kind of the regions.",
    "min_region": "Smallest side of a region in cells.",
    "region_rows": "Whether the best region of an image replaces it for one query only, or for all later queries.",
    "whitening": "Kind of the whitening.",
    "whitening_dim": "Largest number of dimensions after whitening; 0: all.",
    "shrinkage": "Shrinkage of the whitening, 0 to 1.",
}


def define_flags(flag_values: FlagValues) -> None:
    """Defines --protocol and a flag for each field."""
    text = "Preset of the fields below. Default: paper, but development with 160 dimensions for the synthetic dataset."
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
    """Returns the preset of --protocol, or else ``default``, as changed by other flags; ValueError names the flag."""
    changes = {name: flag_values[name].value for name in _FIELDS if flag_values[name].value is not None}
    preset = protocol.get(flag_values.protocol) if flag_values.protocol else default
    changed = preset.replace(**changes)
    if "shrinkage" in changes and changed.whitening != "shrinkage":
        raise ValueError("--shrinkage has no effect without --whitening=shrinkage")
    return changed
