"""Compiling a pass before it is needed."""

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from cwcf_jax.arrays import Shape
from cwcf_jax.descriptors import Whitening
from cwcf_jax.encoder import passes
from cwcf_jax.encoder.arguments import prepare_arguments
from cwcf_jax.encoder.model import Model


def compile_ahead(
    function: Callable[..., Any],
    model: Model,
    shape: Shape,
    *,
    num_classes: int = 64,
    class_ids: ArrayLike | None = None,
    whitening: Whitening | None = None,
    boxes: bool = False,
) -> None:
    """Compiles a pass for batches of uint8 images without running it; the call that follows traces nothing.

    JAX compiles without holding Python's lock, so a thread can call this while the device works.

    Args:
        function: `encode`, `class_vectors`, `pool`, `raw_features` or `feature_maps`.
        model: the model of the call that follows.
        shape: batch, height and width of the images, before they are padded to a bucket.
        num_classes: see `encode`.
        class_ids: see `encode`; only the shape counts.
        whitening: see `encode`; only the shapes count.
        boxes: whether the call that follows has boxes.

    Raises:
        ValueError: another function, or what the function itself would refuse.
    """
    compiled = passes.COMPILED.get(function)
    if compiled is None:
        raise ValueError(f"{getattr(function, '__name__', function)} is no pass that can be compiled ahead")
    every: dict[str, Any] = {"num_classes": num_classes, "whitening": whitening}
    options = {name: value for name, value in every.items() if name in inspect.signature(compiled).parameters}
    images = np.zeros((*shape, 3), np.uint8)
    regions = np.zeros((shape[0], 4), np.float32) if boxes else None
    arguments = prepare_arguments(model, images, boxes=regions, class_ids=class_ids, **options)
    compiled.lower(model, arguments, **options).compile()
