"""This module defines a thin CAM network with random weights, for tests that need no meaningful descriptors.

An index names its network by the key in the registry. So a process must call `register` before it loads such an index.
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
    """Adds the network to the registry of this process."""
    networks.NETWORKS[NAME] = NETWORK


def record(network=NETWORK, seed=2):
    """Returns the provenance record that `save` writes, with the names of 100 classes."""
    return networks.Provenance(network.spec.name, f"seed {seed}", "", "none", TORCHVISION, len(CLASSES), CLASSES)


def initialized(network=NETWORK, seed=2):
    """Returns the network with 100 classes, and random weights."""
    adapted = networks.adapt(network, record(network, seed))
    random = np.random.default_rng(seed)

    def draw(leaf):
        deviation = np.sqrt(2 / np.prod(leaf.shape[:-1])) if len(leaf.shape) > 1 else 0.1
        return random.normal(scale=deviation, size=leaf.shape).astype(np.float32)

    return adapted, jax.tree.map(draw, adapted.shapes())


def save(path, network=NETWORK, seed=2):
    """Writes a checkpoint with random weights of 100 classes; returns its path."""
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
"""The first lines of a program that loads such an index and does not import `tests`, which has strict checks."""


def program(*arguments):
    """Returns the command ``python -m cwcf_jax ARGUMENTS``, with the network registered, as a list for `subprocess`."""
    code = REGISTERED + "import runpy\nrunpy.run_module('cwcf_jax', run_name='__main__', alter_sys=True)\n"
    return [sys.executable, "-c", code, *arguments]
