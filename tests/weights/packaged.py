"""This module makes installed packages with weights of the tiny network of `tests.training.tiny`."""

import hashlib
import io
import pathlib

import numpy as np

from cwcf_jax import networks
from cwcf_jax.weights.installed import Package
from tests.training import tiny

FILE = "tiny_weights_model/models/tiny-1234.npz"


def content(seed=0):
    """Returns the content of a file of weights without a record."""
    stream = io.BytesIO()
    params = tiny.network().initialize(seed)
    np.savez(stream, **{f"{layer}/{part}": array for layer, parts in params.items() for part, array in parts.items()})
    return stream.getvalue()


def package(data, **fields):
    """Returns the entry of a package whose file has this content."""
    defaults = dict(network="tiny_cam", distribution="tiny-weights-model", version="0.1.0", file=FILE)
    defaults |= dict(sha256=hashlib.sha256(data).hexdigest(), size=len(data), licence="BSD-3-Clause", paper="Somebody")
    return Package(**defaults | fields)


def members(data, file=FILE, version="0.1.0"):
    """Returns the files of an installed package by path; its code raises an error."""
    return {
        "tiny_weights_model/__init__.py": b"raise AssertionError('the package was imported')\n",
        "tiny_weights_model/models/.gitignore": b"",
        file: data,
        f"tiny_weights_model-{version}.dist-info/METADATA": (
            f"Metadata-Version: 2.1\nName: tiny-weights-model\nVersion: {version}\n".encode()
        ),
    }


def install_package(folder, data, **options):
    """Writes the files of `members` below a folder and returns the folder as text for ``sys.path``."""
    for name, member in members(data, **options).items():
        path = pathlib.Path(folder, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(member)
    return str(folder)


def save_checkpoint(path, seed=0, **record):
    """Writes a checkpoint of the tiny network with a record."""
    network = tiny.network()
    defaults = dict(network="tiny_cam", source="somewhere", sha256="", licence="BSD", num_classes=3)
    defaults |= dict(preprocessing=network.spec.preprocessing, class_names=network.spec.class_names)
    networks.save_params(network.initialize(seed), path, networks.Provenance(**defaults | record))
