"""The scale of new layers, measured on pictures."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, UInt8

from cwcf_jax.networks import Network, Params
from cwcf_jax.training.augment import center_crop
from cwcf_jax.training.config import TrainingConfig
from cwcf_jax.training.prepare import TrainingSetup
from cwcf_jax.training.steps import apply_network

PICTURES = 32
"""That the scale is measured on, at most."""

LIFT = 100.0
"""Bias under which no ReLU clips anything, the responses being of scale 1."""


def calibrate(config: TrainingConfig, prepared: TrainingSetup) -> Params:
    """The parameters to train, each new convolution scaled and shifted: every channel has mean 0 and variance 1.

    Layer by layer on the pictures themselves, before the ReLU: the data-dependent initialisation of Salimans & Kingma
    2016, section 3. Without batch normalisation, channels that are alike for all pictures else cost the first hundreds
    of steps; and the features of a Caffe trunk are in the tens, where Adam's steps would throw the logits about. Only
    convolutions whose maps the network hands out under their own name take part.
    """
    network, params, names = prepared.network, prepared.params, new_layers(config, prepared)
    images = _pictures(config, prepared)
    measure = jax.jit(lambda params: {name: _moments(maps) for name, maps in _maps(network, params, images, names)})
    for name in names:
        layer = params[name]
        # First the scale of what passes the ReLU, so that the lift is large beside it; then what the ReLU would clip.
        square, _, _ = measure(params | prepared.frozen)[name]
        layer = {"kernel": layer["kernel"] / _usable(jnp.sqrt(square)), "bias": jnp.full_like(layer["bias"], LIFT)}
        _, mean, deviation = measure(params | {name: layer} | prepared.frozen)[name]
        deviation = _usable(deviation)
        layer = {"kernel": layer["kernel"] / deviation[None, None, None, :], "bias": (LIFT - mean) / deviation}
        params = params | {name: layer}
    return params


def new_layers(config: TrainingConfig, prepared: TrainingSetup) -> tuple[str, ...]:
    """Convolutions that start at random and whose maps are to be had, in the order of the network."""
    spec = prepared.network.spec
    layers = [layer.name for layer in (*spec.feature_layers, spec.cam_layer) if layer is not None]
    fresh = set() if config.weights else set(spec.head) if config.trunk else set(prepared.params)
    known = {name for name in fresh & set(prepared.params) if set(prepared.params[name]) == {"kernel", "bias"}}
    return tuple(name for name in dict.fromkeys(layers) if name in known and name != spec.classifier)


def _maps(
    network: Network, params: Params, images: UInt8[Array, "b h w 3"], names: tuple[str, ...]
) -> list[tuple[str, Array]]:
    maps = apply_network(network, params, images)[1]
    return [(name, maps[name]) for name in names]


def _moments(maps: Array) -> tuple[Array, Array, Array]:
    """The mean square of all, and each channel's mean and standard deviation."""
    mean = jnp.mean(maps, axis=(0, 1, 2))
    deviation = jnp.sqrt(jnp.mean(jnp.square(maps - mean[None, None, None, :]), axis=(0, 1, 2)))
    return jnp.mean(jnp.square(maps)), mean, deviation


def _usable(size: Array) -> Array:
    """1 where there is nothing to divide by."""
    return jnp.where(jnp.isfinite(size) & (size > 1e-4), size, 1.0)


def _pictures(config: TrainingConfig, prepared: TrainingSetup) -> Array:
    """Squares cut out of pictures spread evenly over the training set."""
    train = prepared.train
    chosen = range(0, len(train), -(-len(train) // PICTURES))
    return jnp.asarray(np.stack([center_crop(train[i][0], config.image_size) for i in chosen]))
