"""Eq. 1 to 4 of the paper, whitening and aggregation: pure functions of one image, to be `vmap`-ed by callers."""

from cwcf_jax.descriptors.aggregation import aggregate, aggregate_prefixes, embed
from cwcf_jax.descriptors.cam import (
    NORMALIZATIONS,
    class_activation_maps,
    has_evidence,
    max_clip,
    min_max,
    raw,
    resize_maps,
)
from cwcf_jax.descriptors.pooling import (
    channel_weights,
    class_sums,
    class_vectors,
    mean_pool,
    region_mask,
    sum_pool,
)
from cwcf_jax.descriptors.whitening import (
    Whitening,
    WhiteningConfig,
    fit_pca_whitening,
    fit_shrinkage_whitening,
    whiten,
)

__all__ = [
    "NORMALIZATIONS",
    "Whitening",
    "WhiteningConfig",
    "aggregate",
    "aggregate_prefixes",
    "channel_weights",
    "class_activation_maps",
    "class_sums",
    "class_vectors",
    "embed",
    "fit_pca_whitening",
    "fit_shrinkage_whitening",
    "has_evidence",
    "max_clip",
    "mean_pool",
    "min_max",
    "raw",
    "region_mask",
    "resize_maps",
    "sum_pool",
    "whiten",
]
