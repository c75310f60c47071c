"""From images to descriptors: the only place that knows the order of section 3 of the paper.

`encode`, `class_vectors` and `pool` are pure functions of a `Model` and an image batch. Each is one compiled pass:
preprocessing, network, class activation maps, weighting, pooling, whitening, aggregation. Called with concrete images
they pad them to a bucket, so that the number of compilations is the number of buckets and not of image sizes; called
inside another transformation they take the shape they are given.
"""

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
from numpy.typing import ArrayLike

from cwcf_jax import descriptors, networks
from cwcf_jax.arrays import Size, valid_mask
from cwcf_jax.descriptors import Whitening
from cwcf_jax.encoder.arguments import prepare_arguments
from cwcf_jax.encoder.model import Model


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
        class_ids: [n] or [b, n] integers, the classes to aggregate instead (OnA: the query's; or a predefined list).
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
    arguments = prepare_arguments(model, images, sizes, boxes, class_ids, num_classes, whitening)
    whitening = whitening and whitening.anonymous()
    return _encode(model, *arguments, whitening, num_classes=num_classes)


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
    arguments = prepare_arguments(model, images, sizes, boxes, class_ids, num_classes)
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
    arguments = prepare_arguments(model, images, sizes, boxes, class_ids, num_classes)
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
    features, cam_features = config.feature_layer, model.cam_layer.name
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
    shape, cam_shape = features.shape[:2], cam_features.shape[:2]
    cam_valid = valid_mask(cam_size, cam_shape)
    if box is None:
        region, cam_region = valid_mask(feature_size, shape), cam_valid
    else:
        region = descriptors.region_mask(box, image_size, feature_size, shape)
        cam_region = descriptors.region_mask(box, image_size, cam_size, cam_shape)
    logits = descriptors.mean_pool(cam_features, cam_region)
    if spec.classifier is not None:
        kernel, bias = (model.params[spec.classifier][part] for part in ("kernel", "bias"))
        logits = jnp.matmul(logits, kernel, precision=jax.lax.Precision.HIGHEST) + bias
    if class_ids is None:
        class_ids = jax.lax.top_k(logits, num_classes)[1]
    if spec.classifier is not None:
        cams = descriptors.class_activation_maps(cam_features, kernel[:, class_ids])
    else:
        cams = cam_features[..., class_ids]
    evident = descriptors.has_evidence(cams, cam_valid)
    cams = descriptors.NORMALIZATIONS[model.config.cam_normalization](cams, cam_valid)
    if model.config.drop_negative:
        cams = jnp.where(evident[None, None, :], cams, 0.0)
    if spec.layer(model.config.feature_layer).stride != model.cam_layer.stride:
        cams = descriptors.resize_maps(cams, cam_size, feature_size, shape)
    return Pooled(
        sums=descriptors.sum_pool(features, region),
        channel_weights=descriptors.channel_weights(features, region),
        class_sums=descriptors.class_sums(features, cams, region),
        class_ids=class_ids,
        logits=logits,
    )
