"""This module defines ResNet-50 (He et al. 2016) as in torchvision: strides on 3x3 convolutions, pools that round down.

ResNet-50 has class activation maps without any change: layer4 feeds global average pooling and one linear classifier.
When weights are loaded, batch normalisations are folded into the convolutions before them.
"""

import jax
from flax import nnx
from jaxtyping import Array, Float

from cwcf_jax.networks import layers, layouts
from cwcf_jax.networks.definition import define_network
from cwcf_jax.networks.preprocessing import TORCHVISION
from cwcf_jax.networks.spec import Layer, NetworkSpec, Sizes, WeightLayout

# He et al. 2016, table 1: the number of blocks and the inner channels of each layer.
LAYERS = {"layer1": (3, 64), "layer2": (4, 128), "layer3": (6, 256), "layer4": (3, 512)}
EXPANSION = 4
"""The output channels of a block, divided by its inner channels."""


class Bottleneck(nnx.Module):
    """A `Bottleneck` adds its input to the result of 1x1, 3x3 and 1x1 convolutions.

    If the shape changes, the input passes through a 1x1 convolution.
    """

    def __init__(self, inputs: int, inner: int, *, stride: int, rngs: nnx.Rngs):
        outputs = EXPANSION * inner
        self.conv1 = layers.Conv(inputs, inner, 1, rngs=rngs)
        self.conv2 = layers.Conv(inner, inner, 3, stride=stride, rngs=rngs)
        self.conv3 = layers.Conv(inner, outputs, 1, rngs=rngs)
        self.projects = inputs != outputs or stride != 1
        if self.projects:
            self.downsample = layers.Conv(inputs, outputs, 1, stride=stride, rngs=rngs)

    def __call__(self, maps: layers.Maps, sizes_in: Sizes, sizes: Sizes) -> layers.Maps:
        shortcut = self.downsample(maps) if self.projects else maps
        maps = layers.conv_relu(self.conv1, maps, sizes_in)
        maps = layers.conv_relu(self.conv2, maps, sizes)
        return layers.zero_margin(jax.nn.relu(self.conv3(maps) + shortcut), sizes)


class ResNet50(nnx.Module):
    """`ResNet50` computes ``(inputs [b, h, w, 3], sizes [b, 2]) -> (logits [b, n], {layer: maps})``."""

    def __init__(self, rngs: nnx.Rngs, *, num_labels: int):
        self.conv1 = layers.Conv(3, 64, 7, stride=2, rngs=rngs)
        inputs = 64
        for name, (count, inner) in LAYERS.items():
            for i in range(count):
                stride = 2 if i == 0 and name != "layer1" else 1
                setattr(self, f"{name}_{i}", Bottleneck(inputs, inner, stride=stride, rngs=rngs))
                inputs = EXPANSION * inner
        self.classifier = layers.Dense(inputs, num_labels, rngs=rngs)

    def __call__(
        self, inputs: Float[Array, "b h w 3"], sizes: Sizes
    ) -> tuple[Float[Array, "b n"], dict[str, layers.Maps]]:
        size = map_sizes(sizes)
        maps = layers.conv_relu(self.conv1, inputs, size["conv1"])
        maps = layers.max_pool(maps, size["layer1"], window=3, stride=2, pad=1, round_up=False)
        activations, previous = {}, "layer1"
        for name, (count, _) in LAYERS.items():
            for i in range(count):
                maps = getattr(self, f"{name}_{i}")(maps, size[previous], size[name])
                previous = name
            activations[name] = maps
        return self.classifier(layers.mean_pool(maps, size["layer4"])), activations


def map_sizes(sizes: Sizes) -> dict[str, Sizes]:
    """Returns the valid area of each layer's maps for images of these sizes."""
    result = {"conv1": layers.strided_size(sizes, stride=2)}
    result["layer1"] = layers.pooled_size(result["conv1"], window=3, stride=2, pad=1, round_up=False)
    for previous, name in zip(list(LAYERS), list(LAYERS)[1:], strict=False):
        result[name] = layers.strided_size(result[previous], stride=2)
    return result


def _layouts() -> tuple[WeightLayout, ...]:
    """Returns the layout of torchvision's `resnet50`."""
    convolutions, norms = {"conv1": "conv1"}, {"bn1": "conv1"}
    for name, (count, _) in LAYERS.items():
        for i in range(count):
            convolutions |= {f"{name}.{i}.conv{j}": f"{name}_{i}/conv{j}" for j in (1, 2, 3)}
            norms |= {f"{name}.{i}.bn{j}": f"{name}_{i}/conv{j}" for j in (1, 2, 3)}
        convolutions[f"{name}.0.downsample.0"] = norms[f"{name}.0.downsample.1"] = f"{name}_0/downsample"
    table = layouts.torch(convolutions, bias=False) | layouts.torch_norm(norms)
    table |= layouts.torch({"fc": "classifier"}, transform=layouts.dense)
    return (WeightLayout("torchvision", table, TORCHVISION, ignored=("*.num_batches_tracked",)),)


RESNET50 = define_network(
    NetworkSpec(
        name="resnet50",
        feature_layers=tuple(
            Layer(name, EXPANSION * inner, 4 * 2**i) for i, (name, (_, inner)) in enumerate(LAYERS.items())
        ),
        feature_layer="layer4",
        cam_layer=Layer("layer4", EXPANSION * LAYERS["layer4"][1], 32),
        classifier="classifier",
        head=("classifier",),
        preprocessing=TORCHVISION,
    ),
    ResNet50,
    map_sizes,
    _layouts,
)
