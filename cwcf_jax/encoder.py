"""From images to descriptors: the only place that knows the order of section 3 of the paper.

`encode`, `class_vectors` and `pool` are pure functions of a `Model` and an image batch. Each is one compiled pass:
preprocessing, network, class activation maps, weighting, pooling, whitening, aggregation. Called with concrete images
they pad them to a bucket, so that the number of compilations is the number of buckets and not of image sizes; called
inside another transformation they take the shape they are given.
"""

import dataclasses
import functools
import pathlib
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from numpy.typing import ArrayLike

from cwcf_jax import descriptors, networks
from cwcf_jax.arrays import Size, bucket_shape, valid_mask
from cwcf_jax.descriptors import Whitening

BUCKET_STEP = 128
"""Pixels to which both sides of an image are rounded up: 18 shapes instead of 221 for the 977 images of the
development sets, for 12 % more pixels."""


@dataclasses.dataclass(frozen=True)
class EncoderConfig:
    """What of the pipeline is a choice; static, so each value compiles its own pass.

    Attributes:
        feature_layer: the layer whose maps are pooled.
        cam_normalization: a key of `descriptors.NORMALIZATIONS`.
        drop_negative: whether a class whose raw map is nowhere positive is dropped (its class vector is zero); if not,
            the least negative part of its map counts as evidence.
        channel_weighting: whether class vectors carry the CroW channel weights (Eq. 3).
        pixel_mean: the mean to subtract, in the network's channel order; None is the network's own.
    """

    feature_layer: str
    cam_normalization: str = "min_max"
    drop_negative: bool = True
    channel_weighting: bool = True
    pixel_mean: tuple[float, float, float] | None = None

    def __post_init__(self) -> None:
        if self.cam_normalization not in descriptors.NORMALIZATIONS:
            known = ", ".join(descriptors.NORMALIZATIONS)
            raise ValueError(f"unknown CAM normalization {self.cam_normalization!r}; known: {known}")


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Model:
    """A network with its weights and the encoder's choices: a pytree whose leaves are the weights."""

    params: networks.Params
    network: networks.Network = dataclasses.field(metadata={"static": True})
    config: EncoderConfig = dataclasses.field(metadata={"static": True})

    @property
    def feature_dim(self) -> int:
        """Channels of the feature layer, the length of a class vector."""
        return self.network.spec.layer(self.config.feature_layer).channels


class ClassVectors(NamedTuple):
    """Class vectors before aggregation (Eq. 4), the most probable class first unless the classes were given.

    ``vectors`` [b, n, k]; ``class_ids`` [b, n]; ``probabilities`` [b, n], the softmax over all classes.
    """

    vectors: Float[Array, "*b n k"]
    class_ids: Int[Array, "*b n"]
    probabilities: Float[Array, "*b n"]


class Pooled(NamedTuple):
    """All that one pass leaves of an image when its maps are gone.

    ``sums`` [b, k], the raw features; ``channel_weights`` [b, k] (Eq. 3); ``class_sums`` [b, n, k], Eq. 4 without the
    channel weight; ``class_ids`` [b, n]; ``logits`` [b, classes], of the region where there is one.
    """

    sums: Float[Array, "*b k"]
    channel_weights: Float[Array, "*b k"]
    class_sums: Float[Array, "*b n k"]
    class_ids: Int[Array, "*b n"]
    logits: Float[Array, "*b classes"]


def load(
    network: str | networks.Network,
    weights: str | pathlib.Path | networks.Params,
    *,
    feature_layer: str | None = None,
    cam_normalization: str = "min_max",
    drop_negative: bool = True,
    channel_weighting: bool = True,
    pixel_mean: tuple[float, float, float] | None = None,
) -> Model:
    """A model for `encode` from a network's name and its weights.

    Args:
        network: a key of `networks.NETWORKS`, or a `Network` of your own.
        weights: a ``.npz`` file, an Orbax checkpoint directory, or parameters already in memory.
        feature_layer: the layer whose maps are pooled; None is the network's default.
        cam_normalization: ``min_max`` (the paper), ``max_clip`` (the authors' code) or ``raw``.
        drop_negative: whether classes whose raw map is nowhere positive are dropped.
        channel_weighting: whether class vectors carry the CroW channel weights (Eq. 3).
        pixel_mean: another mean to subtract, in the network's channel order.

    Raises:
        ValueError: an unknown network, layer or normalization.
        FileNotFoundError, CheckpointError: see `networks.load_params`.
    """
    if isinstance(network, str):
        network = networks.get(network)
    layer = network.spec.layer(feature_layer or network.spec.feature_layer)
    config = EncoderConfig(layer.name, cam_normalization, drop_negative, channel_weighting, pixel_mean)
    params = networks.load_params(network, weights) if isinstance(weights, str | pathlib.Path) else weights
    return Model(params=params, network=network, config=config)


