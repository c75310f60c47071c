"""This subpackage holds Eq. 1 to 4 of the paper, whitening and aggregation, as pure functions of one image."""

from cwcf_jax.descriptors.aggregation import aggregate, aggregate_prefixes, repeat_dropped, whiten_normalized
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
    cell_mask,
    channel_weights,
    class_sums,
    class_vectors,
    gem_pool,
    max_pool,
    mean_pool,
    region_mask,
    strided_region_mask,
    sum_pool,
    touched_cells,
)
from cwcf_jax.descriptors.power_means import class_power_means, power_mean_terms
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
    "cell_mask",
    "channel_weights",
    "class_activation_maps",
    "class_power_means",
    "class_sums",
    "class_vectors",
    "fit_pca_whitening",
    "fit_shrinkage_whitening",
    "gem_pool",
    "has_evidence",
    "max_clip",
    "max_pool",
    "mean_pool",
    "min_max",
    "power_mean_terms",
    "raw",
    "region_mask",
    "repeat_dropped",
    "resize_maps",
    "strided_region_mask",
    "sum_pool",
    "touched_cells",
    "whiten",
    "whiten_normalized",
]
