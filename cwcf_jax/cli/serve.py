"""This module is the command ``cwcf serve``."""

import argparse
import contextlib

from cwcf_jax.cli.finding import find_index
from cwcf_jax.web import serve


def main(arguments: argparse.Namespace) -> int:
    """Serves an index until the process is interrupted."""
    index = find_index(arguments.index)
    with contextlib.suppress(KeyboardInterrupt):
        serve(
            index,
            searcher=index.searcher(ray=arguments.ray, deadline=arguments.deadline),
            host=arguments.host,
            port=arguments.port,
            token=arguments.token,
            ready=lambda address: print(f"searching {index.root} at {address}   (Ctrl-C ends)", flush=True),
        )
    return 0
