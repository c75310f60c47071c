"""VGG-16-CAM (Zhou et al. 2016): VGG-16 without pool5 and the dense layers, a CAM convolution, GAP, a classifier.

The Caffe release splits the CAM convolution into two groups (outputs 0-511 see inputs 0-255, outputs 512-1023 see
256-511); the Keras release that the paper's authors used has it dense. Pools round up, as in Caffe.
"""

import functools
from collections.abc import Mapping

import jax
from flax import nnx
from jaxtyping import Array, Float

from cwcf_jax.networks import layers
from cwcf_jax.networks.spec import Layer, Network, NetworkSpec, Preprocessing, Sizes

# Simonyan & Zisserman 2015, table 1, configuration D: channels and convolutions of each block.
BLOCKS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
CONVOLUTIONS = tuple(
    (f"conv{block}_{i}", channels, 2 ** (block - 1))
    for block, (channels, count) in enumerate(BLOCKS, start=1)
    for i in range(1, count + 1)
)
CAM_CHANNELS = 1024


class VGG16CAM(nnx.Module):
    """``(inputs [b, h, w, 3], sizes [b, 2]) -> (logits [b, 1000], {layer: maps})``."""

    def __init__(self, rngs: nnx.Rngs, *, cam_groups: int):
        inputs = 3
        for name, channels, _ in CONVOLUTIONS:
            setattr(self, name, layers.Conv(inputs, channels, 3, rngs=rngs))
            inputs = channels
        self.cam_conv = layers.Conv(inputs, CAM_CHANNELS, 3, groups=cam_groups, rngs=rngs)
        self.classifier = nnx.Linear(CAM_CHANNELS, 1000, precision=jax.lax.Precision.HIGHEST, rngs=rngs)

    def __call__(
        self, inputs: Float[Array, "b h w 3"], sizes: Sizes
    ) -> tuple[Float[Array, "b n"], dict[str, layers.Maps]]:
        size = map_sizes(sizes)
        maps, activations, previous = inputs, {}, 1
        for name, _, stride in CONVOLUTIONS:
            if stride != previous:
                maps = layers.max_pool(maps, size[name], window=2, stride=2)
                previous = stride
            maps = activations[name] = layers.conv_relu(getattr(self, name), maps, size[name])
        maps = activations["cam_conv"] = layers.conv_relu(self.cam_conv, maps, size["cam_conv"])
        return self.classifier(layers.mean_pool(maps, size["cam_conv"])), activations


def map_sizes(sizes: Sizes) -> dict[str, Sizes]:
    """The valid area of each map for images of the given sizes."""
    result, current, previous = {}, sizes, 1
    for name, _, stride in CONVOLUTIONS:
        if stride != previous:
            current = layers.pooled_size(current, window=2, stride=2)
            previous = stride
        result[name] = current
    return result | {"cam_conv": current}


def sources() -> Mapping[str, Mapping[str, str]]:
    """Layers of the Caffe release and where they go here."""
    table = {name: name for name, _, _ in CONVOLUTIONS}
    return {"caffe": table | {"CAM_conv": "cam_conv", "CAM_fc": "classifier"}}


def _network(name: str, *, cam_groups: int) -> Network:
    apply, shapes, initialize = layers.as_functions(functools.partial(VGG16CAM, cam_groups=cam_groups))
    return Network(
        spec=NetworkSpec(
            name=name,
            feature_layers=tuple(Layer(*layer) for layer in CONVOLUTIONS),
            feature_layer="conv5_1",
            cam_layer=Layer("cam_conv", CAM_CHANNELS, CONVOLUTIONS[-1][2]),
            classifier="classifier",
            num_classes=1000,
            class_names="imagenet",
            preprocessing=Preprocessing(channel_order="BGR", mean=(103.939, 116.779, 123.68)),
        ),
        apply=apply,
        map_sizes=map_sizes,
        shapes=shapes,
        initialize=initialize,
        sources=sources,
    )


VGG16_CAM = _network("vgg16_cam", cam_groups=1)
VGG16_CAM_GROUPED = _network("vgg16_cam_grouped", cam_groups=2)
