"""This module is the command ``cwcf weights``, which lists, downloads and converts weights."""

import argparse

from cwcf_jax.weights import commands


def main(arguments: argparse.Namespace) -> int:
    """Runs the subcommand and returns exit code 0; raises ValueError, RuntimeError or OSError if it fails."""
    return commands.run(arguments)
