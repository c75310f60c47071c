"""This module checks the arguments of a pass and pads its images to a bucket."""

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
"""Numbers of pixels; each side of an image is rounded up to the nearest multiple of any of them.

Most sides that cameras and screens use are such multiples. The 977 images of the development sets have 28 buckets
instead of 221 shapes, with 7 % more pixels.
"""


class Arguments(NamedTuple):
    """`Arguments` are the arrays of a batch that a compiled pass reads.

    Attributes:
        images: [b, h, w, 3], RGB, 0-255, padded to a bucket.
        sizes: [b, 2], valid rows and columns of each image.
        boxes: [b, 4], ``x1 y1 x2 y2`` in pixels; None: whole images.
        class_ids: [b, n], the classes to pool; None: each image's own most probable classes.
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
    """Checks shapes and ranges, pads concrete images to their bucket, and broadcasts sizes and classes to all images.

    Arguments and errors are those of `encode`.
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
    num_labels = model.network.spec.num_labels
    check_classes(model, num_classes if class_ids is None else 1, whitening)
    if sizes is None:
        sizes = np.tile(np.array([[height, width]], np.int32), (batch, 1))
    sizes = _checked_array("sizes", sizes, jnp.int32, (batch, 2))
    if not _traced(sizes) and not np.all((np.asarray(sizes) >= 1) & (np.asarray(sizes) <= [height, width])):
        raise ValueError(f"sizes must lie between 1 and the image's {height} x {width}, not {sizes.tolist()}")
    boxes = None if boxes is None else _checked_array("boxes", boxes, jnp.float32, (batch, 4))
    if boxes is not None and not _traced(boxes) and not np.isfinite(boxes).all():
        raise ValueError(f"boxes must be finite, not {boxes.tolist()}")
    class_ids = None if class_ids is None else _broadcast_classes(class_ids, batch, num_labels)
    if not _traced(images):
        bucket = bucket_shape((height, width), *BUCKET_STEPS)
        padding = ((0, 0), (0, bucket[0] - height), (0, bucket[1] - width), (0, 0))
        if bucket != (height, width):
            images = np.pad(images, padding) if _on_host(images) else jnp.pad(images, padding)
        if (mesh := mesh_of(model)) and not any(map(_traced, (sizes, boxes, class_ids))):
            return Arguments(*shard_batch(mesh, (images, sizes, boxes, class_ids)))
    return Arguments(jnp.asarray(images), sizes, boxes, class_ids)


def check_classes(model: Model, num_classes: int, whitening: Whitening | None) -> None:
    """Raises ValueError if the model has fewer than ``num_classes`` classes, or if the whitening has other channels."""
    num_labels = model.network.spec.num_labels
    if not 1 <= num_classes <= num_labels:
        raise ValueError(f"num_classes must lie between 1 and {num_labels}, not {num_classes}")
    if whitening is not None and whitening.mean.shape[0] != model.feature_dim:
        raise ValueError(
            f"the whitening is for vectors of {whitening.mean.shape[0]} channels; "
            f"{model.feature_layer.name} has {model.feature_dim}"
        )


def _on_host(images: np.ndarray | Array) -> bool:
    """Returns whether the images are in host memory, where numpy pads them; accelerators compile each size of pad."""
    if not isinstance(images, jax.Array):
        return True
    return len(images.devices()) == 1 and next(iter(images.devices())).platform == "cpu"


def _traced(value: object) -> bool:
    """Returns whether a value is traced by a JAX transformation, so that its numbers cannot be checked."""
    return isinstance(value, jax.core.Tracer)


def _checked_array(name: str, values: ArrayLike, dtype: type, shape: tuple[int, ...]) -> Array:
    array = jnp.asarray(values, dtype)
    if array.shape != shape:
        raise ValueError(f"{name} must have shape {shape}, not {array.shape}")
    return array


def _broadcast_classes(class_ids: ArrayLike, batch: int, num_labels: int) -> Array:
    array = jnp.asarray(class_ids)
    if not jnp.issubdtype(array.dtype, jnp.integer) or array.size == 0:
        raise ValueError(
            f"class_ids must be at least one 0-based index below {num_labels}, not {array.dtype}{array.shape}"
        )
    if not _traced(array) and not np.all((np.asarray(array) >= 0) & (np.asarray(array) < num_labels)):
        raise ValueError(f"class_ids must be 0-based indices below {num_labels}")
    array = array.astype(jnp.int32)
    if array.ndim == 1:
        array = jnp.broadcast_to(array, (batch, array.shape[0]))
    if array.ndim != 2 or array.shape[0] != batch:
        raise ValueError(f"class_ids must be [n] or [batch, n], not of shape {array.shape}")
    return array
