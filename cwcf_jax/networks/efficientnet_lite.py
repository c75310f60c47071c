"""EfficientNet-Lite0, 1 and 2 (Tan & Le 2019, without squeeze-excitation and with ReLU6, as Google released them).

The structure is that of tensorflow/tpu, models/official/efficientnet/lite, and its conversion to PyTorch,
`efficientnet-lite-pytorch`. A CAM network as it stands: the head convolution's ReLU6 feeds global average pooling and
one linear classifier. Batch normalisations are folded into the convolutions before them when weights are loaded.

The release pads each layer of stride 2 by the parity of its map's sides. Here the padding starts at a fixed place
(`networks.depthwise`), which is the same where all sides are even.
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
"""Outputs of the first and of the last convolution, whatever the width of the network."""

# Tan & Le 2019, table 1: blocks, kernel, stride, expansion and outputs of each stage.
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
    """An inverted residual block.

    Attributes:
        inputs: channels.
        inner: channels of its depthwise layer.
        outputs: channels.
        kernel: side of the depthwise layer's filters, in cells.
        stride: of the depthwise layer.
        reached: pixels of the image that one step on the block's input covers.
    """

    inputs: int
    inner: int
    outputs: int
    kernel: int
    stride: int
    reached: int


def blocks(width: float, depth: float) -> tuple[Block, ...]:
    """All blocks in order, numbered as in the release; the first and the last stage are never repeated more."""
    found: list[Block] = []
    inputs, reached = STEM, 2
    for i, (repeats, kernel, stride, expansion, outputs) in enumerate(STAGES):
        count = repeats if i in (0, len(STAGES) - 1) else math.ceil(depth * repeats)
        for step in [stride] + [1] * (count - 1):
            found.append(Block(inputs, expansion * inputs, rounded(width * outputs), kernel, step, reached))
            inputs, reached = found[-1].outputs, reached * step
    return tuple(found)


def rounded(channels: float) -> int:
    """The nearest multiple of 8, one more where that is less than .9 of ``channels``."""
    nearest = int(channels + 4) // 8 * 8
    return nearest + 8 if nearest < 0.9 * channels else nearest


def expansions(blocks: tuple[Block, ...]) -> dict[int, Layer]:
    """The last expansion at each stride from 4 on, by the number of its block: first of a stage, and widest there."""
    last = {block.reached: i for i, block in enumerate(blocks) if block.stride > 1 or block.reached == 32}
    last = {reached: i for reached, i in last.items() if reached >= 4}
    return {i: Layer(f"expansion{reached}", blocks[i].inner, reached) for reached, i in last.items()}


class InvertedResidual(nnx.Module):
    """A wider map by a 1x1 convolution, a depthwise layer on it, and back by another 1x1 convolution."""

    def __init__(self, block: Block, *, rngs: nnx.Rngs):
        self.expands = block.inner != block.inputs
        if self.expands:
            self.expand = layers.Conv(block.inputs, block.inner, 1, rngs=rngs)
        self.depthwise = depthwise.DepthwiseConv(block.inner, block.kernel, stride=block.stride, rngs=rngs)
        self.project = layers.Conv(block.inner, block.outputs, 1, rngs=rngs)
        self.adds = block.stride == 1 and block.inputs == block.outputs

    def __call__(self, maps: layers.Maps, sizes: Sizes) -> tuple[layers.Maps, layers.Maps]:
        """The expansion, zero outside the valid area of ``sizes``, and the result, which is not: 1x1 layers read it."""
        wide = depthwise.relu6(self.expand(maps), sizes) if self.expands else maps
        found = self.project(depthwise.clip(self.depthwise(wide)))
        return wide, maps + found if self.adds else found


class EfficientNetLite(nnx.Module):
    """``(inputs [b, h, w, 3], sizes [b, 2]) -> (logits [b, n], {layer: maps})``."""

    def __init__(self, rngs: nnx.Rngs, *, num_labels: int, width: float, depth: float):
        structure = blocks(width, depth)
        named = expansions(structure)
        self.names = tuple(named[i].name if i in named else "" for i in range(len(structure)))
        self.stem = layers.Conv(3, STEM, 3, stride=2, pad=False, rngs=rngs)
        for i, block in enumerate(structure):
            setattr(self, f"block{i}", InvertedResidual(block, rngs=rngs))
        self.head = layers.Conv(structure[-1].outputs, HEAD, 1, rngs=rngs)
        self.classifier = layers.Dense(HEAD, num_labels, rngs=rngs)

    def __call__(
        self, inputs: Float[Array, "b h w 3"], sizes: Sizes
    ) -> tuple[Float[Array, "b n"], dict[str, layers.Maps]]:
        size = layers.strided_size(sizes, stride=2)
        maps = layers.zero_margin(depthwise.clip(self.stem(depthwise.pad(inputs, 3, 2))), size)
        activations = {}
        for i, name in enumerate(self.names):
            block = getattr(self, f"block{i}")
            wide, maps = block(maps, size)
            size = layers.strided_size(size, stride=block.depthwise.stride)
            if name:
                activations[name] = wide
        maps = activations["head"] = depthwise.relu6(self.head(maps), size)
        return self.classifier(layers.mean_pool(maps, size)), activations


def map_sizes(sizes: Sizes) -> dict[str, Sizes]:
    """The valid area of each map for images of the given sizes."""
    halved = list(itertools.accumulate(range(5), lambda size, _: layers.strided_size(size, stride=2), initial=sizes))
    result = {f"expansion{2**i}": halved[i] for i in range(2, 6)}
    return result | {"head": halved[5]}


def _layouts(width: float, depth: float) -> tuple[WeightLayout, ...]:
    """`efficientnet-lite-pytorch` and its packages of weights; a block without expansion counts from ``_bn1``, too."""
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
