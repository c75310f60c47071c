"""This module defines VGG-16 (Simonyan & Zisserman 2015) and VGG-16-CAM (Zhou et al. 2016), with pools that round up.

VGG-16-CAM has no dense layers: a CAM convolution, global average pooling and a classifier follow conv5_3. The CAM
convolution of the Caffe release has two groups (outputs 0-511 read inputs 0-255, outputs 512-1023 read inputs 256-511);
the CAM convolution of the Keras release, which the paper's authors used, has one group. VGG-16-CAM computes pool5 only
as a feature layer. Pools round up as in Caffe; torchvision's pools round down and lose a row or column of odd sizes.
"""

import functools

import jax
from flax import nnx
from jaxtyping import Array, Float

from cwcf_jax.networks import layers, layouts
from cwcf_jax.networks.definition import define_network
from cwcf_jax.networks.preprocessing import CAFFE_VGG, TORCHVISION
from cwcf_jax.networks.spec import Layer, Network, NetworkSpec, Sizes, WeightLayout

Blocks = tuple[tuple[int, int], ...]

# Simonyan & Zisserman 2015, table 1, configuration D: channels and number of convolutions of each block.
BLOCKS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
CAM_CHANNELS = 1024
FC_SIDE = 7
"""The rows and columns of pool5 that VGG-16's first dense layer reads."""


def convolutions(blocks: Blocks) -> tuple[Layer, ...]:
    """Returns the layers conv1_1, conv1_2, ... of a network with these blocks."""
    return tuple(
        Layer(f"conv{block}_{i}", channels, 2 ** (block - 1))
        for block, (channels, count) in enumerate(blocks, start=1)
        for i in range(1, count + 1)
    )


def last_pool(blocks: Blocks) -> Layer:
    """Returns the pool after the last block."""
    return Layer(f"pool{len(blocks)}", blocks[-1][0], 2 ** len(blocks))


class Trunk(nnx.Module):
    """A `Trunk` computes blocks of 3x3 convolutions, with a pool after each block."""

    def __init__(self, rngs: nnx.Rngs, *, blocks: Blocks):
        self.blocks = blocks
        inputs = 3
        for layer in convolutions(blocks):
            setattr(self, layer.name, layers.Conv(inputs, layer.channels, 3, rngs=rngs))
            inputs = layer.channels

    def trunk(self, inputs: Float[Array, "b h w 3"], size: dict[str, Sizes]) -> dict[str, layers.Maps]:
        """Returns the maps of every convolution and of the last pool."""
        maps, activations, previous = inputs, {}, 1
        for name, stride in ((layer.name, layer.stride) for layer in convolutions(self.blocks)):
            if stride != previous:
                maps = layers.max_pool(maps, size[name], window=2, stride=2)
                previous = stride
            maps = activations[name] = layers.conv_relu(getattr(self, name), maps, size[name])
        pool = last_pool(self.blocks).name
        return activations | {pool: layers.max_pool(maps, size[pool], window=2, stride=2)}


class VGG(Trunk):
    """`VGG` computes ``(inputs [b, h, w, 3], sizes [b, 2]) -> (logits [b, n], {layer: maps})``.

    VGG-16's three dense layers follow pool5. Adaptive average pooling turns pool5 of any size into 7 x 7 cells, as in
    torchvision.
    """

    def __init__(self, rngs: nnx.Rngs, *, num_labels: int):
        super().__init__(rngs, blocks=BLOCKS)
        self.fc6 = layers.Conv(POOL5.channels, 4096, FC_SIDE, pad=False, rngs=rngs)
        self.fc7 = layers.Dense(4096, 4096, rngs=rngs)
        self.fc8 = layers.Dense(4096, num_labels, rngs=rngs)

    def __call__(
        self, inputs: Float[Array, "b h w 3"], sizes: Sizes
    ) -> tuple[Float[Array, "b n"], dict[str, layers.Maps]]:
        size = map_sizes(sizes, blocks=BLOCKS)
        activations = self.trunk(inputs, size)
        fc6 = jax.nn.relu(self.fc6(layers.mean_pool_to(activations["pool5"], size["pool5"], FC_SIDE)))[:, 0, 0]
        return self.fc8(jax.nn.relu(self.fc7(fc6))), activations


class VGGCAM(Trunk):
    """`VGGCAM` computes ``(inputs [b, h, w, 3], sizes [b, 2]) -> (logits [b, n], {layer: maps})``.

    A CAM convolution, global average pooling and a classifier follow the last convolution of the blocks.
    """

    def __init__(self, rngs: nnx.Rngs, *, num_labels: int, blocks: Blocks, cam_channels: int, cam_groups: int = 1):
        super().__init__(rngs, blocks=blocks)
        self.cam_conv = layers.Conv(blocks[-1][0], cam_channels, 3, groups=cam_groups, rngs=rngs)
        self.classifier = layers.Dense(cam_channels, num_labels, rngs=rngs)

    def __call__(
        self, inputs: Float[Array, "b h w 3"], sizes: Sizes
    ) -> tuple[Float[Array, "b n"], dict[str, layers.Maps]]:
        size = map_sizes(sizes, blocks=self.blocks)
        activations = self.trunk(inputs, size)
        last = convolutions(self.blocks)[-1].name
        maps = layers.conv_relu(self.cam_conv, activations[last], size["cam_conv"])
        return self.classifier(layers.mean_pool(maps, size["cam_conv"])), activations | {"cam_conv": maps}


