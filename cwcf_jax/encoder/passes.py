"""This module computes descriptors from images, in the order of section 3 of the paper.

`encode`, `class_vectors` and `pool` are pure functions of a `Model` and a batch of images. Each function is one
compiled pass: preprocessing, network, class activation maps, weighting, pooling, whitening, aggregation. A pass pads
concrete images to a bucket, so that images of many sizes share one compilation. Inside another JAX transformation, a
pass does not pad its images.
"""

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int
from numpy.typing import ArrayLike

from cwcf_jax import descriptors, networks
from cwcf_jax.arrays import Shape, Size, valid_mask
from cwcf_jax.descriptors import Whitening
from cwcf_jax.encoder.arguments import Arguments, prepare_arguments
from cwcf_jax.encoder.model import Model


class ClassVectors(NamedTuple):
    """`ClassVectors` are the class vectors of images before whitening and aggregation (Eq. 4).

    Attributes:
        vectors: [b, n, k], the class vectors.
        class_ids: [b, n], the class of each vector: the most probable class first, or the order of the caller's list.
        probabilities: [b, n], the softmax over all classes, at ``class_ids``.
    """

    vectors: Float[Array, "*b n k"]
    class_ids: Int[Array, "*b n"]
    probabilities: Float[Array, "*b n"]


class Maps(NamedTuple):
    """`Maps` are the network's outputs that all later steps need: feature maps of two layers, and their valid areas.

    Attributes:
        features: [b, h, w, k], feature maps of the feature layer.
        cam_features: [b, h2, w2, c], feature maps of the CAM layer.
        feature_size: [b, 2], valid rows and columns of ``features``.
        cam_size: [b, 2], valid rows and columns of ``cam_features``.
    """

    features: Float[Array, "*b h w k"]
    cam_features: Float[Array, "*b h2 w2 c"]
    feature_size: Int[Array, "*b 2"]
    cam_size: Int[Array, "*b 2"]


class PooledFeatures(NamedTuple):
    """`PooledFeatures` are the pooled vectors of a batch of images, without their feature maps.

    Attributes:
        sums: [b, k], the raw features, summed without CAMs.
        channel_weights: [b, k], Eq. 3.
        class_sums: [b, n, k], Eq. 4 without the channel weights; with pooling ``gem`` the power means.
        class_ids: [b, n], the classes of ``class_sums``.
        logits: [b, num_labels], the classifier's outputs for the image's box, or for the whole image without a box.
    """

    sums: Float[Array, "*b k"]
    channel_weights: Float[Array, "*b k"]
    class_sums: Float[Array, "*b n k"]
    class_ids: Int[Array, "*b n"]
    logits: Float[Array, "*b num_labels"]


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
    """Computes one descriptor for each image: section 3 of the paper, from pixels to the aggregated vector.

    Args:
        model: a model from `load`.
        images: [b, h, w, 3], RGB, uint8 or float 0-255.
        num_classes: N_C, the number of the image's own most probable classes to aggregate (OfA).
        class_ids: [n] or [b, n] integers, the classes to aggregate (OnA: the query's classes; or a predefined list);
            None: each image's own most probable classes.
        whitening: a whitening that was fitted on l2-normalised class vectors; None: no whitening.
        sizes: [b, 2], valid rows and columns of each image of a padded batch; None: all rows and columns are valid.
        boxes: [b, 4], boxes ``x1 y1 x2 y2`` in pixels. A box selects cells of the feature maps; classes and channel
            weights are computed from those cells. None: whole images.

    Returns:
        [b, d] float32, rows of norm 1; d is the whitening's dimension, or the number of channels of the feature layer.
        The row is zero, never NaN, for an image without evidence for any of the classes.

    Raises:
        ValueError: images, sizes, boxes or classes have a wrong shape or range.
    """
    arguments = prepare_arguments(model, images, sizes, boxes, class_ids, num_classes, whitening)
    return _encode(model, arguments, whitening=whitening, num_classes=num_classes)


def class_vectors(
    model: Model,
    images: ArrayLike,
    *,
    num_classes: int = 64,
    class_ids: ArrayLike | None = None,
    sizes: ArrayLike | None = None,
    boxes: ArrayLike | None = None,
) -> ClassVectors:
    """Computes the class vectors that `encode` whitens and sums. Arguments and errors: see `encode`."""
    arguments = prepare_arguments(model, images, sizes, boxes, class_ids, num_classes)
    return _class_vectors(model, arguments, num_classes=num_classes)


