"""This package computes class-weighted convolutional features for visual instance search, in JAX.

    model = cwcf_jax.load("googlenet", weights="googlenet_bvlc.npz")
    descriptors = cwcf_jax.encode(model, images, num_classes=64)

See `cwcf_jax.encode` for shapes and ranges. The names in ``cwcf_jax.__all__`` are the public interface. All other
names may change with any version, including the subpackages ``cwcf_jax.images``, ``cwcf_jax.search`` and so on.
"""

import importlib
import importlib.util
import warnings
from typing import TYPE_CHECKING, Any

from cwcf_jax.version import __version__

if TYPE_CHECKING:
    from cwcf_jax.arrays import l2_normalize
    from cwcf_jax.descriptors import Whitening, fit_pca_whitening, fit_shrinkage_whitening
    from cwcf_jax.encoder import (
        ClassVectors,
        EncoderConfig,
        Model,
        class_vectors,
        compile_ahead,
        encode,
        load,
        replicate,
        shipped_whitening,
    )
    from cwcf_jax.images import read_image
    from cwcf_jax.index import Index, QueryConfig, Searcher, make_index_config
    from cwcf_jax.networks import CheckpointError

_PUBLIC_NAMES = {
    "arrays": ("l2_normalize",),
    "descriptors": ("Whitening", "fit_pca_whitening", "fit_shrinkage_whitening"),
    "encoder": (
        "ClassVectors",
        "EncoderConfig",
        "Model",
        "class_vectors",
        "compile_ahead",
        "encode",
        "load",
        "shipped_whitening",
        "replicate",
    ),
    "images": ("read_image",),
    "index": ("Index", "QueryConfig", "Searcher", "make_index_config"),
    "networks": ("CheckpointError",),
}
_MODULES = {name: module for module, names in _PUBLIC_NAMES.items() for name in names}

_DEPRECATED = {"Options": "QueryConfig", "settings_for": "make_index_config", "spread": "replicate"}
"""Former public names and their replacements. Version 0.3 removes the former names."""

_EXTRAS = ("datasets", "index", "training", "web", "weights")
"""Subpackages that need the extra of the same name."""

__all__ = [
    "CheckpointError",
    "ClassVectors",
    "EncoderConfig",
    "Index",
    "Model",
    "QueryConfig",
    "Searcher",
    "Whitening",
    "__version__",
    "class_vectors",
    "compile_ahead",
    "encode",
    "fit_pca_whitening",
    "fit_shrinkage_whitening",
    "l2_normalize",
    "load",
    "make_index_config",
    "read_image",
    "replicate",
    "shipped_whitening",
]


def __getattr__(name: str) -> Any:
    """Imports a public name or a submodule on its first use, so that the command line answers before JAX is loaded."""
    if name in _DEPRECATED:
        warnings.warn(
            f"cwcf_jax.{name} is deprecated; use cwcf_jax.{_DEPRECATED[name]}", DeprecationWarning, stacklevel=2
        )
        name = _DEPRECATED[name]
    module_name = _MODULES.get(name, name)
    if module_name.startswith("_") or importlib.util.find_spec(f"cwcf_jax.{module_name}") is None:
        raise AttributeError(f"module 'cwcf_jax' has no attribute {name!r}")
    try:
        module = importlib.import_module(f"cwcf_jax.{module_name}")
    except ModuleNotFoundError as error:
        if module_name not in _EXTRAS or (error.name or "").startswith("cwcf_jax"):
            raise
        hint = f"cwcf_jax.{name} needs {error.name}: pip install 'cwcf-jax[{module_name}]'"
        raise ModuleNotFoundError(hint, name=error.name) from error
    return module if name == module_name else getattr(module, name)


def __dir__() -> list[str]:
    return __all__
