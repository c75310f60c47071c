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
from jaxtyping import Array, Bool, Float, Int
from numpy.typing import ArrayLike

from cwcf_jax import descriptors, networks
from cwcf_jax.arrays import Shape, Size, valid_mask
from cwcf_jax.descriptors import Whitening
from cwcf_jax.encoder.arguments import Arguments, prepare_arguments
from cwcf_jax.encoder.model import Model


class ClassVectors(NamedTuple):
    """Class vectors before aggregation (Eq. 4), the most probable class first unless the classes were given.

    ``vectors`` [b, n, k]; ``class_ids`` [b, n]; ``probabilities`` [b, n], the softmax over all classes.
    """

    vectors: Float[Array, "*b n k"]
    class_ids: Int[Array, "*b n"]
    probabilities: Float[Array, "*b n"]


class Maps(NamedTuple):
    """What a network leaves of an image for everything that follows, and how much of it is valid.

    ``features`` [b, h, w, k]; ``cam_features`` [b, h2, w2, c]; ``feature_size``, ``cam_size`` [b, 2].
    """

    features: Float[Array, "*b h w k"]
    cam_features: Float[Array, "*b h2 w2 c"]
    feature_size: Int[Array, "*b 2"]
    cam_size: Int[Array, "*b 2"]


class PooledFeatures(NamedTuple):
    """All that one pass leaves of an image when its maps are gone.

    ``sums`` [b, k], the raw features; ``channel_weights`` [b, k] (Eq. 3); ``class_sums`` [b, n, k], Eq. 4 without the
    channel weight, or with the pooling ``gem`` the power means, which are class vectors already; ``class_ids`` [b, n];
    ``logits`` [b, classes], of the region where there is one.
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
    """The class vectors that `encode` whitens and sums, with their classes. Arguments and errors as there."""
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
    """What `class_vectors` is made of, and the raw features beside it. Arguments and errors as in `encode`."""
    arguments = prepare_arguments(model, images, sizes, boxes, class_ids, num_classes)
    return _pool(model, arguments, num_classes=num_classes)


def raw_features(model: Model, images: ArrayLike, *, sizes: ArrayLike | None = None) -> Float[Array, "b k"]:
    """Sum-pooled features without CAMs, the paper's baseline. Arguments and errors as in `encode`."""
    return _raw_features(model, prepare_arguments(model, images, sizes))


def feature_maps(model: Model, images: ArrayLike, *, sizes: ArrayLike | None = None) -> Maps:
    """The maps that `pool` is made of, float32. Arguments and errors as in `encode`."""
    return _feature_maps(model, prepare_arguments(model, images, sizes))


@functools.partial(jax.jit, static_argnames="num_classes")
def _encode(
    model: Model, arguments: Arguments, *, whitening: Whitening | None, num_classes: int
) -> Float[Array, "b d"]:
    vectors = _class_vectors(model, arguments, num_classes=num_classes).vectors
    return jax.vmap(lambda of_image: descriptors.aggregate(of_image, whitening))(vectors)


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


COMPILED = {
    encode: _encode,
    class_vectors: _class_vectors,
    pool: _pool,
    raw_features: _raw_features,
    feature_maps: _feature_maps,
}
"""The compiled function that each pass calls with the model, the prepared arguments and some options by name."""


def _network_maps(model: Model, images: networks.Images, sizes: networks.Sizes) -> Maps:
    """In the type that the network computes in: what follows sums in float32, and multiplies bfloat16 faster."""
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
    """Section 3 for one image, from its two maps."""
    region = _region(model, box, image_size, maps.feature_size, maps.features.shape[:2], model.feature_layer.stride)
    cam_shape = maps.cam_features.shape[:2]
    cam_region = _region(model, box, image_size, maps.cam_size, cam_shape, model.cam_layer.stride)
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


def most_probable(scores: Float[Array, " classes"], count: int) -> Int[Array, " n"]:
    """The classes of the highest scores, equal ones in order: a sort, which unlike `jax.lax.top_k` XLA can share out.

    With `top_k` the devices of a `spread` model would wait for one another.
    """
    return jnp.argsort(-scores, stable=True)[:count]


def pooled_vectors(model: Model, pooled: PooledFeatures) -> ClassVectors:
    """The class vectors of one image, from what is left of it."""
    vectors = weighted_vectors(model, pooled.class_sums, pooled.channel_weights)
    return ClassVectors(vectors, pooled.class_ids, jax.nn.softmax(pooled.logits)[pooled.class_ids])


def pool_classes(
    model: Model, features: Float[Array, "h w k"], cams: Float[Array, "h w n"], region: Bool[Array, "h w"]
) -> Float[Array, "n k"]:
    """What is pooled of a region for each class: sums or power means, as the model's config says."""
    if model.config.pooling == "gem":
        return descriptors.class_power_means(features, cams, region, model.config.gem_p)
    return descriptors.class_sums(features, cams, region)


def weighted_vectors(
    model: Model, pooled: Float[Array, "n k"], channel_weights: Float[Array, " k"]
) -> Float[Array, "n k"]:
    """Class vectors from their two parts, with or without channel weights and repeated vectors as the config says."""
    vectors = descriptors.class_vectors(pooled, channel_weights if model.config.weights_channels else None)
    return descriptors.repeat_dropped(vectors) if model.config.repeat_dropped else vectors


def class_maps(model: Model, maps: Maps, class_ids: Int[Array, " n"]) -> Float[Array, "h w n"]:
    """The class activation maps of one image as its features are weighted by them: normalised, at their resolution."""
    spec = model.network.spec
    valid = valid_mask(maps.cam_size, maps.cam_features.shape[:2])
    if spec.classifier is not None:
        kernel = model.params[spec.classifier]["kernel"]
        cams = descriptors.class_activation_maps(maps.cam_features, kernel[:, class_ids])
    else:
        cams = maps.cam_features[..., class_ids].astype(jnp.float32)
    evident = descriptors.has_evidence(cams, valid)
    cams = descriptors.NORMALIZATIONS[model.config.cam_normalization](cams, valid)
    if model.config.drop_negative:
        cams = jnp.where(evident[None, None, :], cams, 0.0)
    if model.feature_layer.stride != model.cam_layer.stride:
        cams = descriptors.resize_maps(cams, maps.cam_size, maps.feature_size, maps.features.shape[:2])
    return cams


def _region(
    model: Model, box: Float[Array, "4"] | None, image_size: Size, map_size: Size, shape: Shape, stride: int
) -> Bool[Array, "h w"]:
    if box is None:
        return valid_mask(map_size, shape)
    if model.config.region_cells == "floor":
        return descriptors.strided_region_mask(box, stride, map_size, shape)
    return descriptors.region_mask(box, image_size, map_size, shape)
