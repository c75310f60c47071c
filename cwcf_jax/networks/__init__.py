"""This package defines the networks, one module for each architecture, and reads and writes their parameters.

`Network` is the contract between a network and the rest of the library.
"""

import functools
import importlib.resources

from cwcf_jax.networks.checkpoint import (
    CheckpointError,
    check_params,
    choose_layout,
    fingerprint,
    fingerprint_params,
    fits,
    import_params,
    load_params,
    read_npz,
    read_params,
    read_provenance,
    save_params,
)
from cwcf_jax.networks.decomposeme import DECOMPOSEME
from cwcf_jax.networks.densenet import DENSENET161
from cwcf_jax.networks.efficientnet_lite import EFFICIENTNET_LITE0, EFFICIENTNET_LITE1, EFFICIENTNET_LITE2
from cwcf_jax.networks.googlenet import GOOGLENET, GOOGLENET_CAM
from cwcf_jax.networks.preprocessing import preprocess
from cwcf_jax.networks.provenance import Provenance, adapt
from cwcf_jax.networks.resnet import RESNET50
from cwcf_jax.networks.spec import Images, Layer, Network, NetworkSpec, Params, Preprocessing, Sizes, WeightLayout
from cwcf_jax.networks.squeezenet import SQUEEZENET
from cwcf_jax.networks.vgg import VGG16, VGG16_CAM, VGG16_CAM_GROUPED

__all__ = [
    "NETWORKS",
    "CheckpointError",
    "Images",
    "Layer",
    "Network",
    "NetworkSpec",
    "Params",
    "Preprocessing",
    "Provenance",
    "Sizes",
    "WeightLayout",
    "adapt",
    "check_params",
    "choose_layout",
    "class_index",
    "class_names",
    "fingerprint",
    "fingerprint_params",
    "fits",
    "get",
    "import_params",
    "load_params",
    "preprocess",
    "read_npz",
    "read_params",
    "read_provenance",
    "save_params",
]

_ALL = (
    VGG16_CAM,
    VGG16_CAM_GROUPED,
    VGG16,
    RESNET50,
    DENSENET161,
    DECOMPOSEME,
    GOOGLENET,
    GOOGLENET_CAM,
    SQUEEZENET,
    EFFICIENTNET_LITE0,
    EFFICIENTNET_LITE1,
    EFFICIENTNET_LITE2,
)
NETWORKS = {network.spec.name: network for network in _ALL}


def get(name: str) -> Network:
    """Returns the network called ``name``; ValueError lists the known networks."""
    if name not in NETWORKS:
        raise ValueError(f"unknown network {name!r}; known: {', '.join(sorted(NETWORKS))}")
    return NETWORKS[name]


@functools.cache
def class_names(spec: NetworkSpec) -> tuple[str, ...]:
    """Returns the names of the classes in the order of the logits."""
    if isinstance(spec.class_names, tuple):
        return spec.class_names
    resource = importlib.resources.files("cwcf_jax.networks") / f"{spec.class_names}_classes.txt"
    return tuple(resource.read_text(encoding="utf-8").splitlines())


def class_index(spec: NetworkSpec, text: str) -> int:
    """Returns the index of a class, counted from 0.

    Args:
        spec: the network's spec.
        text: the index, or the name of the class in upper or lower case.

    Raises:
        ValueError: no class, or several classes, have this name or index.
    """
    text = text.strip()
    if text.isdecimal():
        if int(text) >= spec.num_labels:
            raise ValueError(f"class {text} does not exist; {spec.name} has {spec.num_labels}, counted from 0")
        return int(text)
    matches = [index for index, name in enumerate(class_names(spec)) if name.lower() == text.lower()]
    if len(matches) != 1:
        reason = f"is the name of {' and '.join(map(str, matches))}; give the index" if matches else "is not a class"
        raise ValueError(f"{text!r} {reason} of {spec.name}")
    return matches[0]
