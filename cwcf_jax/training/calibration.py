"""This module scales new convolutions by their responses to training pictures (`calibrate`)."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, UInt8

from cwcf_jax.networks import Network, Params
from cwcf_jax.training.augment import center_crop
from cwcf_jax.training.config import TrainingConfig
from cwcf_jax.training.prepare import TrainingSetup
from cwcf_jax.training.steps import apply_network

MAX_PICTURES = 32
"""The largest number of pictures that the responses are measured on."""

UNCLIPPED_BIAS = 100.0
"""A bias so large that the ReLU clips no response, if the responses have a standard deviation of about 1."""


def calibrate(config: TrainingConfig, setup: TrainingSetup) -> Params:
    """Returns the parameters to train, with new convolutions scaled to mean 0 and variance 1 in every channel.

    The responses before the ReLU are measured on training pictures, one layer after another: the data-dependent
    initialisation of Salimans & Kingma 2016, section 3. In a network without batch normalisation, channels that are
    alike for all pictures would otherwise cost the first hundreds of steps. Besides, the features of a Caffe trunk
    are in the tens, where Adam's steps would change the logits wildly. Only convolutions whose maps the network
    returns under the name of the layer take part.
    """
    network, params, names = setup.network, setup.params, new_layers(config, setup)
    images = _center_crops(config, setup)
    measure = jax.jit(lambda params: {name: _moments(maps) for name, maps in _maps(network, params, images, names)})
    for name in names:
        layer = params[name]
        # The ReLU clips the first measurement, which therefore only brings the responses to a scale of about 1. With
        # the bias, all responses of the second measurement are above 0.
        mean_square, _, _ = measure(params | setup.frozen)[name]
        layer = {
            "kernel": layer["kernel"] / _nonzero(jnp.sqrt(mean_square)),
            "bias": jnp.full_like(layer["bias"], UNCLIPPED_BIAS),
        }
        _, mean, deviation = measure(params | {name: layer} | setup.frozen)[name]
        deviation = _nonzero(deviation)
        layer = {
            "kernel": layer["kernel"] / deviation[None, None, None, :],
            "bias": (UNCLIPPED_BIAS - mean) / deviation,
        }
        params = params | {name: layer}
    return params


def new_layers(config: TrainingConfig, setup: TrainingSetup) -> tuple[str, ...]:
    """Returns the names of the convolutions that start at random and whose maps are available, in network order."""
    spec = setup.network.spec
    map_layers = [layer.name for layer in (*spec.feature_layers, spec.cam_layer) if layer is not None]
    untrained = set() if config.weights else set(spec.head) if config.trunk else set(setup.params)
    convolutions = {name for name in untrained & set(setup.params) if set(setup.params[name]) == {"kernel", "bias"}}
    return tuple(name for name in dict.fromkeys(map_layers) if name in convolutions and name != spec.classifier)


def _maps(
    network: Network, params: Params, images: UInt8[Array, "b h w 3"], names: tuple[str, ...]
) -> list[tuple[str, Array]]:
    """Returns the names and the maps of the layers in ``names``."""
    maps = apply_network(network, params, images)[1]
    return [(name, maps[name]) for name in names]


def _moments(maps: Array) -> tuple[Array, Array, Array]:
    """Returns the mean square of all maps, and the mean and standard deviation [channels] of each channel."""
    mean = jnp.mean(maps, axis=(0, 1, 2))
    deviation = jnp.sqrt(jnp.mean(jnp.square(maps - mean[None, None, None, :]), axis=(0, 1, 2)))
    return jnp.mean(jnp.square(maps)), mean, deviation


def _nonzero(size: Array) -> Array:
    """Returns ``size``, with 1 in place of values that are not finite or too small to divide by."""
    return jnp.where(jnp.isfinite(size) & (size > 1e-4), size, 1.0)


def _center_crops(config: TrainingConfig, setup: TrainingSetup) -> Array:
    """Returns central squares [b, size, size, 3] of pictures that are spread evenly over the training set."""
    pictures = setup.train
    indices = range(0, len(pictures), -(-len(pictures) // MAX_PICTURES))
    return jnp.asarray(np.stack([center_crop(pictures[i][0], config.image_size) for i in indices]))
