"""DenseNet-161 (Huang et al. 2017) as in torchvision, pools rounding down.

A CAM network as it stands: ReLU(norm5) feeds global average pooling and one linear classifier. When weights are loaded,
a batch normalisation is folded into the convolution before it; one that follows a concatenation stays as a scale and a
bias per channel.
"""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from cwcf_jax.networks import layers, layouts
from cwcf_jax.networks.definition import define_network
from cwcf_jax.networks.preprocessing import TORCHVISION
from cwcf_jax.networks.spec import Layer, NetworkSpec, Sizes, WeightLayout

# Huang et al. 2017, table 1 and torchvision: layers of each block, channels a layer adds, channels before the first.
BLOCKS = (6, 12, 36, 24)
GROWTH = 48
FIRST = 96
BOTTLENECK = 4


def _widths() -> tuple[int, ...]:
    """Channels after each block; a transition halves them."""
    widths, inputs = [], FIRST
    for count in BLOCKS:
        widths.append(inputs + count * GROWTH)
        inputs = widths[-1] // 2
    return tuple(widths)


WIDTHS = _widths()
NORMS = ("transition1", "transition2", "transition3", "norm5")
"""The normalised, rectified maps after each block."""


class DenseLayer(nnx.Module):
    """Norm, ReLU, 1x1 convolution, ReLU, 3x3 convolution: the channels that one layer adds."""

    def __init__(self, inputs: int, *, rngs: nnx.Rngs):
        self.norm1 = layers.Affine(inputs, rngs=rngs)
        self.conv1 = layers.Conv(inputs, BOTTLENECK * GROWTH, 1, rngs=rngs)
        self.conv2 = layers.Conv(BOTTLENECK * GROWTH, GROWTH, 3, bias=False, rngs=rngs)

    def __call__(self, maps: layers.Maps, sizes: Sizes) -> layers.Maps:
        maps = layers.affine_relu(self.norm1, maps, sizes)
        maps = layers.conv_relu(self.conv1, maps, sizes)
        return layers.zero_margin(self.conv2(maps), sizes)


class DenseNet161(nnx.Module):
    """``(inputs [b, h, w, 3], sizes [b, 2]) -> (logits [b, n], {layer: maps})``."""

    def __init__(self, rngs: nnx.Rngs, *, num_labels: int):
        self.conv0 = layers.Conv(3, FIRST, 7, stride=2, rngs=rngs)
        inputs = FIRST
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
                # torchvision convolves before it pools; both are linear, and this way costs a quarter.
                maps = layers.mean_pool_2x2(maps, size[norm])
                maps = getattr(self, f"{NORMS[block - 2]}_conv")(maps)
            for i in range(1, count + 1):
                added = getattr(self, f"block{block}_{i}")(maps, size[norm])
                maps = jnp.concatenate([maps, added], axis=-1)
            maps = activations[norm] = layers.affine_relu(getattr(self, norm), maps, size[norm])
        return self.classifier(layers.mean_pool(maps, size["norm5"])), activations


def map_sizes(sizes: Sizes) -> dict[str, Sizes]:
    """The valid area of each map for images of the given sizes."""
    result = {"conv0": layers.strided_size(sizes, stride=2)}
    current = layers.pooled_size(result["conv0"], window=3, stride=2, pad=1, round_up=False)
    for norm in NORMS:
        result[norm] = current
        current = layers.pooled_size(current, window=2, stride=2, round_up=False)
    return result


def _layouts() -> tuple[WeightLayout, ...]:
    """torchvision's `densenet161`; its released file still has the older names, ``norm.1`` for ``norm1``."""
    return tuple(
        WeightLayout(name, _table(dot), TORCHVISION, ignored=("*.num_batches_tracked",))
        for name, dot in (("torchvision", ""), ("torchvision, older names", "."))
    )


def _table(dot: str) -> layouts.Table:
    convolutions, norms = {"features.conv0": "conv0"}, {"features.norm0": "conv0", "features.norm5": "norm5"}
    for block, count in enumerate(BLOCKS, start=1):
        for i in range(1, count + 1):
            theirs, ours = f"features.denseblock{block}.denselayer{i}", f"block{block}_{i}"
            convolutions |= {f"{theirs}.conv{dot}{j}": f"{ours}/conv{j}" for j in (1, 2)}
            # The second norm follows the first convolution and goes into it.
            norms |= {f"{theirs}.norm{dot}1": f"{ours}/norm1", f"{theirs}.norm{dot}2": f"{ours}/conv1"}
    for norm in NORMS[:-1]:
        convolutions[f"features.{norm}.conv"], norms[f"features.{norm}.norm"] = f"{norm}_conv", norm
    table = layouts.torch(convolutions, bias=False) | layouts.torch_norm(norms)
    return table | layouts.torch({"classifier": "classifier"}, transform=layouts.dense)


DENSENET161 = define_network(
    NetworkSpec(
        name="densenet161",
        feature_layers=tuple(Layer(name, WIDTHS[i], 4 * 2**i) for i, name in enumerate(NORMS)),
        feature_layer="norm5",
        cam_layer=Layer("norm5", WIDTHS[-1], 32),
        classifier="classifier",
        head=("classifier",),
        preprocessing=TORCHVISION,
    ),
    DenseNet161,
    map_sizes,
    _layouts,
)
