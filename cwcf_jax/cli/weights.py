"""``cwcf weights``: what can be downloaded, downloads, and checkpoints of other frameworks' files."""

import argparse

from cwcf_jax.weights import commands


def main(arguments: argparse.Namespace) -> int:
    """Return exit code 0; what cannot be done is a ValueError, RuntimeError or OSError."""
    return commands.run(arguments)