def pool(
    model: Model,
    images: ArrayLike,
    *,
    num_classes: int = 64,
    class_ids: ArrayLike | None = None,
    sizes: ArrayLike | None = None,
    boxes: ArrayLike | None = None,
) -> PooledFeatures:
    """Computes the pooled vectors that class vectors are the product of, and the raw features.

    Arguments and errors are those of `encode`.
    """
    arguments = prepare_arguments(model, images, sizes, boxes, class_ids, num_classes)
    return _pool(model, arguments, num_classes=num_classes)


def raw_features(model: Model, images: ArrayLike, *, sizes: ArrayLike | None = None) -> Float[Array, "b k"]:
    """Computes sum-pooled features without CAMs, the paper's baseline. Arguments and errors: see `encode`."""
    return _raw_features(model, prepare_arguments(model, images, sizes))


def feature_maps(model: Model, images: ArrayLike, *, sizes: ArrayLike | None = None) -> Maps:
    """Computes the feature maps that `pool` pools, in float32. Arguments and errors: see `encode`."""
    return _feature_maps(model, prepare_arguments(model, images, sizes))


@functools.partial(jax.jit, static_argnames="num_classes")
def _encode(
    model: Model, arguments: Arguments, *, whitening: Whitening | None, num_classes: int
) -> Float[Array, "b d"]:
    vectors = _class_vectors(model, arguments, num_classes=num_classes).vectors
    return jax.vmap(lambda image_vectors: descriptors.aggregate(image_vectors, whitening))(vectors)


@functools.partial(jax.jit, static_argnames="num_classes")
def _class_vectors(model: Model, arguments: Arguments, *, num_classes: int) -> ClassVectors:
    pooled = _pool(model, arguments, num_classes=num_classes)
    return jax.vmap(functools.partial(pooled_vectors, model))(pooled)


@functools.partial(jax.jit, static_argnames="num_classes")
def _pool(model: Model, arguments: Arguments, *, num_classes: int) -> PooledFeatures:
    maps = _network_maps(model, arguments.images, arguments.sizes)
    pool_image = functools.partial(pool_maps, model, num_classes=num_classes)
    return jax.vmap(pool_image)(maps, arguments.sizes, arguments.boxes, arguments.class_ids)


@jax.jit
def _raw_features(model: Model, arguments: Arguments) -> Float[Array, "b k"]:
    maps = _network_maps(model, arguments.images, arguments.sizes)

    def pool_image(features: Float[Array, "h w k"], size: Size) -> Float[Array, " k"]:
        return descriptors.sum_pool(features, valid_mask(size, features.shape[:2]))

    return jax.vmap(pool_image)(maps.features, maps.feature_size)


@jax.jit
def _feature_maps(model: Model, arguments: Arguments) -> Maps:
    maps = _network_maps(model, arguments.images, arguments.sizes)
    features, cam_features = (layer.astype(jnp.float32) for layer in (maps.features, maps.cam_features))
    return maps._replace(features=features, cam_features=cam_features)


JITTED_PASSES = {
    encode: _encode,
    class_vectors: _class_vectors,
    pool: _pool,
    raw_features: _raw_features,
    feature_maps: _feature_maps,
}
"""The jitted function of each pass, which is called with the model, an `Arguments` and options by keyword."""


def _network_maps(model: Model, images: networks.Images, sizes: networks.Sizes) -> Maps:
    """Runs the network, and returns its maps in the config's dtype; later steps sum in float32.

    Maps in bfloat16 stay so, because accelerators multiply bfloat16 faster.
    """
    network, config = model.network, model.config
    preprocessing = network.spec.preprocessing
    if config.pixel_mean is not None:
        preprocessing = dataclasses.replace(preprocessing, mean=config.pixel_mean)
    inputs = networks.preprocess(images, sizes, preprocessing)
    params = model.params
    if config.dtype == "bfloat16":
        params, inputs = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), (params, inputs))
    _, maps = network.apply(params, inputs, sizes)
    map_sizes = network.map_sizes(sizes)
    features, cam_features = maps[model.feature_layer.name], maps[model.cam_layer.name]
    return Maps(features, cam_features, map_sizes[model.feature_layer.name], map_sizes[model.cam_layer.name])


