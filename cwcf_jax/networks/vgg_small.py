"""A small VGG-style CAM network, made to be trained here: `experiments.train_cam` on the synthetic object classes.

Its weights ship with the repository. Four blocks of two 3x3 convolutions, then as VGG-16-CAM; .9 million parameters.
"""

import functools

from cwcf_jax.networks import vgg
from cwcf_jax.networks.definition import define_network
from cwcf_jax.networks.preprocessing import TORCHVISION
from cwcf_jax.networks.spec import Layer, NetworkSpec

BLOCKS = ((16, 2), (32, 2), (96, 2), (160, 2))
CAM_CHANNELS = 256

VGG_SMALL_CAM = define_network(
    NetworkSpec(
        name="vgg_small_cam",
        feature_layers=(*vgg.convolutions(BLOCKS), vgg.last_pool(BLOCKS)),
        feature_layer="conv4_1",
        cam_layer=Layer("cam_conv", CAM_CHANNELS, 8),
        classifier="classifier",
        head=("cam_conv", "classifier"),
        preprocessing=TORCHVISION,
    ),
    functools.partial(vgg.VGGCAM, blocks=BLOCKS, cam_channels=CAM_CHANNELS),
    functools.partial(vgg.map_sizes, blocks=BLOCKS),
    tuple,
)
