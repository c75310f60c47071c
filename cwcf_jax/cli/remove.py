"""cwcf remove."""

import argparse

from cwcf_jax.cli.finding import find_index


def main(arguments: argparse.Namespace) -> int:
    """Takes pictures out."""
    count = find_index(arguments.index).remove(arguments.pictures)
    print(f"{count} removed; the files are where they were")
    return 0
