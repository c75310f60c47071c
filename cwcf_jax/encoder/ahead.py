"""Compiling a pass before it is needed."""

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
    """Compiles a pass for batches of uint8 images without making it; a call that follows finds it, and traces nothing.

    JAX compiles without Python's lock, so a thread of one's own does this while the device works.

    Args:
        function: `encode`, `class_vectors`, `pool`, `raw_features` or `feature_maps`.
        model: it will be called with.
        shape: batch, height and width of its images, before they are padded to a bucket.
        num_classes: see `encode`.
        class_ids: see `encode`; only its shape counts.
        whitening: see `encode`.
        boxes: whether it will be called with boxes.

    Raises:
        ValueError: another function; else as the function itself.
    """
    count = num_classes if function in (passes.encode, passes.class_vectors, passes.pool) else 1
    images = np.zeros((*shape, 3), np.uint8)
    regions = np.zeros((shape[0], 4), np.float32) if boxes else None
    arguments = prepare_arguments(model, images, None, regions, class_ids, count, whitening)
    if function is passes.encode:
        lowered = passes._encode.lower(model, *arguments, whitening, num_classes=num_classes)
    elif function in (passes.class_vectors, passes.pool):
        compiled = passes._class_vectors if function is passes.class_vectors else passes._pool
        lowered = compiled.lower(model, *arguments, num_classes=num_classes)
    elif function in (passes.raw_features, passes.feature_maps):
        compiled = passes._raw_features if function is passes.raw_features else passes._feature_maps
        lowered = compiled.lower(model, *arguments[:2])
    else:
        raise ValueError(f"{getattr(function, '__name__', function)} is no pass that can be compiled ahead")
    lowered.compile()
