"""This module turns RGB pixels into a network's input."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from cwcf_jax.networks.layers import mask_padding
from cwcf_jax.networks.spec import Images, Preprocessing, Sizes

CAFFE_VGG = Preprocessing(channel_order="BGR", mean=(103.939, 116.779, 123.68))
"""The preprocessing of Simonyan & Zisserman 2015, which is also Keras' ``caffe`` mode."""

TORCHVISION = Preprocessing(
    channel_order="RGB", mean=(123.675, 116.28, 103.53), scale=(1 / 58.395, 1 / 57.12, 1 / 57.375)
)
"""torchvision's preprocessing: mean (.485, .456, .406) and standard deviation (.229, .224, .225), times 255."""


def preprocess(images: Images, sizes: Sizes, preprocessing: Preprocessing) -> Float[Array, "b h w 3"]:
    """Computes ``(images[..., channel_order] - mean) * scale`` in float32, zero outside the valid area."""
    ordered = images[..., ::-1] if preprocessing.channel_order == "BGR" else images
    mean = jnp.asarray(preprocessing.mean, jnp.float32).reshape(1, 1, 1, 3)
    scale = jnp.asarray(preprocessing.scale, jnp.float32).reshape(1, 1, 1, 3)
    return mask_padding((ordered.astype(jnp.float32) - mean) * scale, sizes)
