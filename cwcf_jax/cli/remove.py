"""This module is the command ``cwcf remove``."""

import argparse

from cwcf_jax.cli.finding import find_index


def main(arguments: argparse.Namespace) -> int:
    """Removes pictures from the index."""
    count = find_index(arguments.index).remove(arguments.pictures)
    print(f"{count} removed; the files stay in the folder")
    return 0
