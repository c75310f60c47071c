"""This subpackage computes descriptors from images: network, class activation maps, pooling and aggregation."""

from cwcf_jax.encoder.ahead import compile_ahead
from cwcf_jax.encoder.arguments import BUCKET_STEPS
from cwcf_jax.encoder.embedding import Embeddings, class_vectors_from_maps, embed_classes, embed_maps
from cwcf_jax.encoder.evidence import Evidence, explain
from cwcf_jax.encoder.extractor import Extractor, layer_maps, load_extractor
from cwcf_jax.encoder.model import DTYPES, POOLINGS, EncoderConfig, Model, load
from cwcf_jax.encoder.passes import (
    ClassVectors,
    Maps,
    PooledFeatures,
    class_maps,
    class_vectors,
    encode,
    feature_maps,
    pool,
    raw_features,
)
from cwcf_jax.encoder.placement import replicate
from cwcf_jax.encoder.regions import (
    GRID_LEVELS,
    NUM_GRID_REGIONS,
    describe_by_own_classes,
    describe_grid,
    describe_regions,
    grid,
    heat_maps,
    region_vectors,
)
from cwcf_jax.encoder.shipped import NoWhiteningError, shipped_whitening, vector_settings

__all__ = [
    "BUCKET_STEPS",
    "DTYPES",
    "GRID_LEVELS",
    "NUM_GRID_REGIONS",
    "POOLINGS",
    "ClassVectors",
    "Embeddings",
    "EncoderConfig",
    "Evidence",
    "Extractor",
    "Maps",
    "Model",
    "NoWhiteningError",
    "PooledFeatures",
    "class_maps",
    "class_vectors",
    "class_vectors_from_maps",
    "compile_ahead",
    "describe_by_own_classes",
    "describe_grid",
    "describe_regions",
    "embed_classes",
    "embed_maps",
    "encode",
    "explain",
    "feature_maps",
    "grid",
    "heat_maps",
    "layer_maps",
    "load",
    "load_extractor",
    "pool",
    "raw_features",
    "region_vectors",
    "replicate",
    "shipped_whitening",
    "vector_settings",
]
