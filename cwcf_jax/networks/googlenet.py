"""This module defines GoogLeNet (Szegedy et al. 2015, table 1; Caffe's `bvlc_googlenet`) and GoogLeNet-CAM.

GoogLeNet has class activation maps without any change: inception_5b feeds global average pooling and one linear
classifier. GoogLeNet-CAM (Zhou et al. 2016) ends after inception_4e, whose maps have twice as many rows and columns,
with a CAM convolution in two groups.
"""

import functools

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from cwcf_jax.networks import layers, layouts
from cwcf_jax.networks.definition import define_network
from cwcf_jax.networks.spec import Layer, NetworkSpec, Preprocessing, Sizes, WeightLayout

# Output channels of the convolutions: 1x1, 3x3 reduce, 3x3, 5x5 reduce, 5x5, pool projection (table 1).
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
CAM_CHANNELS = 1024
CAM_GROUPS = 2


def _channels(name: str) -> int:
    conv1x1, _, conv3x3, _, conv5x5, pool = INCEPTIONS[name]
    return conv1x1 + conv3x3 + conv5x5 + pool


def _layer(name: str) -> Layer:
    return Layer(name, _channels(name), STRIDES[_stage(name)])


class Inception(nnx.Module):
    """An `Inception` concatenates the maps of four branches that read the same maps."""

    def __init__(self, inputs: int, widths: tuple[int, int, int, int, int, int], *, rngs: nnx.Rngs):
        width1x1, reduced3x3, width3x3, reduced5x5, width5x5, pool = widths
        self.conv1x1 = layers.Conv(inputs, width1x1, 1, rngs=rngs)
        self.conv3x3_reduce = layers.Conv(inputs, reduced3x3, 1, rngs=rngs)
        self.conv3x3 = layers.Conv(reduced3x3, width3x3, 3, rngs=rngs)
        self.conv5x5_reduce = layers.Conv(inputs, reduced5x5, 1, rngs=rngs)
        self.conv5x5 = layers.Conv(reduced5x5, width5x5, 5, rngs=rngs)
        self.pool_projection = layers.Conv(inputs, pool, 1, rngs=rngs)

    def __call__(self, maps: layers.Maps, sizes: Sizes) -> layers.Maps:
        pointwise = [self.conv1x1, self.conv3x3_reduce, self.conv5x5_reduce]
        branch1x1, reduced3x3, reduced5x5 = layers.fused_conv_relu(pointwise, maps, sizes)
        pooled = layers.max_pool(maps, sizes, window=3, stride=1, pad=1)
        branches = [
            branch1x1,
            layers.conv_relu(self.conv3x3, reduced3x3, sizes),
            layers.conv_relu(self.conv5x5, reduced5x5, sizes),
            layers.conv_relu(self.pool_projection, pooled, sizes),
        ]
        return jnp.concatenate(branches, axis=-1)


class GoogLeNet(nnx.Module):
    """`GoogLeNet` computes ``(inputs [b, h, w, 3], sizes [b, 2]) -> (logits [b, n], {layer: maps})``.

    ``last`` is the last inception. If ``cam_channels`` is not None, a 3x3 CAM convolution with as many output channels
    follows before the classifier.
    """

    def __init__(self, rngs: nnx.Rngs, *, num_labels: int, last: str, cam_channels: int | None = None):
        self.conv1 = layers.Conv(3, 64, 7, stride=2, rngs=rngs)
        self.conv2_reduce = layers.Conv(64, 64, 1, rngs=rngs)
        self.conv2 = layers.Conv(64, 192, 3, rngs=rngs)
        inputs = 192
        self.names = _up_to(last)
        for name in self.names:
            setattr(self, name, Inception(inputs, INCEPTIONS[name], rngs=rngs))
            inputs = _channels(name)
        self.has_cam_conv = cam_channels is not None
        if cam_channels is not None:
            self.cam_conv = layers.Conv(inputs, cam_channels, 3, groups=CAM_GROUPS, rngs=rngs)
            inputs = cam_channels
        self.classifier = layers.Dense(inputs, num_labels, rngs=rngs)

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
        for name in self.names:
            if _stage(name) != stage:
                stage = _stage(name)
                maps = layers.max_pool(maps, size[name], window=3, stride=2)
            maps = activations[name] = getattr(self, name)(maps, size[name])
        if self.has_cam_conv:
            maps = activations["cam_conv"] = layers.conv_relu(self.cam_conv, maps, size["cam_conv"])
        return self.classifier(layers.mean_pool(maps, size["cam_conv" if self.has_cam_conv else name])), activations


