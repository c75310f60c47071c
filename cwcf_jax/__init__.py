"""Class-weighted convolutional features for visual instance search, in JAX.

    model = cwcf_jax.load("googlenet", weights="googlenet_bvlc.npz")
    descriptors = cwcf_jax.encode(model, images, num_classes=64)

See `cwcf_jax.encode` for shapes and ranges.
"""

from cwcf_jax.descriptors import Whitening, fit_pca_whitening, fit_shrinkage_whitening
from cwcf_jax.encoder import ClassVectors, EncoderConfig, Model, class_vectors, encode, load
from cwcf_jax.networks import CheckpointError
from cwcf_jax.version import __version__

__all__ = [
    "CheckpointError",
    "ClassVectors",
    "EncoderConfig",
    "Model",
    "Whitening",
    "__version__",
    "class_vectors",
    "encode",
    "fit_pca_whitening",
    "fit_shrinkage_whitening",
    "load",
]
