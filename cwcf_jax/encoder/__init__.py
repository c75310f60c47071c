"""The road of one image up to its descriptor."""

from cwcf_jax.encoder.arguments import BUCKET_STEP
from cwcf_jax.encoder.model import EncoderConfig, Model, load
from cwcf_jax.encoder.passes import ClassVectors, Pooled, class_vectors, encode, pool

__all__ = [
    "BUCKET_STEP",
    "ClassVectors",
    "EncoderConfig",
    "Model",
    "Pooled",
    "class_vectors",
    "encode",
    "load",
    "pool",
]
