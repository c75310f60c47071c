"""This module defines DenseNet-161 (Huang et al. 2017) as in torchvision, with pools that round down.

DenseNet-161 has class activation maps without any change: ReLU(norm5) feeds global average pooling and one linear
classifier. When weights are loaded, each batch normalisation is folded into the convolution before it. A batch
normalisation after a concatenation stays as a scale and a bias for each channel.
"""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from cwcf_jax.networks import layers, layouts
from cwcf_jax.networks.definition import define_network
from cwcf_jax.networks.preprocessing import TORCHVISION
from cwcf_jax.networks.spec import Layer, NetworkSpec, Sizes, WeightLayout

# Huang et al. 2017, table 1, and torchvision.
BLOCKS = (6, 12, 36, 24)
"""The number of dense layers of each block."""
GROWTH = 48
"""The number of channels that each dense layer adds."""
STEM_CHANNELS = 96
"""The number of channels before the first block."""
BOTTLENECK = 4
"""The channels of a layer's 1x1 convolution, divided by `GROWTH`."""


def _block_outputs() -> tuple[int, ...]:
    """Returns the number of channels after each block; each transition halves the channels."""
    outputs, inputs = [], STEM_CHANNELS
    for count in BLOCKS:
        outputs.append(inputs + count * GROWTH)
        inputs = outputs[-1] // 2
    return tuple(outputs)


BLOCK_OUTPUTS = _block_outputs()
NORMS = ("transition1", "transition2", "transition3", "norm5")
"""The names of the normalised and rectified maps after each block."""


class DenseLayer(nnx.Module):
    """A `DenseLayer` computes `GROWTH` new channels: scale and bias, ReLU, 1x1 convolution, ReLU, 3x3 convolution."""

    def __init__(self, inputs: int, *, rngs: nnx.Rngs):
        self.norm1 = layers.Affine(inputs, rngs=rngs)
        self.conv1 = layers.Conv(inputs, BOTTLENECK * GROWTH, 1, rngs=rngs)
        self.conv2 = layers.Conv(BOTTLENECK * GROWTH, GROWTH, 3, bias=False, rngs=rngs)

    def __call__(self, maps: layers.Maps, sizes: Sizes) -> layers.Maps:
        maps = layers.affine_relu(self.norm1, maps, sizes)
        maps = layers.conv_relu(self.conv1, maps, sizes)
        return layers.zero_margin(self.conv2(maps), sizes)


class DenseNet161(nnx.Module):
    """`DenseNet161` computes ``(inputs [b, h, w, 3], sizes [b, 2]) -> (logits [b, n], {layer: maps})``."""

    def __init__(self, rngs: nnx.Rngs, *, num_labels: int):
        self.conv0 = layers.Conv(3, STEM_CHANNELS, 7, stride=2, rngs=rngs)
        inputs = STEM_CHANNELS
        for block, count in enumerate(BLOCKS, start=1):
            for i in range(1, count + 1):
                setattr(self, f"block{block}_{i}", DenseLayer(inputs, rngs=rngs))
                inputs += GROWTH
            norm = NORMS[block - 1]
            setattr(self, norm, layers.Affine(inputs, rngs=rngs))
            if norm != "norm5":
                setattr(self, f"{norm}_conv", layers.Conv(inputs, inputs // 2, 1, bias=False, rngs=rngs))
                inputs //= 2
        self.classifier = layers.Dense(inputs, num_labels, rngs=rngs)

    def __call__(
        self, inputs: Float[Array, "b h w 3"], sizes: Sizes
    ) -> tuple[Float[Array, "b n"], dict[str, layers.Maps]]:
        size = map_sizes(sizes)
        maps = layers.conv_relu(self.conv0, inputs, size["conv0"])
        maps = layers.max_pool(maps, size["transition1"], window=3, stride=2, pad=1, round_up=False)
        activations = {}
        for block, (count, norm) in enumerate(zip(BLOCKS, NORMS, strict=True), start=1):
            if block > 1:
                # torchvision convolves first. Both steps are linear, and pooling first costs a quarter of the time.
                maps = layers.mean_pool_2x2(maps, size[norm])
                maps = getattr(self, f"{NORMS[block - 2]}_conv")(maps)
            for i in range(1, count + 1):
                new_channels = getattr(self, f"block{block}_{i}")(maps, size[norm])
                maps = jnp.concatenate([maps, new_channels], axis=-1)
            maps = activations[norm] = layers.affine_relu(getattr(self, norm), maps, size[norm])
        return self.classifier(layers.mean_pool(maps, size["norm5"])), activations


def map_sizes(sizes: Sizes) -> dict[str, Sizes]:
    """Returns the valid area of each layer's maps for images of these sizes."""
    result = {"conv0": layers.strided_size(sizes, stride=2)}
    current = layers.pooled_size(result["conv0"], window=3, stride=2, pad=1, round_up=False)
    for norm in NORMS:
        result[norm] = current
        current = layers.pooled_size(current, window=2, stride=2, round_up=False)
    return result


def _layouts() -> tuple[WeightLayout, ...]:
    """Returns the layouts of torchvision's `densenet161`, with today's names and the released file's (``norm.1``)."""
    return tuple(
        WeightLayout(name, _table(dot), TORCHVISION, ignored=("*.num_batches_tracked",))
        for name, dot in (("torchvision", ""), ("torchvision, older names", "."))
    )


def _table(dot: str) -> layouts.Table:
    convolutions, norms = {"features.conv0": "conv0"}, {"features.norm0": "conv0", "features.norm5": "norm5"}
    for block, count in enumerate(BLOCKS, start=1):
        for i in range(1, count + 1):
            source, target = f"features.denseblock{block}.denselayer{i}", f"block{block}_{i}"
            convolutions |= {f"{source}.conv{dot}{j}": f"{target}/conv{j}" for j in (1, 2)}
            # The second norm follows the first convolution and is folded into this convolution.
            norms |= {f"{source}.norm{dot}1": f"{target}/norm1", f"{source}.norm{dot}2": f"{target}/conv1"}
    for norm in NORMS[:-1]:
        convolutions[f"features.{norm}.conv"], norms[f"features.{norm}.norm"] = f"{norm}_conv", norm
    table = layouts.torch(convolutions, bias=False) | layouts.torch_norm(norms)
    return table | layouts.torch({"classifier": "classifier"}, transform=layouts.dense)


DENSENET161 = define_network(
    NetworkSpec(
        name="densenet161",
        feature_layers=tuple(Layer(name, BLOCK_OUTPUTS[i], 4 * 2**i) for i, name in enumerate(NORMS)),
        feature_layer="norm5",
        cam_layer=Layer("norm5", BLOCK_OUTPUTS[-1], 32),
        classifier="classifier",
        head=("classifier",),
        preprocessing=TORCHVISION,
    ),
    DenseNet161,
    map_sizes,
    _layouts,
)
