"""This module defines SqueezeNet 1.1 (Iandola et al. 2016; the release of forresti/SqueezeNet).

conv10 and its ReLU give one map for each class, and the map's average is the logit. So these maps are the class
activation maps, and no classifier follows. A logit is never negative; it is 0 for a class without evidence.
"""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from cwcf_jax.networks import layers, layouts
from cwcf_jax.networks.definition import define_network
from cwcf_jax.networks.preprocessing import TORCHVISION
from cwcf_jax.networks.spec import Layer, NetworkSpec, Preprocessing, Sizes, WeightLayout

# Output channels of the squeeze convolution and of each expand convolution, and the stride; a pool doubles the stride.
FIRES = {
    "fire2": (16, 64, 4),
    "fire3": (16, 64, 4),
    "fire4": (32, 128, 8),
    "fire5": (32, 128, 8),
    "fire6": (48, 192, 16),
    "fire7": (48, 192, 16),
    "fire8": (64, 256, 16),
    "fire9": (64, 256, 16),
}


class Fire(nnx.Module):
    """A `Fire` is a 1x1 convolution to few channels, followed by 1x1 and 3x3 convolutions with concatenated results."""

    def __init__(self, inputs: int, squeeze: int, expand: int, *, rngs: nnx.Rngs):
        self.squeeze1x1 = layers.Conv(inputs, squeeze, 1, rngs=rngs)
        self.expand1x1 = layers.Conv(squeeze, expand, 1, rngs=rngs)
        self.expand3x3 = layers.Conv(squeeze, expand, 3, rngs=rngs)

    def __call__(self, maps: layers.Maps, sizes: Sizes) -> layers.Maps:
        squeezed = layers.conv_relu(self.squeeze1x1, maps, sizes)
        expanded = [layers.conv_relu(conv, squeezed, sizes) for conv in (self.expand1x1, self.expand3x3)]
        return jnp.concatenate(expanded, axis=-1)


class SqueezeNet(nnx.Module):
    """`SqueezeNet` computes ``(inputs [b, h, w, 3], sizes [b, 2]) -> (logits [b, n], {layer: maps})``."""

    def __init__(self, rngs: nnx.Rngs, *, num_labels: int):
        self.conv1 = layers.Conv(3, 64, 3, stride=2, pad=False, rngs=rngs)
        inputs = 64
        for name, (squeeze, expand, _) in FIRES.items():
            setattr(self, name, Fire(inputs, squeeze, expand, rngs=rngs))
            inputs = 2 * expand
        self.conv10 = layers.Conv(inputs, num_labels, 1, rngs=rngs)

    def __call__(
        self, inputs: Float[Array, "b h w 3"], sizes: Sizes
    ) -> tuple[Float[Array, "b n"], dict[str, layers.Maps]]:
        size = map_sizes(sizes)
        # conv1 has no padding, so images of less than 3 x 3 pixels are padded to give one cell.
        padding = [(0, 0), *((0, max(0, 3 - side)) for side in inputs.shape[1:3]), (0, 0)]
        maps = layers.conv_relu(self.conv1, jnp.pad(inputs, padding), size["conv1"])
        activations, previous = {}, 2
        for name, (_, _, stride) in FIRES.items():
            if stride != previous:
                maps = layers.max_pool(maps, size[name], window=3, stride=2)
                previous = stride
            maps = activations[name] = getattr(self, name)(maps, size[name])
        maps = activations["conv10"] = layers.conv_relu(self.conv10, maps, size["conv10"])
        return layers.mean_pool(maps, size["conv10"]), activations


def map_sizes(sizes: Sizes) -> dict[str, Sizes]:
    """Returns the valid area of each layer's maps for images of these sizes."""
    result = {"conv1": layers.pooled_size(sizes, window=3, stride=2, round_up=False)}
    current, previous = result["conv1"], 2
    for name, (_, _, stride) in FIRES.items():
        if stride != previous:
            current = layers.pooled_size(current, window=3, stride=2)
            previous = stride
        result[name] = current
    return result | {"conv10": current}


PREPROCESSING = Preprocessing(channel_order="BGR", mean=(104.0, 117.0, 123.0))


def _layouts() -> tuple[WeightLayout, ...]:
    """Returns the layouts of the Caffe release, of its Keras port with the same names, and of torchvision."""
    branches = ("squeeze1x1", "expand1x1", "expand3x3")
    names = ["conv1", *(f"{fire}/{branch}" for fire in FIRES for branch in branches), "conv10"]
    released = {name: name for name in names}
    positions = dict(zip(FIRES, (3, 4, 6, 7, 9, 10, 11, 12), strict=True))  # torchvision numbers ReLUs and pools, too
    torchvision = {
        f"features.{positions[fire]}.{'squeeze' if branch == 'squeeze1x1' else branch}": f"{fire}/{branch}"
        for fire in FIRES
        for branch in branches
    }
    torchvision |= {"features.0": "conv1", "classifier.1": "conv10"}
    return (
        WeightLayout("caffe", layouts.caffe(released), PREPROCESSING),
        WeightLayout("keras", layouts.keras(released), PREPROCESSING),
        WeightLayout("torchvision", layouts.torch(torchvision), TORCHVISION),
    )


SQUEEZENET = define_network(
    NetworkSpec(
        name="squeezenet1_1",
        feature_layers=tuple(Layer(name, 2 * expand, stride) for name, (_, expand, stride) in FIRES.items()),
        feature_layer="fire9",
        cam_layer=Layer("conv10", 1000, 16),
        classifier=None,
        head=("conv10",),
        preprocessing=PREPROCESSING,
    ),
    SqueezeNet,
    map_sizes,
    _layouts,
)
