"""This module defines EfficientNet-Lite0, 1 and 2: Tan & Le 2019, without squeeze-excitation and with ReLU6.

The layers are those of Google's release (tensorflow/tpu, models/official/efficientnet/lite) and of its conversion to
PyTorch, `efficientnet-lite-pytorch`. The networks have class activation maps without any change: the ReLU6 of the head
convolution feeds global average pooling and one linear classifier. When weights are loaded, batch normalisations are
folded into the convolutions before them.

The release pads each layer of stride 2 by the parity of its map's sides. Here the padding before a map does not depend
on the size (see `networks.depthwise`), which gives the same results where all sides are even.
"""

import dataclasses
import functools
import itertools
import math

from flax import nnx
from jaxtyping import Array, Float

from cwcf_jax.networks import depthwise, layers, layouts
from cwcf_jax.networks.definition import define_network
from cwcf_jax.networks.spec import Layer, Network, NetworkSpec, Preprocessing, Sizes, WeightLayout

PREPROCESSING = Preprocessing(channel_order="RGB", mean=(127.0, 127.0, 127.0), scale=(1 / 128, 1 / 128, 1 / 128))

STEM, HEAD = 32, 1280
"""The output channels of the first and of the last convolution, which do not depend on the network's width."""

# Tan & Le 2019, table 1: blocks, kernel, stride, expansion factor and output channels of each stage.
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


@dataclasses.dataclass(frozen=True)
class Block:
    """A `Block` describes one inverted residual block.

    Attributes:
        inputs: input channels of the block.
        inner: channels of the depthwise layer.
        outputs: output channels of the block.
        kernel: side of the depthwise layer's filters, in cells.
        stride: stride of the depthwise layer.
        reached: stride of the block's input: the pixels of the image that one of its cells covers.
    """

    inputs: int
    inner: int
    outputs: int
    kernel: int
    stride: int
    reached: int


def blocks(width: float, depth: float) -> tuple[Block, ...]:
    """Returns all blocks in the order of the release.

    Args:
        width: factor of the output channels of each stage.
        depth: factor of the number of blocks of each stage except the first and the last.
    """
    result: list[Block] = []
    inputs, input_stride = STEM, 2
    for i, (repeats, kernel, stride, expansion, outputs) in enumerate(STAGES):
        count = repeats if i in (0, len(STAGES) - 1) else math.ceil(depth * repeats)
        for block_stride in [stride] + [1] * (count - 1):
            inner, rounded_outputs = expansion * inputs, round_channels(width * outputs)
            result.append(Block(inputs, inner, rounded_outputs, kernel, block_stride, input_stride))
            inputs, input_stride = rounded_outputs, input_stride * block_stride
    return tuple(result)


def round_channels(channels: float) -> int:
    """Returns the nearest multiple of 8, or the next larger one if the nearest is below 0.9 of ``channels``."""
    nearest = int(channels + 4) // 8 * 8
    return nearest + 8 if nearest < 0.9 * channels else nearest


def expansions(blocks: tuple[Block, ...]) -> dict[int, Layer]:
    """Returns the last expanded map at each stride of 4 to 32, by the index of its block."""
    last = {block.reached: i for i, block in enumerate(blocks) if block.stride > 1 or block.reached == 32}
    last = {stride: i for stride, i in last.items() if stride >= 4}
    return {i: Layer(f"expansion{stride}", blocks[i].inner, stride) for stride, i in last.items()}


class InvertedResidual(nnx.Module):
    """An `InvertedResidual` is a 1x1 convolution to more channels, a depthwise layer, and another 1x1 convolution."""

    def __init__(self, block: Block, *, rngs: nnx.Rngs):
        self.expands = block.inner != block.inputs
        if self.expands:
            self.expand = layers.Conv(block.inputs, block.inner, 1, rngs=rngs)
        self.depthwise = depthwise.DepthwiseConv(block.inner, block.kernel, stride=block.stride, rngs=rngs)
        self.project = layers.Conv(block.inner, block.outputs, 1, rngs=rngs)
        self.adds = block.stride == 1 and block.inputs == block.outputs

    def __call__(self, maps: layers.Maps, sizes: Sizes) -> tuple[layers.Maps, layers.Maps]:
        """Returns the expanded maps, zero outside the valid area, and the results.

        The results are not zero outside the valid area, since only 1x1 convolutions read them.
        """
        expanded = depthwise.relu6(self.expand(maps), sizes) if self.expands else maps
        projected = self.project(depthwise.clip(self.depthwise(expanded)))
        return expanded, maps + projected if self.adds else projected