def encode(
    model: Model,
    images: ArrayLike,
    *,
    num_classes: int = 64,
    class_ids: ArrayLike | None = None,
    whitening: Whitening | None = None,
    sizes: ArrayLike | None = None,
    boxes: ArrayLike | None = None,
) -> Float[Array, "b d"]:
    """One descriptor an image: section 3 of the paper from pixels to the aggregated vector.

    Args:
        model: from `load`.
        images: [b, h, w, 3], RGB, uint8 or float 0-255.
        num_classes: N_C, how many of the image's own most probable classes to aggregate (OfA).
        class_ids: [n] or [b, n], the classes to aggregate instead (OnA: the query's; or a predefined list).
        whitening: fitted on l2-normalised class vectors; None leaves it out.
        sizes: [b, 2], valid rows and columns of each image where the batch is padded; None: all.
        boxes: [b, 4], regions of interest ``x1 y1 x2 y2`` in pixels, cut on the maps; classes and channel weights are
            then the region's. None: whole images.

    Returns:
        [b, d] float32, rows of norm 1; d is the whitening's dimension, or the feature layer's channels. An image
        without any evidence (a network dead on it) gives a row of zeros, never NaN.

    Raises:
        ValueError: images, sizes, boxes or classes of the wrong shape or range.
    """
    arguments = _arguments(model, images, sizes, boxes, class_ids, num_classes)
    # What the whitening was fitted on is static: leaving it in would compile again for the same arrays.
    anonymous = None if whitening is None else dataclasses.replace(whitening, fitted_on="")
    return _encode(model, *arguments, anonymous, num_classes=num_classes)


def class_vectors(
    model: Model,
    images: ArrayLike,
    *,
    num_classes: int = 64,
    class_ids: ArrayLike | None = None,
    sizes: ArrayLike | None = None,
    boxes: ArrayLike | None = None,
) -> ClassVectors:
    """The class vectors that `encode` whitens and sums, with their classes. Arguments and errors as there."""
    arguments = _arguments(model, images, sizes, boxes, class_ids, num_classes)
    return _class_vectors(model, *arguments, num_classes=num_classes)


def pool(
    model: Model,
    images: ArrayLike,
    *,
    num_classes: int = 64,
    class_ids: ArrayLike | None = None,
    sizes: ArrayLike | None = None,
    boxes: ArrayLike | None = None,
) -> Pooled:
    """What `class_vectors` is made of, and the raw features beside it. Arguments and errors as in `encode`."""
    arguments = _arguments(model, images, sizes, boxes, class_ids, num_classes)
    return _pool(model, *arguments, num_classes=num_classes)


@functools.partial(jax.jit, static_argnames="num_classes")
def _encode(model, images, sizes, boxes, class_ids, whitening, *, num_classes):  # type: ignore[no-untyped-def]
    vectors = _class_vectors(model, images, sizes, boxes, class_ids, num_classes=num_classes).vectors
    return jax.vmap(lambda one: descriptors.aggregate(one, whitening))(vectors)


@functools.partial(jax.jit, static_argnames="num_classes")
def _class_vectors(model, images, sizes, boxes, class_ids, *, num_classes):  # type: ignore[no-untyped-def]
    pooled = _pool(model, images, sizes, boxes, class_ids, num_classes=num_classes)
    weights = pooled.channel_weights[:, None, :] if model.config.channel_weighting else 1.0
    probabilities = jnp.take_along_axis(jax.nn.softmax(pooled.logits), pooled.class_ids, axis=-1)
    return ClassVectors(weights * pooled.class_sums, pooled.class_ids, probabilities)


@functools.partial(jax.jit, static_argnames="num_classes")
def _pool(model, images, sizes, boxes, class_ids, *, num_classes):  # type: ignore[no-untyped-def]
    network, config = model.network, model.config
    preprocessing = network.spec.preprocessing
    if config.pixel_mean is not None:
        preprocessing = dataclasses.replace(preprocessing, mean=config.pixel_mean)
    inputs = networks.preprocess(images, sizes, preprocessing)
    _, maps = network.apply(model.params, inputs, sizes)
    map_sizes = network.map_sizes(sizes)
    features, cam_features = config.feature_layer, network.spec.cam_layer.name
    pool_one = functools.partial(_pool_one, model, num_classes=num_classes)
    return jax.vmap(pool_one)(
        maps[features], maps[cam_features], sizes, map_sizes[features], map_sizes[cam_features], boxes, class_ids
    )


