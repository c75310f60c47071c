"""Class-weighted convolutional features for visual instance search, in JAX.

    model = cwcf_jax.load("googlenet", weights="googlenet_bvlc.npz")
    descriptors = cwcf_jax.encode(model, images, num_classes=64)

See `cwcf_jax.encode` for shapes and ranges. The names in ``cwcf_jax.__all__`` are the public interface. All others,
the rooms ``cwcf_jax.images``, ``cwcf_jax.search`` and so on included, may change with any version.
"""

import importlib
import importlib.util
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
        shipped_whitening,
        spread,
    )
    from cwcf_jax.images import read_image
    from cwcf_jax.index import Index, Options, Searcher, settings_for
    from cwcf_jax.networks import CheckpointError

_HOMES = {
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
        "spread",
    ),
    "images": ("read_image",),
    "index": ("Index", "Options", "Searcher", "settings_for"),
    "networks": ("CheckpointError",),
}
_ROOMS = {name: room for room, names in _HOMES.items() for name in names}

_EXTRAS = ("datasets", "index", "training", "web", "weights")
"""Rooms that need the extra of the same name."""

__all__ = [
    "CheckpointError",
    "ClassVectors",
    "EncoderConfig",
    "Index",
    "Model",
    "Options",
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
    "read_image",
    "settings_for",
    "shipped_whitening",
    "spread",
]


def __getattr__(name: str) -> Any:
    """Imports a public name or a room on its first use: the command line answers before JAX is loaded."""
    room = _ROOMS.get(name, name)
    if room.startswith("_") or importlib.util.find_spec(f"cwcf_jax.{room}") is None:
        raise AttributeError(f"module 'cwcf_jax' has no attribute {name!r}")
    try:
        module = importlib.import_module(f"cwcf_jax.{room}")
    except ModuleNotFoundError as error:
        if room not in _EXTRAS or (error.name or "").startswith("cwcf_jax"):
            raise
        hint = f"cwcf_jax.{name} needs {error.name}: pip install 'cwcf-jax[{room}]'"
        raise ModuleNotFoundError(hint, name=error.name) from error
    return module if name == room else getattr(module, name)


def __dir__() -> list[str]:
    return __all__