def map_sizes(sizes: Sizes, *, blocks: Blocks) -> dict[str, Sizes]:
    """Returns the valid area of each layer's maps for images of these sizes; ``cam_conv`` is VGG-16-CAM's."""
    result, current, previous = {}, sizes, 1
    for layer in convolutions(blocks):
        if layer.stride != previous:
            current = layers.pooled_size(current, window=2, stride=2)
            previous = layer.stride
        result[layer.name] = current
    return result | {"cam_conv": current, last_pool(blocks).name: layers.pooled_size(current, window=2, stride=2)}


CONVOLUTIONS = convolutions(BLOCKS)
POOL5 = last_pool(BLOCKS)
_map_sizes = functools.partial(map_sizes, blocks=BLOCKS)


def _layouts(head: dict[str, str]) -> tuple[WeightLayout, ...]:
    """Returns the layouts of the released files.

    Args:
        head: the network's layer for each layer after conv5_3, by the names of the Caffe release.
    """
    trunk = {layer.name: layer.name for layer in CONVOLUTIONS}
    dense = [name for name in head if name != "CAM_conv"]
    fc6 = layouts.dense_on_maps(POOL5.channels, FC_SIDE)
    caffe = layouts.caffe(trunk | head, classifiers=dense)
    positions = [i for block, (_, count) in enumerate(BLOCKS) for i in _torchvision_positions(block, count)]
    torchvision = layouts.torch({f"features.{i}": name for i, name in zip(positions, trunk, strict=True)})
    # keras.applications calls conv1_1 block1_conv1.
    applications = layouts.keras({name.replace("conv", "block").replace("_", "_conv"): name for name in trunk})
    keras = [WeightLayout("keras", applications, CAFFE_VGG)]
    if "fc6" in head:
        caffe["fc6/W"] = ("fc6/kernel", fc6)
        torchvision |= layouts.torch({"classifier.0": "fc6"}, transform=fc6)
        torchvision |= layouts.torch({"classifier.3": "fc7", "classifier.6": "fc8"}, transform=layouts.dense)
        applications |= layouts.keras({"fc1": "fc6", "fc2": "fc7", "predictions": "fc8"})
        # Keras flattens pool5 with the channels last; under Theano, with the channels first.
        theano = applications | {"fc1/kernel": ("fc6/kernel", lambda array: fc6(layouts.dense(array)))}
        applications["fc1/kernel"] = ("fc6/kernel", layouts.rows_on_maps(POOL5.channels, FC_SIDE))
        keras = [WeightLayout("keras", applications, CAFFE_VGG), WeightLayout("keras, Theano order", theano, CAFFE_VGG)]
    else:
        keras.append(WeightLayout("keras, unnamed layers", layouts.keras(_author_layers()), CAFFE_VGG))
    return (
        WeightLayout("caffe", caffe, CAFFE_VGG),
        *keras,
        WeightLayout("torchvision", torchvision, TORCHVISION),
    )


def _author_layers() -> dict[str, str]:
    """Returns the network's layer for each layer of the Keras file of the paper's authors.

    Four layers have names; the others have the default names of Keras 1. These names are inferred from the authors'
    `keras_code/vgg_cam.py` and from Keras' rule, since the file itself was not available.
    """
    names = {"relu5_1": "conv5_1", "relu5_3": "conv5_3", "CAM_relu": "cam_conv", "dense_1": "classifier"}
    unnamed = [layer.name for layer in CONVOLUTIONS if layer.name not in names.values()]
    return names | {f"convolution2d_{i}": name for i, name in enumerate(unnamed, start=1)}


def _torchvision_positions(block: int, count: int) -> list[int]:
    """Returns the indices of a block's convolutions in torchvision's ``features``, which also holds ReLUs and pools."""
    first = sum(2 * convolution_count + 1 for _, convolution_count in BLOCKS[:block])
    return [first + 2 * i for i in range(count)]


def _cam_network(name: str, *, cam_groups: int) -> Network:
    return define_network(
        NetworkSpec(
            name=name,
            feature_layers=(*CONVOLUTIONS, POOL5),
            feature_layer="conv5_1",
            cam_layer=Layer("cam_conv", CAM_CHANNELS, CONVOLUTIONS[-1].stride),
            classifier="classifier",
            head=("cam_conv", "classifier"),
            preprocessing=CAFFE_VGG,
        ),
        functools.partial(VGGCAM, blocks=BLOCKS, cam_channels=CAM_CHANNELS, cam_groups=cam_groups),
        _map_sizes,
        functools.partial(_layouts, {"CAM_conv": "cam_conv", "CAM_fc": "classifier"}),
    )


VGG16_CAM = _cam_network("vgg16_cam", cam_groups=1)
VGG16_CAM_GROUPED = _cam_network("vgg16_cam_grouped", cam_groups=2)

_VGG16_HEAD = {"fc6": "fc6", "fc7": "fc7", "fc8": "fc8"}

VGG16 = define_network(
    NetworkSpec(
        name="vgg16",
        feature_layers=(*CONVOLUTIONS, POOL5),
        feature_layer="pool5",
        cam_layer=None,
        classifier=None,
        head=tuple(_VGG16_HEAD),
        preprocessing=CAFFE_VGG,
    ),
    VGG,
    _map_sizes,
    functools.partial(_layouts, _VGG16_HEAD),
)
