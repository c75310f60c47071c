"""This module is the command ``cwcf status``."""

import argparse
import dataclasses
import json

from cwcf_jax.cli.finding import find_index
from cwcf_jax.index.index_config import HEADER_KEYS
from cwcf_jax.index.whitening import MIN_PICTURES


def main(arguments: argparse.Namespace) -> int:
    """Prints the summary of an index."""
    index = find_index(arguments.index)
    status = index.status()
    config = status.config
    if arguments.json:
        content = {HEADER_KEYS.get(name, name): value for name, value in dataclasses.asdict(status).items()}
        print(json.dumps({**content, "root": str(status.root), "index": str(index.folder)}, indent=1))
        return 0
    whitening = {"": "none yet", "nothing": f"none (the index began with fewer than {MIN_PICTURES} pictures)"}
    lines = {
        "pictures": f"{status.pictures} of {status.root}",
        "index": f"{index.folder}, {status.disk / 1e6:,.1f} MB",
        "network": f"{config.network}, {config.weights or 'weights found automatically'}",
        "descriptors": f"{config.dim} dimensions, {config.num_classes} classes, resize {config.resize}",
        "whitening": whitening.get(status.whitening, f"fitted on {status.whitening}"),
    }
    for name, text in lines.items():
        print(f"{name:12} {text}")
    return 0
