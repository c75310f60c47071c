"""This module defines DecomposeMe, which splits every convolution into a vertical and a horizontal convolution.

Alvarez & Petersson 2016 (arXiv:1606.05426) replace a d x d convolution by d x 1, ReLU, 1 x d, ReLU. The paper shows
class activation maps of such a network (Figure 2). Neither its weights nor a table of its layers are published, so all
else is inferred: the eight convolutions of VGG's configuration A (Simonyan & Zisserman 2015, table 1), with as many
channels between the two convolutions of a pair as after them; no pool after the last block; global average pooling and
one linear classifier; no batch normalisation, or a folded one. `experiments.train_cam` trains this network.
"""

import functools

from flax import nnx
from jaxtyping import Array, Float

from cwcf_jax.networks import layers, vgg
from cwcf_jax.networks.definition import define_network
from cwcf_jax.networks.preprocessing import TORCHVISION
from cwcf_jax.networks.spec import NetworkSpec, Sizes

BLOCKS = ((64, 1), (128, 1), (256, 2), (512, 2), (512, 2))
CONVOLUTIONS = vgg.convolutions(BLOCKS)


class SeparableConv(nnx.Module):
    """A `SeparableConv` is a 3 x 1 convolution, a ReLU, a 1 x 3 convolution and a ReLU."""

    def __init__(self, inputs: int, outputs: int, *, rngs: nnx.Rngs):
        self.vertical = layers.Conv(inputs, outputs, (3, 1), rngs=rngs)
        self.horizontal = layers.Conv(outputs, outputs, (1, 3), rngs=rngs)

    def __call__(self, maps: layers.Maps, sizes: Sizes) -> layers.Maps:
        return layers.conv_relu(self.horizontal, layers.conv_relu(self.vertical, maps, sizes), sizes)


class DecomposeMe(nnx.Module):
    """`DecomposeMe` computes ``(inputs [b, h, w, 3], sizes [b, 2]) -> (logits [b, n], {layer: maps})``."""

    def __init__(self, rngs: nnx.Rngs, *, num_labels: int):
        inputs = 3
        for layer in CONVOLUTIONS:
            setattr(self, layer.name, SeparableConv(inputs, layer.channels, rngs=rngs))
            inputs = layer.channels
        self.classifier = layers.Dense(inputs, num_labels, rngs=rngs)

    def __call__(
        self, inputs: Float[Array, "b h w 3"], sizes: Sizes
    ) -> tuple[Float[Array, "b n"], dict[str, layers.Maps]]:
        size = _map_sizes(sizes)
        maps, activations, previous = inputs, {}, 1
        for name, stride in ((layer.name, layer.stride) for layer in CONVOLUTIONS):
            if stride != previous:
                maps = layers.max_pool(maps, size[name], window=2, stride=2)
                previous = stride
            maps = activations[name] = getattr(self, name)(maps, size[name])
        return self.classifier(layers.mean_pool(maps, size[name])), activations


_map_sizes = functools.partial(vgg.map_sizes, blocks=BLOCKS)

DECOMPOSEME = define_network(
    NetworkSpec(
        name="decomposeme",
        feature_layers=CONVOLUTIONS,
        feature_layer=CONVOLUTIONS[-1].name,
        cam_layer=CONVOLUTIONS[-1],
        classifier="classifier",
        head=("classifier",),
        preprocessing=TORCHVISION,
    ),
    DecomposeMe,
    _map_sizes,
    tuple,
)
