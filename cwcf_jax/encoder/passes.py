"""This module computes descriptors from images, in the order of section 3 of the paper.

`encode`, `class_vectors` and `pool` are pure functions of a `Model` and a batch of images. Each function is one
compiled pass: preprocessing, network, class activation maps, weighting, pooling, whitening, aggregation. A pass pads
concrete images to a bucket, so that images of many sizes share one compilation. Inside another JAX transformation, a
pass does not pad its images.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
from numpy.typing import ArrayLike

from cwcf_jax import descriptors, networks
from cwcf_jax.arrays import Size, valid_mask
from cwcf_jax.descriptors import Whitening
from cwcf_jax.encoder.arguments import Arguments, prepare_arguments
from cwcf_jax.encoder.class_pooling import ClassVectors, Maps, PooledFeatures, pool_maps, pooled_vectors
from cwcf_jax.encoder.model import Model


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
