"""This module pools the feature maps of one image under class activation maps (section 3 of the paper).

`passes` computes the maps of a batch and maps these functions over its images.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from cwcf_jax import descriptors
from cwcf_jax.arrays import Shape, Size, valid_mask
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
