"""cwcf status."""

import argparse
import dataclasses
import json

from cwcf_jax.cli.finding import find_index
from cwcf_jax.index.whitening import MIN_PICTURES


def main(arguments: argparse.Namespace) -> int:
    """Prints what is in an index."""
    index = find_index(arguments.index)
    status = index.status()
    settings = status.settings
    if arguments.json:
        content = dataclasses.asdict(status)
        print(json.dumps({**content, "root": str(status.root), "index": str(index.folder)}, indent=1))
        return 0
    whitening = {"": "none yet", "nothing": f"none (below {MIN_PICTURES} pictures when it began)"}
    lines = {
        "pictures": f"{status.pictures} of {status.root}",
        "index": f"{index.folder}, {status.disk / 1e6:,.1f} MB",
        "network": f"{settings.network}, {settings.weights or 'weights found by themselves'}",
        "descriptors": f"{settings.dim} numbers, {settings.num_classes} classes, {settings.resize}",
        "whitening": whitening.get(status.whitening, f"fitted on {status.whitening}"),
    }
    for name, text in lines.items():
        print(f"{name:12} {text}")
    return 0
