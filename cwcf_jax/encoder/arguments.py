"""Preparation of a pass's arguments: checked, padded to a bucket, one entry an image."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from numpy.typing import ArrayLike

from cwcf_jax import networks
from cwcf_jax.arrays import bucket_shape
from cwcf_jax.descriptors import Whitening
from cwcf_jax.encoder.model import Model
from cwcf_jax.encoder.placement import mesh_of, shard_batch

BUCKET_STEPS = 128, 240
"""Each side of an image is rounded up to a multiple of one of these pixels; what cameras and screens use mostly is one:
28 shapes instead of 221 for the 977 images of the development sets, for 7 % more pixels."""


class Arguments(NamedTuple):
    """What a compiled pass takes of a batch.

    ``images`` [b, h, w, 3] RGB 0-255, padded to a bucket; ``sizes`` [b, 2], valid rows and columns of each; ``boxes``
    [b, 4], ``x1 y1 x2 y2`` in pixels, or None for whole images; ``class_ids`` [b, n], or None for the image's own.
    """

    images: networks.Images
    sizes: networks.Sizes
    boxes: Float[Array, "b 4"] | None
    class_ids: Int[Array, "b n"] | None


def prepare_arguments(
    model: Model,
    images: ArrayLike,
    sizes: ArrayLike | None = None,
    boxes: ArrayLike | None = None,
    class_ids: ArrayLike | None = None,
    num_classes: int = 1,
    whitening: Whitening | None = None,
) -> Arguments:
    """Checks shapes, pads concrete images to their bucket, gives every image its own size, box and classes.

    Arguments and errors as in `encode`.
    """
    if not isinstance(images, jax.Array):
        try:
            images = np.asarray(images)
        except ValueError as error:
            raise ValueError(f"images of several sizes must be padded to one shape, see `sizes` ({error})") from error
    if images.ndim != 4 or images.shape[-1] != 3 or 0 in images.shape:
        hint = "; add a batch axis with images[None]" if images.ndim == 3 else ""
        raise ValueError(f"images must be [batch, height, width, 3], RGB, not of shape {images.shape}{hint}")
    if images.dtype != np.uint8 and not jnp.issubdtype(images.dtype, jnp.floating):
        raise ValueError(f"images must be uint8 or floating point with values 0-255, not {images.dtype}")
    batch, height, width = images.shape[:3]
    classes = model.network.spec.num_labels
    check_classes(model, num_classes if class_ids is None else 1, whitening)
    if sizes is None:
        sizes = np.tile(np.array([[height, width]], np.int32), (batch, 1))
    sizes = _batched("sizes", sizes, jnp.int32, (batch, 2))
    if not _traced(sizes) and not np.all((np.asarray(sizes) >= 1) & (np.asarray(sizes) <= [height, width])):
        raise ValueError(f"sizes must lie between 1 and the image's {height} x {width}, not {sizes.tolist()}")
    boxes = None if boxes is None else _batched("boxes", boxes, jnp.float32, (batch, 4))
    if boxes is not None and not _traced(boxes) and not np.isfinite(boxes).all():
        raise ValueError(f"boxes must be finite, not {boxes.tolist()}")
    class_ids = None if class_ids is None else _classes(class_ids, batch, classes)
    if not _traced(images):
        bucket = bucket_shape((height, width), *BUCKET_STEPS)
        widths = ((0, 0), (0, bucket[0] - height), (0, bucket[1] - width), (0, 0))
        if bucket != (height, width):
            images = np.pad(images, widths) if _on_host(images) else jnp.pad(images, widths)
        if (mesh := mesh_of(model)) and not any(map(_traced, (sizes, boxes, class_ids))):
            return Arguments(*shard_batch(mesh, (images, sizes, boxes, class_ids)))
    return Arguments(jnp.asarray(images), sizes, boxes, class_ids)


def check_classes(model: Model, num_classes: int, whitening: Whitening | None) -> None:
    """ValueError if the model has not so many classes, or features that the whitening was not fitted on."""
    classes = model.network.spec.num_labels
    if not 1 <= num_classes <= classes:
        raise ValueError(f"num_classes must lie between 1 and {classes}, not {num_classes}")
    if whitening is not None and whitening.mean.shape[0] != model.feature_dim:
        raise ValueError(
            f"the whitening is for vectors of {whitening.mean.shape[0]} channels; "
            f"{model.feature_layer.name} has {model.feature_dim}"
        )


def _on_host(images: np.ndarray | Array) -> bool:
    """Whether numpy can pad them without moving them; on an accelerator each size compiles a small pad instead."""
    if not isinstance(images, jax.Array):
        return True
    return len(images.devices()) == 1 and next(iter(images.devices())).platform == "cpu"


def _traced(value: object) -> bool:
    """Whether a transformation of the caller's is under way, so that values cannot be looked at."""
    return isinstance(value, jax.core.Tracer)


def _batched(name: str, values: ArrayLike, dtype: type, shape: tuple[int, ...]) -> Array:
    array = jnp.asarray(values, dtype)
    if array.shape != shape:
        raise ValueError(f"{name} must have shape {shape}, not {array.shape}")
    return array


def _classes(class_ids: ArrayLike, batch: int, classes: int) -> Array:
    array = jnp.asarray(class_ids)
    if not jnp.issubdtype(array.dtype, jnp.integer) or array.size == 0:
        raise ValueError(
            f"class_ids must be at least one 0-based index below {classes}, not {array.dtype}{array.shape}"
        )
    if not _traced(array) and not np.all((np.asarray(array) >= 0) & (np.asarray(array) < classes)):
        raise ValueError(f"class_ids must be 0-based indices below {classes}")
    array = array.astype(jnp.int32)
    if array.ndim == 1:
        array = jnp.broadcast_to(array, (batch, array.shape[0]))
    if array.ndim != 2 or array.shape[0] != batch:
        raise ValueError(f"class_ids must be [n] or [batch, n], not of shape {array.shape}")
    return array
