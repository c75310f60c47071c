"""This module makes a CAM network of a few thousand parameters, and pictures that it can learn."""

import functools

import numpy as np
from PIL import Image

from cwcf_jax import networks
from cwcf_jax.networks import vgg
from cwcf_jax.networks.definition import define_network
from cwcf_jax.networks.preprocessing import TORCHVISION
from cwcf_jax.networks.spec import Layer, NetworkSpec

BLOCKS = ((4, 1), (6, 1))
COLOURS = {"blue_sky": (40, 60, 200), "green_grass": (40, 180, 60), "red_roof": (200, 50, 40)}


def network(head=("cam_conv", "classifier"), num_labels=3, name="tiny_cam"):
    """Returns a VGG-like CAM network with two convolutions below the head."""
    spec = NetworkSpec(
        name=name,
        feature_layers=(*vgg.convolutions(BLOCKS), vgg.last_pool(BLOCKS)),
        feature_layer="conv2_1",
        cam_layer=Layer("cam_conv", 8, 2),
        classifier="classifier",
        head=head,
        preprocessing=TORCHVISION,
    )
    module = functools.partial(vgg.VGGCAM, blocks=BLOCKS, cam_channels=8)
    network_without_classes = define_network(spec, module, functools.partial(vgg.map_sizes, blocks=BLOCKS), tuple)
    names = tuple(f"class {i}" for i in range(num_labels))
    return network_without_classes.with_spec(num_labels=num_labels, class_names=names)


def register():
    """Registers the network as ``--network=tiny_cam``, for drivers that are imported afterwards."""
    networks.NETWORKS["tiny_cam"] = network(num_labels=10)


def pictures(folder, count=8, side=20):
    """Writes ``count`` noisy pictures of each colour, in a folder for each class, and returns ``folder``."""
    generator = np.random.default_rng(0)
    for name, colour in COLOURS.items():
        (folder / name).mkdir(parents=True)
        for i in range(count):
            noise = generator.normal(0.0, 40.0, (side, side + 4, 3))
            pixels = np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{name}_{i}.jpg", quality=90)
    return folder