def map_sizes(sizes: Sizes) -> dict[str, Sizes]:
    """Returns the valid area of each layer's maps for images of these sizes; ``cam_conv`` is GoogLeNet-CAM's."""
    result = {"conv1": layers.strided_size(sizes, stride=2)}
    result["conv2"] = layers.pooled_size(result["conv1"], window=3, stride=2)
    current, stage = result["conv2"], "2"
    for name in INCEPTIONS:
        if _stage(name) != stage:
            stage = _stage(name)
            current = layers.pooled_size(current, window=3, stride=2)
        result[name] = current
    return result | {"cam_conv": result["inception_4e"]}


def _stage(name: str) -> str:
    return name[len("inception_")]


def _up_to(last: str) -> tuple[str, ...]:
    names = tuple(INCEPTIONS)
    return names[: names.index(last) + 1]


PREPROCESSING = Preprocessing(channel_order="BGR", mean=(104.0, 117.0, 123.0))


def _layouts(last: str, classifier: str, *extra_layers: str) -> tuple[WeightLayout, ...]:
    """Returns the layout of the Caffe release; ``classifier`` is the classifier's name in the file."""
    table = {"conv1/7x7_s2": "conv1", "conv2/3x3_reduce": "conv2_reduce", "conv2/3x3": "conv2"}
    branches = {
        "1x1": "conv1x1",
        "3x3_reduce": "conv3x3_reduce",
        "3x3": "conv3x3",
        "5x5_reduce": "conv5x5_reduce",
        "5x5": "conv5x5",
        "pool_proj": "pool_projection",
    }
    table |= {f"{name}/{source}": f"{name}/{target}" for name in _up_to(last) for source, target in branches.items()}
    table |= {"CAM_conv": "cam_conv"} if "cam_conv" in extra_layers else {}
    arrays = layouts.caffe(table | {classifier: "classifier"}, classifiers=[classifier])
    # loss1 and loss2 are the auxiliary classifiers of training, after inception_4a and inception_4d.
    return (WeightLayout("caffe", arrays, PREPROCESSING, ignored=("loss1/*", "loss2/*")),)


GOOGLENET = define_network(
    NetworkSpec(
        name="googlenet",
        feature_layers=tuple(_layer(name) for name in INCEPTIONS),
        feature_layer="inception_5a",
        cam_layer=_layer("inception_5b"),
        classifier="classifier",
        head=("classifier",),
        preprocessing=PREPROCESSING,
    ),
    functools.partial(GoogLeNet, last="inception_5b"),
    map_sizes,
    functools.partial(_layouts, "inception_5b", "loss3/classifier"),
)

GOOGLENET_CAM = define_network(
    NetworkSpec(
        name="googlenet_cam",
        feature_layers=(*(_layer(name) for name in _up_to("inception_4e")), Layer("cam_conv", CAM_CHANNELS, 16)),
        feature_layer="inception_4e",
        cam_layer=Layer("cam_conv", CAM_CHANNELS, 16),
        classifier="classifier",
        head=("cam_conv", "classifier"),
        preprocessing=PREPROCESSING,
    ),
    functools.partial(GoogLeNet, last="inception_4e", cam_channels=CAM_CHANNELS),
    map_sizes,
    functools.partial(_layouts, "inception_4e", "CAM_fc", "cam_conv"),
)
