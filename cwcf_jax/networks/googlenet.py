"""GoogLeNet as released with Caffe (Szegedy et al. 2015, table 1; `bvlc_googlenet`).

A CAM network as it stands: inception_5b feeds global average pooling and one linear classifier.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from cwcf_jax.networks import layers
from cwcf_jax.networks.spec import Layer, Network, NetworkSpec, Preprocessing, Sizes

# Outputs of the branches: 1x1, 3x3 reduce, 3x3, 5x5 reduce, 5x5, pool projection (table 1).
INCEPTIONS = {
    "inception_3a": (64, 96, 128, 16, 32, 32),
    "inception_3b": (128, 128, 192, 32, 96, 64),
    "inception_4a": (192, 96, 208, 16, 48, 64),
    "inception_4b": (160, 112, 224, 24, 64, 64),
    "inception_4c": (128, 128, 256, 24, 64, 64),
    "inception_4d": (112, 144, 288, 32, 64, 64),
    "inception_4e": (256, 160, 320, 32, 128, 128),
    "inception_5a": (256, 160, 320, 32, 128, 128),
    "inception_5b": (384, 192, 384, 48, 128, 128),
}
STRIDES = {"3": 8, "4": 16, "5": 32}


def _channels(name: str) -> int:
    one, _, three, _, five, pool = INCEPTIONS[name]
    return one + three + five + pool


def _layer(name: str) -> Layer:
    return Layer(name, _channels(name), STRIDES[name[len("inception_")]])


class Inception(nnx.Module):
    """Four branches side by side, concatenated."""

    def __init__(self, inputs: int, widths: tuple[int, int, int, int, int, int], *, rngs: nnx.Rngs):
        one, three_reduce, three, five_reduce, five, pool = widths
        self.conv1x1 = layers.Conv(inputs, one, 1, rngs=rngs)
        self.conv3x3_reduce = layers.Conv(inputs, three_reduce, 1, rngs=rngs)
        self.conv3x3 = layers.Conv(three_reduce, three, 3, rngs=rngs)
        self.conv5x5_reduce = layers.Conv(inputs, five_reduce, 1, rngs=rngs)
        self.conv5x5 = layers.Conv(five_reduce, five, 5, rngs=rngs)
        self.pool_projection = layers.Conv(inputs, pool, 1, rngs=rngs)

    def __call__(self, maps: layers.Maps, sizes: Sizes) -> layers.Maps:
        three = layers.conv_relu(self.conv3x3_reduce, maps, sizes)
        five = layers.conv_relu(self.conv5x5_reduce, maps, sizes)
        pooled = layers.max_pool(maps, sizes, window=3, stride=1, pad=1)
        branches = [
            layers.conv_relu(self.conv1x1, maps, sizes),
            layers.conv_relu(self.conv3x3, three, sizes),
            layers.conv_relu(self.conv5x5, five, sizes),
            layers.conv_relu(self.pool_projection, pooled, sizes),
        ]
        return jnp.concatenate(branches, axis=-1)


class GoogLeNet(nnx.Module):
    """``(inputs [b, h, w, 3], sizes [b, 2]) -> (logits [b, 1000], {layer: maps})``."""

    def __init__(self, rngs: nnx.Rngs):
        self.conv1 = layers.Conv(3, 64, 7, stride=2, rngs=rngs)
        self.conv2_reduce = layers.Conv(64, 64, 1, rngs=rngs)
        self.conv2 = layers.Conv(64, 192, 3, rngs=rngs)
        inputs = 192
        for name, widths in INCEPTIONS.items():
            setattr(self, name, Inception(inputs, widths, rngs=rngs))
            inputs = _channels(name)
        self.classifier = nnx.Linear(inputs, 1000, precision=jax.lax.Precision.HIGHEST, rngs=rngs)

    def __call__(
        self, inputs: Float[Array, "b h w 3"], sizes: Sizes
    ) -> tuple[Float[Array, "b n"], dict[str, layers.Maps]]:
        size = map_sizes(sizes)
        maps = layers.conv_relu(self.conv1, inputs, size["conv1"])
        maps = layers.max_pool(maps, size["conv2"], window=3, stride=2)
        maps = layers.local_response_norm(maps)
        maps = layers.conv_relu(self.conv2_reduce, maps, size["conv2"])
        maps = layers.conv_relu(self.conv2, maps, size["conv2"])
        maps = layers.local_response_norm(maps)
        activations = {}
        stage = "2"
        for name in INCEPTIONS:
            if name[len("inception_")] != stage:
                stage = name[len("inception_")]
                maps = layers.max_pool(maps, size[name], window=3, stride=2)
            maps = activations[name] = getattr(self, name)(maps, size[name])
        return self.classifier(layers.mean_pool(maps, size["inception_5b"])), activations


def map_sizes(sizes: Sizes) -> dict[str, Sizes]:
    """The valid area of each map for images of the given sizes."""
    result = {"conv1": layers.strided_size(sizes, stride=2)}
    result["conv2"] = layers.pooled_size(result["conv1"], window=3, stride=2)
    current, stage = result["conv2"], "2"
    for name in INCEPTIONS:
        if name[len("inception_")] != stage:
            stage = name[len("inception_")]
            current = layers.pooled_size(current, window=3, stride=2)
        result[name] = current
    return result


def sources() -> Mapping[str, Mapping[str, str]]:
    """Layers of the Caffe release and where they go here."""
    table = {"conv1/7x7_s2": "conv1", "conv2/3x3_reduce": "conv2_reduce", "conv2/3x3": "conv2"}
    branches = {
        "1x1": "conv1x1",
        "3x3_reduce": "conv3x3_reduce",
        "3x3": "conv3x3",
        "5x5_reduce": "conv5x5_reduce",
        "5x5": "conv5x5",
        "pool_proj": "pool_projection",
    }
    table |= {f"{name}/{theirs}": f"{name}/{ours}" for name in INCEPTIONS for theirs, ours in branches.items()}
    return {"caffe": table | {"loss3/classifier": "classifier"}}


_apply, _shapes, _initialize = layers.as_functions(GoogLeNet)

GOOGLENET = Network(
    spec=NetworkSpec(
        name="googlenet",
        feature_layers=tuple(_layer(name) for name in INCEPTIONS),
        feature_layer="inception_5a",
        cam_layer=_layer("inception_5b"),
        classifier="classifier",
        num_classes=1000,
        class_names="imagenet",
        preprocessing=Preprocessing(channel_order="BGR", mean=(104.0, 117.0, 123.0)),
    ),
    apply=_apply,
    map_sizes=map_sizes,
    shapes=_shapes,
    initialize=_initialize,
    sources=sources,
)
