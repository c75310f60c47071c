"""The methods that Table 2 of the paper compares with, over whole collections."""

from cwcf_jax.baselines.bags import BagOfWords, Bags, fit_vocabulary
from cwcf_jax.baselines.patches import PATCHES, describe_patches, patch_rows, rank_patches
from cwcf_jax.baselines.pooled import POOLED, Pooled, describe, pooled_fields, pooled_rows, vectors
from cwcf_jax.baselines.windows import RmacWindows, quantization_unit

__all__ = [
    "PATCHES",
    "POOLED",
    "BagOfWords",
    "Bags",
    "Pooled",
    "RmacWindows",
    "describe",
    "describe_patches",
    "fit_vocabulary",
    "patch_rows",
    "pooled_fields",
    "pooled_rows",
    "quantization_unit",
    "rank_patches",
    "vectors",
]
