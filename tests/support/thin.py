"""A thin CAM network with random weights: for tests that ask whether things fit together, not what a network knows.

Indexes name their network by its key in the registry, so whatever process loads one has to `register` it first.
"""

import functools
import pathlib
import sys

import jax
import numpy as np

from cwcf_jax import networks
from cwcf_jax.networks import vgg
from cwcf_jax.networks.definition import define_network
from cwcf_jax.networks.preprocessing import TORCHVISION
from cwcf_jax.networks.spec import Layer, NetworkSpec

NAME = "thin_cam"
BLOCKS = ((8, 1), (12, 1), (16, 1), (32, 1))
CAM_CHANNELS = 24
CLASSES = tuple(f"thing {i}" for i in range(100))

NETWORK = define_network(
    NetworkSpec(
        name=NAME,
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


def register():
    """Makes it known in this process, as a network of the library is."""
    networks.NETWORKS[NAME] = NETWORK


def record(network=NETWORK, seed=2):
    """What `save` writes beside the weights: 100 classes with names."""
    return networks.Provenance(network.spec.name, f"seed {seed}", "", "none", TORCHVISION, len(CLASSES), CLASSES)


def initialized(network=NETWORK, seed=2):
    """The network of 100 classes, and random weights."""
    adapted = networks.adapt(network, record(network, seed))
    random = np.random.default_rng(seed)

    def draw(leaf):
        deviation = np.sqrt(2 / np.prod(leaf.shape[:-1])) if len(leaf.shape) > 1 else 0.1
        return random.normal(scale=deviation, size=leaf.shape).astype(np.float32)

    return adapted, jax.tree.map(draw, adapted.shapes())


def save(path, network=NETWORK, seed=2):
    """Random weights of 100 classes and their record, in a new file; returns its path."""
    _, params = initialized(network, seed)
    networks.save_params(params, path, record(network, seed))
    return pathlib.Path(path)


REGISTERED = f"""
import sys
sys.path.insert(0, {str(pathlib.Path(__file__).parent)!r})
import thin
sys.path.pop(0)
thin.register()
"""
"""What a program begins with that loads such an index; it does not import the tests' strict settings."""


def program(*arguments):
    """``python -m cwcf_jax ARGUMENTS`` that knows the network, as a list for `subprocess`."""
    code = REGISTERED + "import runpy\nrunpy.run_module('cwcf_jax', run_name='__main__', alter_sys=True)\n"
    return [sys.executable, "-c", code, *arguments]
