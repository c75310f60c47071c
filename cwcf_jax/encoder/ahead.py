"""This module compiles a pass before its first batch arrives."""

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
    """Compiles a pass for batches of uint8 images without running the pass; a later call need not trace or compile.

    JAX releases Python's global interpreter lock while it compiles. Therefore a thread can call this function while
    the device is busy.

    Args:
        function: `encode`, `class_vectors`, `pool`, `raw_features` or `feature_maps`.
        model: the model of the later call.
        shape: batch, height and width of the images, before they are padded to a bucket.
        num_classes: see `encode`.
        class_ids: see `encode`; only the shape matters.
        whitening: see `encode`; only the shapes matter.
        boxes: whether the later call has boxes.

    Raises:
        ValueError: ``function`` is another function, or ``function`` itself would refuse the arguments.
    """
    jitted = passes.JITTED_PASSES.get(function)
    if jitted is None:
        raise ValueError(f"{getattr(function, '__name__', function)} is no pass that can be compiled ahead")
    all_options: dict[str, Any] = {"num_classes": num_classes, "whitening": whitening}
    options = {name: value for name, value in all_options.items() if name in inspect.signature(jitted).parameters}
    images = np.zeros((*shape, 3), np.uint8)
    box_array = np.zeros((shape[0], 4), np.float32) if boxes else None
    arguments = prepare_arguments(model, images, boxes=box_array, class_ids=class_ids, **options)
    jitted.lower(model, arguments, **options).compile()
