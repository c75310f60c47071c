"""Class-weighted convolutional features for visual instance search, in JAX.

    model = cwcf_jax.load("googlenet", weights="googlenet_bvlc.npz")
    descriptors = cwcf_jax.encode(model, images, num_classes=64)

See `cwcf_jax.encode` for shapes and ranges.
"""

import importlib
from typing import TYPE_CHECKING, Any

from cwcf_jax.version import __version__

if TYPE_CHECKING:
    from cwcf_jax.descriptors import Whitening, fit_pca_whitening, fit_shrinkage_whitening
    from cwcf_jax.encoder import ClassVectors, EncoderConfig, Model, class_vectors, encode, load
    from cwcf_jax.networks import CheckpointError

_PARTS = {
    "descriptors": ("Whitening", "fit_pca_whitening", "fit_shrinkage_whitening"),
    "encoder": ("ClassVectors", "EncoderConfig", "Model", "class_vectors", "encode", "load"),
    "networks": ("CheckpointError",),
}

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


def __getattr__(name: str) -> Any:
    """Imports what is asked for when it is: the command line answers before JAX is loaded."""
    for part, names in _PARTS.items():
        if name in (part, *names):
            module = importlib.import_module(f"cwcf_jax.{part}")
            return module if name == part else getattr(module, name)
    raise AttributeError(f"module 'cwcf_jax' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