def pool_maps(
    model: Model,
    maps: Maps,
    image_size: Size,
    box: Float[Array, "4"] | None,
    class_ids: Int[Array, " n"] | None,
    *,
    num_classes: int,
) -> PooledFeatures:
    """Pools the feature maps of one image (section 3 of the paper), without whitening and aggregation.

    Args:
        model: the model that computed the maps.
        maps: the maps of one image, without a batch axis.
        image_size: height and width of the image in pixels.
        box: a box ``x1 y1 x2 y2`` in pixels; None: the whole image.
        class_ids: [n], the classes to pool; None: the most probable classes of the box or image.
        num_classes: N_C, the number of most probable classes; ignored if ``class_ids`` is not None.
    """
    region = _region_mask(
        model, box, image_size, maps.feature_size, maps.features.shape[:2], model.feature_layer.stride
    )
    cam_shape = maps.cam_features.shape[:2]
    cam_region = _region_mask(model, box, image_size, maps.cam_size, cam_shape, model.cam_layer.stride)
    logits = descriptors.mean_pool(maps.cam_features, cam_region)
    classifier = model.network.spec.classifier
    if classifier is not None:
        kernel, bias = (model.params[classifier][part] for part in ("kernel", "bias"))
        logits = jnp.matmul(logits, kernel, precision=jax.lax.Precision.HIGHEST) + bias
    if class_ids is None:
        class_ids = most_probable(logits, num_classes)
    cams = class_maps(model, maps, class_ids)
    return PooledFeatures(
        sums=descriptors.sum_pool(maps.features, region),
        channel_weights=descriptors.channel_weights(maps.features, region),
        class_sums=pool_classes(model, maps.features, cams, region),
        class_ids=class_ids,
        logits=logits,
    )


def most_probable(scores: Float[Array, " num_labels"], count: int) -> Int[Array, " n"]:
    """Returns the ``count`` classes of the highest scores, in decreasing order; equal scores in the order of classes.

    XLA can divide a sort, but not `jax.lax.top_k`, among the devices of a model from `replicate`.
    """
    return jnp.argsort(-scores, stable=True)[:count]


def pooled_vectors(model: Model, pooled: PooledFeatures) -> ClassVectors:
    """Computes the class vectors of one image from its pooled features."""
    vectors = weighted_vectors(model, pooled.class_sums, pooled.channel_weights)
    return ClassVectors(vectors, pooled.class_ids, jax.nn.softmax(pooled.logits)[pooled.class_ids])


def pool_classes(
    model: Model, features: Float[Array, "h w k"], cams: Float[Array, "h w n"], region: Bool[Array, "h w"]
) -> Float[Array, "n k"]:
    """Pools a region for each class: sums or power means, according to the model's config."""
    if model.config.pooling == "gem":
        return descriptors.class_power_means(features, cams, region, model.config.gem_p)
    return descriptors.class_sums(features, cams, region)


def weighted_vectors(
    model: Model, pooled: Float[Array, "n k"], channel_weights: Float[Array, " k"]
) -> Float[Array, "n k"]:
    """Computes class vectors from pooled vectors; the config decides on channel weights and repeated vectors."""
    vectors = descriptors.class_vectors(pooled, channel_weights if model.config.weights_channels else None)
    return descriptors.repeat_dropped(vectors) if model.config.repeat_dropped else vectors


def class_maps(model: Model, maps: Maps, class_ids: Int[Array, " n"]) -> Float[Array, "h w n"]:
    """Computes the CAMs of one image as weights of the feature maps: normalised, in the feature maps' resolution."""
    spec = model.network.spec
    valid = valid_mask(maps.cam_size, maps.cam_features.shape[:2])
    if spec.classifier is not None:
        kernel = model.params[spec.classifier]["kernel"]
        cams = descriptors.class_activation_maps(maps.cam_features, kernel[:, class_ids])
    else:
        cams = maps.cam_features[..., class_ids].astype(jnp.float32)
    with_evidence = descriptors.has_evidence(cams, valid)
    cams = descriptors.NORMALIZATIONS[model.config.cam_normalization](cams, valid)
    if model.config.drop_negative:
        cams = jnp.where(with_evidence[None, None, :], cams, 0.0)
    if model.feature_layer.stride != model.cam_layer.stride:
        cams = descriptors.resize_maps(cams, maps.cam_size, maps.feature_size, maps.features.shape[:2])
    return cams


def _region_mask(
    model: Model, box: Float[Array, "4"] | None, image_size: Size, map_size: Size, shape: Shape, stride: int
) -> Bool[Array, "h w"]:
    if box is None:
        return valid_mask(map_size, shape)
    if model.config.region_cells == "floor":
        return descriptors.strided_region_mask(box, stride, map_size, shape)
    return descriptors.region_mask(box, image_size, map_size, shape)