def _pool_one(
    model: Model,
    features: Float[Array, "h w k"],
    cam_features: Float[Array, "h2 w2 c"],
    image_size: Size,
    feature_size: Size,
    cam_size: Size,
    box: Float[Array, "4"] | None,
    class_ids: Int[Array, " n"] | None,
    *,
    num_classes: int,
) -> Pooled:
    """Section 3 for one image, from its two maps."""
    spec = model.network.spec
    classifier = model.params[spec.classifier]
    shape, cam_shape = features.shape[:2], cam_features.shape[:2]
    cam_valid = valid_mask(cam_size, cam_shape)
    if box is None:
        region, cam_region = valid_mask(feature_size, shape), cam_valid
    else:
        region = descriptors.region_mask(box, image_size, feature_size, shape)
        cam_region = descriptors.region_mask(box, image_size, cam_size, cam_shape)
    seen = descriptors.mean_pool(cam_features, cam_region)
    logits = jnp.matmul(seen, classifier["kernel"], precision=jax.lax.Precision.HIGHEST) + classifier["bias"]
    if class_ids is None:
        class_ids = jax.lax.top_k(logits, num_classes)[1]
    cams = descriptors.class_activation_maps(cam_features, classifier["kernel"][:, class_ids])
    evident = descriptors.has_evidence(cams, cam_valid)
    cams = descriptors.NORMALIZATIONS[model.config.cam_normalization](cams, cam_valid)
    if model.config.drop_negative:
        cams = jnp.where(evident[None, None, :], cams, 0.0)
    if spec.layer(model.config.feature_layer).stride != spec.cam_layer.stride:
        cams = descriptors.resize_maps(cams, cam_size, feature_size, shape)
    return Pooled(
        sums=descriptors.sum_pool(features, region),
        channel_weights=descriptors.channel_weights(features, region),
        class_sums=descriptors.class_sums(features, cams, region),
        class_ids=class_ids,
        logits=logits,
    )


def _arguments(
    model: Model,
    images: ArrayLike,
    sizes: ArrayLike | None,
    boxes: ArrayLike | None,
    class_ids: ArrayLike | None,
    num_classes: int,
) -> tuple[Array, Array, Array | None, Array | None]:
    """Checks shapes, pads concrete images to their bucket, gives every image its own size, box and classes."""
    if not isinstance(images, jax.Array):
        images = np.asarray(images)
    if images.ndim != 4 or images.shape[-1] != 3 or 0 in images.shape:
        hint = "; add a batch axis with images[None]" if images.ndim == 3 else ""
        raise ValueError(f"images must be [batch, height, width, 3], RGB, not of shape {images.shape}{hint}")
    if images.dtype != np.uint8 and not jnp.issubdtype(images.dtype, jnp.floating):
        raise ValueError(f"images must be uint8 or floating point with values 0-255, not {images.dtype}")
    batch, height, width = images.shape[:3]
    classes = model.network.spec.num_classes
    if class_ids is None and not 1 <= num_classes <= classes:
        raise ValueError(f"num_classes must lie between 1 and {classes}, not {num_classes}")
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
        bucket = bucket_shape((height, width), step=BUCKET_STEP)
        widths = ((0, 0), (0, bucket[0] - height), (0, bucket[1] - width), (0, 0))
        if bucket != (height, width):
            images = jnp.pad(images, widths) if isinstance(images, jax.Array) else np.pad(images, widths)
    return jnp.asarray(images), sizes, boxes, class_ids


def _traced(value: object) -> bool:
    """Whether a transformation of the caller's is under way, so that values cannot be looked at."""
    return isinstance(value, jax.core.Tracer)


def _batched(name: str, values: ArrayLike, dtype: type, shape: tuple[int, ...]) -> Array:
    array = jnp.asarray(values, dtype)
    if array.shape != shape:
        raise ValueError(f"{name} must have shape {shape}, not {array.shape}")
    return array


def _classes(class_ids: ArrayLike, batch: int, classes: int) -> Array:
    if not _traced(class_ids):
        outside = np.asarray(class_ids)
        if outside.size == 0 or outside.min() < 0 or outside.max() >= classes:
            raise ValueError(f"class_ids must be 0-based indices below {classes}, at least one of them")
    array = jnp.asarray(class_ids, jnp.int32)
    if array.ndim == 1:
        array = jnp.broadcast_to(array, (batch, array.shape[0]))
    if array.ndim != 2 or array.shape[0] != batch:
        raise ValueError(f"class_ids must be [n] or [batch, n], not of shape {array.shape}")
    return array