class EfficientNetLite(nnx.Module):
    """`EfficientNetLite` computes ``(inputs [b, h, w, 3], sizes [b, 2]) -> (logits [b, n], {layer: maps})``."""

    def __init__(self, rngs: nnx.Rngs, *, num_labels: int, width: float, depth: float):
        all_blocks = blocks(width, depth)
        feature_layers = expansions(all_blocks)
        self.names = tuple(feature_layers[i].name if i in feature_layers else "" for i in range(len(all_blocks)))
        self.stem = layers.Conv(3, STEM, 3, stride=2, pad=False, rngs=rngs)
        for i, block in enumerate(all_blocks):
            setattr(self, f"block{i}", InvertedResidual(block, rngs=rngs))
        self.head = layers.Conv(all_blocks[-1].outputs, HEAD, 1, rngs=rngs)
        self.classifier = layers.Dense(HEAD, num_labels, rngs=rngs)

    def __call__(
        self, inputs: Float[Array, "b h w 3"], sizes: Sizes
    ) -> tuple[Float[Array, "b n"], dict[str, layers.Maps]]:
        size = layers.strided_size(sizes, stride=2)
        maps = layers.zero_margin(depthwise.clip(self.stem(depthwise.pad(inputs, 3, 2))), size)
        activations = {}
        for i, name in enumerate(self.names):
            block = getattr(self, f"block{i}")
            expanded, maps = block(maps, size)
            size = layers.strided_size(size, stride=block.depthwise.stride)
            if name:
                activations[name] = expanded
        maps = activations["head"] = depthwise.relu6(self.head(maps), size)
        return self.classifier(layers.mean_pool(maps, size)), activations


def map_sizes(sizes: Sizes) -> dict[str, Sizes]:
    """Returns the valid area of each layer's maps for images of these sizes."""
    halved = list(itertools.accumulate(range(5), lambda size, _: layers.strided_size(size, stride=2), initial=sizes))
    result = {f"expansion{2**i}": halved[i] for i in range(2, 6)}
    return result | {"head": halved[5]}


def _layouts(width: float, depth: float) -> tuple[WeightLayout, ...]:
    """Returns the layout of `efficientnet-lite-pytorch`, where blocks without expansion have no ``_bn0``."""
    convolutions, norms = {"_conv_stem": "stem"}, {"_bn0": "stem"}
    for i, block in enumerate(blocks(width, depth)):
        parts = ("expand", "depthwise", "project")
        for j, part in enumerate(parts):
            if part != "expand" or block.inner != block.inputs:
                convolutions[f"_blocks.{i}._{part}_conv"] = norms[f"_blocks.{i}._bn{j}"] = f"block{i}/{part}"
    convolutions["_conv_head"] = norms["_bn1"] = "head"
    table = layouts.torch(convolutions, bias=False) | layouts.torch_norm(norms)
    table |= layouts.torch({"_fc": "classifier"}, transform=layouts.dense)
    return (WeightLayout("torch", table, PREPROCESSING, ignored=("*.num_batches_tracked",), epsilon=1e-3),)


def _network(name: str, *, width: float, depth: float) -> Network:
    head = Layer("head", HEAD, 32)
    return define_network(
        NetworkSpec(
            name=name,
            feature_layers=(*expansions(blocks(width, depth)).values(), head),
            feature_layer="expansion16",
            cam_layer=head,
            classifier="classifier",
            head=("classifier",),
            preprocessing=PREPROCESSING,
            pooling="gem",
        ),
        functools.partial(EfficientNetLite, width=width, depth=depth),
        map_sizes,
        functools.partial(_layouts, width, depth),
    )


EFFICIENTNET_LITE0 = _network("efficientnet_lite0", width=1.0, depth=1.0)
EFFICIENTNET_LITE1 = _network("efficientnet_lite1", width=1.0, depth=1.1)
EFFICIENTNET_LITE2 = _network("efficientnet_lite2", width=1.1, depth=1.2)
