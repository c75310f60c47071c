"""What can be typed after ``cwcf``, and its help."""

import argparse
import math
import pathlib
from typing import Any

from cwcf_jax.weights.commands import EXAMPLES as EXAMPLES_OF_WEIGHTS
from cwcf_jax.weights.commands import add_arguments
from cwcf_jax.weights.installed import DEFAULT_NETWORK

EXAMPLES = """\
  cwcf index ~/Photos                                          index a folder; again later: only what changed
  cwcf search church.jpg --box=40,10,300,420                   find a part of a picture
  cwcf search church.jpg --thorough                            the slower and better search
  cwcf serve                                                   the same in a browser
"""

CODES = """\
exit codes: 0 done; 1 it could not be done, the reason is on stderr; 2 wrong arguments; 130 interrupted
The index is looked for in --index, in CWCF_INDEX, and as .cwcf in this folder and those above it.
"""


def build() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = argparse.ArgumentParser(
        prog="cwcf",
        description="Finds photographs that show the same thing as another one, or as a part of it.",
        epilog=f"examples:\n{EXAMPLES}\n{CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    _index(commands)
    _search(commands)
    _status(commands)
    _remove(commands)
    _export(commands)
    _serve(commands)
    _weights(commands)
    return parser


def _command(commands: Any, name: str, summary: str, examples: str, *, index: bool = True) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=summary,
        epilog=f"examples:\n{examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    if index:
        parser.add_argument("--index", type=pathlib.Path, metavar="FOLDER", help="where the index is, or its pictures")
    return parser


def _index(commands: Any) -> None:
    parser = _command(
        commands,
        "index",
        "Indexes a folder of photographs, or brings its index up to date.",
        "  cwcf index ~/Photos                      a new index; later: only what is new, changed, moved or gone\n"
        "  cwcf index ~/Photos --network=googlenet  with weights that `cwcf weights list` shows as here\n"
        "  cwcf index ~/Photos --weights=googlenet:bvlc_googlenet.npz\n"
        "  cwcf index ~/Photos new.jpg old.jpg      these pictures alone; removed ones come back\n"
        "  cwcf index /media/card --index=~/card    the index elsewhere, where the folder cannot be written\n",
        index=False,
    )
    parser.add_argument("folder", nargs="?", default=".", help="or s3://BUCKET/FOLDER, gs://...; default: this one")
    parser.add_argument("pictures", nargs="*", help="pictures of the folder; default: all")
    parser.add_argument("--index", type=pathlib.Path, metavar="PLACE", help="default: .cwcf in the folder")
    parser.add_argument("--network", metavar="NAME", help=f"for a new index (default: {DEFAULT_NETWORK})")
    parser.add_argument(
        "--weights",
        metavar="[NETWORK:]FILE",
        help="of the network, for a new index; default: the variable CWCF_WEIGHTS, else what is found, "
        "see `cwcf weights list`",
    )
    parser.add_argument("--resize", help="of every picture, for a new index: max640 (default), min720, none, ...")
    text = "class vectors, for a new index: power means, or sums as in the paper (default: what suits the network)"
    parser.add_argument("--pooling", choices=("gem", "sum"), help=text)
    text = "numbers of a descriptor, for a new index; 0: all (default: 0 with power means, else 256)"
    parser.add_argument("--dim", type=int, help=text)
    text = "N_C, class vectors of a descriptor, for a new index (default: 8 with power means, else 64)"
    parser.add_argument("--nc", type=int, help=text)
    parser.add_argument(
        "--compact",
        action="store_true",
        help="keep descriptors of pictures and of their regions alone, for a new index: 25 KB a picture; no OnA, no "
        "--explain, no --refit",
    )
    parser.add_argument(
        "--own",
        type=_number,
        metavar="M",
        help="most probable classes of a picture whose vectors are kept, for a new index; 0: all (default: 128)",
    )
    parser.add_argument(
        "--table",
        metavar="ADDRESS",
        help="database of the pictures, for a new index: postgresql://..., s3://...; default: in the store",
    )
    parser.add_argument(
        "--store",
        metavar="ADDRESS",
        help="what grows with the pictures, for a new index: s3://BUCKET/FOLDER, gs://...; default: inside the index",
    )
    _ray(parser, "encodes")
    parser.add_argument(
        "--refit",
        action="store_true",
        help="fit the whitening on the pictures there are now; in place of a shipped one it finds worse as a rule, and "
        "there is no way back but a new index",
    )
    parser.add_argument("--rebuild", action="store_true", help="leave nothing of pictures and versions that are gone")
    parser.add_argument("--strict", action="store_true", help="exit code 1 if a picture could not be read")


def _search(commands: Any) -> None:
    parser = _command(
        commands,
        "search",
        "Finds the pictures of an index that are most like one.",
        "  cwcf search church.jpg --box=40,10,300,420\n"
        "  cwcf search church.jpg --thorough\n"
        "  cwcf search church.jpg --aggregation=ona --rerank=100 --expand=5\n"
        "  cwcf search church.jpg --classes=church,dome --json\n",
    )
    parser.add_argument("image", help="a picture, of the index or not")
    parser.add_argument("--box", type=_box, metavar="X1,Y1,X2,Y2", help="the part of it that counts, in pixels")
    parser.add_argument(
        "--thorough",
        action="store_true",
        help="the slower and better search: the best by the query's classes, then by the neighbours they share",
    )
    parser.add_argument(
        "--aggregation",
        choices=("ofa", "ona"),
        default="ofa",
        help="ofa: pictures are described by their own classes; ona: by the query's, better and slower",
    )
    parser.add_argument("--online", type=_number, default=0, metavar="M", help="score ofa's best M anew by ona")
    parser.add_argument("--rerank", type=_number, default=0, metavar="R", help="look at regions of the best R")
    parser.add_argument("--expand", type=_number, default=0, metavar="N", help="search again with the best N added")
    parser.add_argument(
        "--reciprocal", type=_number, default=0, metavar="M", help="rank the best M last by the neighbours they share"
    )
    parser.add_argument("--classes", type=_names, default=(), metavar="A,B", help="describe by these classes alone")
    parser.add_argument("--count", type=_number, default=10, help="pictures that are shown (default: 10)")
    parser.add_argument("--first", type=_number, default=0, help="of the best, how many are passed over")
    parser.add_argument("--explain", action="store_true", help="what carried each score")
    parser.add_argument("--json", action="store_true", help="for programs")
    _ray(parser, "holds the pictures", deadline=True)


def _status(commands: Any) -> None:
    parser = _command(commands, "status", "Says what is in an index.", "  cwcf status --json\n")
    parser.add_argument("--json", action="store_true", help="for programs")


def _remove(commands: Any) -> None:
    parser = _command(
        commands,
        "remove",
        "Takes pictures out of an index; the files stay, and stay out of it until they are indexed by name.",
        "  cwcf remove holiday/blurred.jpg\n",
    )
    parser.add_argument("pictures", nargs="+", help="of the index")


def _export(commands: Any) -> None:
    parser = _command(
        commands,
        "export",
        "Writes paths and descriptors for other programs.",
        "  cwcf export photographs.parquet\n"
        "  cwcf export photographs.faiss      a flat index, and photographs.faiss.json, the path of each row\n",
    )
    parser.add_argument("file", type=pathlib.Path, help="its ending says what: .parquet or .faiss")


def _serve(commands: Any) -> None:
    parser = _command(
        commands,
        "serve",
        "Searches in a browser, on this machine unless told otherwise.",
        "  cwcf serve --port=8080\n"
        "  cwcf serve --host=0.0.0.0     for the network; the address that is printed holds a token\n",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: this machine only)")
    parser.add_argument("--port", type=_number, default=8008, help="0: any that is free (default: 8008)")
    parser.add_argument("--token", help="that clients must know; default: none on this machine, a new one elsewhere")
    _ray(parser, "holds the pictures", deadline=True)


def _weights(commands: Any) -> None:
    summary = "Gets weights of networks and makes checkpoints of them."
    add_arguments(_command(commands, "weights", summary, EXAMPLES_OF_WEIGHTS, index=False))


def _ray(parser: argparse.ArgumentParser, does: str, *, deadline: bool = False) -> None:
    parser.add_argument(
        "--ray", metavar="ADDRESS", help=f"a Ray cluster that {does}: auto, HOST:PORT, local; default: this process"
    )
    if deadline:
        parser.add_argument(
            "--deadline", type=_seconds, default=60.0, metavar="SECONDS", help="for the cluster's answer (default: 60)"
        )


def _box(text: str) -> tuple[float, float, float, float]:
    try:
        x1, y1, x2, y2 = (float(number) for number in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not X1,Y1,X2,Y2") from None
    return x1, y1, x2, y2


def _number(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds")
    return seconds


def _names(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(","))
    if not all(names):
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of classes; use commas between them")
    return names
