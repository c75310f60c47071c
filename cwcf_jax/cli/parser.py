"""This module defines the arguments of ``cwcf`` and their help texts."""

import argparse
import math
import pathlib
from typing import Any

from cwcf_jax.weights.commands import EXAMPLES as WEIGHTS_EXAMPLES
from cwcf_jax.weights.commands import add_arguments
from cwcf_jax.weights.installed import DEFAULT_NETWORK

EXAMPLES = """\
  cwcf index ~/Photos                                          index a folder; later, index only what changed
  cwcf search church.jpg --box=40,10,300,420                   search with a region of a picture
  cwcf search church.jpg --thorough                            the slower and better search
  cwcf serve                                                   search in a browser
"""

EXIT_CODES = """\
exit codes: 0 done; 1 failed, with a message on stderr; 2 wrong arguments; 130 interrupted
The index is the one of --index, else of CWCF_INDEX, else .cwcf in this folder or the nearest folder above.
"""


def build() -> argparse.ArgumentParser:
    """Returns the parser of the whole command line."""
    parser = argparse.ArgumentParser(
        prog="cwcf",
        description="Finds photographs that show the same object as a picture, or as a region of it.",
        epilog=f"examples:\n{EXAMPLES}\n{EXIT_CODES}",
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
        parser.add_argument(
            "--index", type=pathlib.Path, metavar="FOLDER", help="folder of the index, or of its photographs"
        )
    return parser


def _index(commands: Any) -> None:
    parser = _command(
        commands,
        "index",
        "Indexes a folder of photographs, or updates its index.",
        "  cwcf index ~/Photos                      a new index; later, an update of the index\n"
        "  cwcf index ~/Photos --network=googlenet  with weights of `cwcf weights list`\n"
        "  cwcf index ~/Photos --weights=googlenet:bvlc_googlenet.npz\n"
        "  cwcf index ~/Photos new.jpg old.jpg      only these pictures, also removed ones\n"
        "  cwcf index /media/card --index=~/card    for a folder that is read-only\n",
        index=False,
    )
    parser.add_argument(
        "folder",
        nargs="?",
        default=".",
        help="folder of photographs, also s3://BUCKET/FOLDER or gs://...; default: this folder",
    )
    parser.add_argument("pictures", nargs="*", help="pictures of the folder that are added; default: all")
    parser.add_argument(
        "--index",
        type=pathlib.Path,
        metavar="FOLDER",
        help="folder of the index; default: .cwcf in the folder of photographs",
    )
    parser.add_argument("--network", metavar="NAME", help=f"network of a new index (default: {DEFAULT_NETWORK})")
    parser.add_argument(
        "--weights",
        metavar="[NETWORK:]FILE",
        help="weights of a new index; default: the variable CWCF_WEIGHTS, else the weights that are found, see "
        "`cwcf weights list`",
    )
    parser.add_argument(
        "--resize", help="resizing of every picture, for a new index: max640 (default), min720, none, ..."
    )
    text = "class vectors of a new index: gem, power means; sum, as in the paper (default: what suits the network)"
    parser.add_argument("--pooling", choices=("gem", "sum"), help=text)
    text = "dimensions of a descriptor, for a new index; 0: all (default: 0 with power means, else 256)"
    parser.add_argument("--dim", type=int, help=text)
    text = "N_C, classes of a descriptor, for a new index (default: 8 with power means, else 64)"
    parser.add_argument("--nc", type=int, help=text)
    parser.add_argument(
        "--compact",
        action="store_true",
        help="store only descriptors of pictures and of their regions, for a new index: 25 KB a picture; without OnA, "
        "--explain and --refit",
    )
    parser.add_argument(
        "--own",
        type=_number,
        metavar="M",
        help="number of each picture's most probable classes with stored class vectors, for a new index; 0: all "
        "(default: 128)",
    )
    parser.add_argument(
        "--table",
        metavar="ADDRESS",
        help="database of pictures and descriptors, for a new index: postgresql://..., s3://...; default: in the store",
    )
    parser.add_argument(
        "--store",
        metavar="ADDRESS",
        help="address of maps, class vectors and table, for a new index: s3://BUCKET/FOLDER, gs://...; default: the "
        "index folder",
    )
    _ray(parser, "encodes")
    parser.add_argument(
        "--refit",
        action="store_true",
        help="fit a new whitening on the pictures of the index; it usually gives worse results than a shipped "
        "whitening, which only a new index brings back",
    )
    parser.add_argument(
        "--rebuild", action="store_true", help="free the space of removed pictures and earlier versions"
    )
    parser.add_argument("--strict", action="store_true", help="exit code 1 if a picture could not be read")


def _search(commands: Any) -> None:
    parser = _command(
        commands,
        "search",
        "Finds the pictures of an index that are most similar to a picture.",
        "  cwcf search church.jpg --box=40,10,300,420\n"
        "  cwcf search church.jpg --thorough\n"
        "  cwcf search church.jpg --aggregation=ona --rerank=100 --expand=5\n"
        "  cwcf search church.jpg --classes=church,dome --json\n",
    )
    parser.add_argument("image", help="path or address of a picture, which need not be in the index")
    parser.add_argument(
        "--box", type=_box, metavar="X1,Y1,X2,Y2", help="region of the picture that is searched for, in pixels"
    )
    parser.add_argument(
        "--thorough",
        action="store_true",
        help="the slower and better search: the best pictures by OnA, then by k-reciprocal re-ranking",
    )
    parser.add_argument(
        "--aggregation",
        choices=("ofa", "ona"),
        default="ofa",
        help="ofa: pictures are described by their own classes; ona: by the query's classes, better and slower",
    )
    parser.add_argument("--online", type=_number, default=0, metavar="M", help="score the best M of ofa again by ona")
    parser.add_argument("--rerank", type=_number, default=0, metavar="R", help="re-rank the best R by their regions")
    parser.add_argument(
        "--expand", type=_number, default=0, metavar="N", help="search again with the best N added to the query"
    )
    parser.add_argument(
        "--reciprocal",
        type=_number,
        default=0,
        metavar="M",
        help="order the best M by k-reciprocal re-ranking, in the last step",
    )
    parser.add_argument(
        "--classes", type=_names, default=(), metavar="A,B", help="describe query and pictures by these classes"
    )
    parser.add_argument("--count", type=_number, default=10, help="number of hits (default: 10)")
    parser.add_argument("--first", type=_number, default=0, help="number of best hits that are skipped")
    parser.add_argument(
        "--explain", action="store_true", help="print the class pairs with the largest shares of each score"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    _ray(parser, "ranks the pictures", deadline=True)


def _status(commands: Any) -> None:
    parser = _command(commands, "status", "Prints the summary of an index.", "  cwcf status --json\n")
    parser.add_argument("--json", action="store_true", help="print JSON")


def _remove(commands: Any) -> None:
    parser = _command(
        commands,
        "remove",
        "Removes pictures from an index until cwcf index names them; their files stay in the folder.",
        "  cwcf remove holiday/blurred.jpg\n",
    )
    parser.add_argument("pictures", nargs="+", help="pictures of the index")


def _export(commands: Any) -> None:
    parser = _command(
        commands,
        "export",
        "Writes the paths and descriptors of an index for other programs.",
        "  cwcf export photographs.parquet\n"
        "  cwcf export photographs.faiss      a flat index, and photographs.faiss.json, the path of each row\n",
    )
    parser.add_argument("file", type=pathlib.Path, help="file with the ending .parquet or .faiss")


def _serve(commands: Any) -> None:
    parser = _command(
        commands,
        "serve",
        "Serves searches in a browser, by default on this machine only.",
        "  cwcf serve --port=8080\n  cwcf serve --host=0.0.0.0     for the network; prints an address with a token\n",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: this machine only)")
    parser.add_argument("--port", type=_number, default=8008, help="port; 0: any free port (default: 8008)")
    parser.add_argument("--token", help="token that clients must send; default: none on this machine, else a new token")
    _ray(parser, "ranks the pictures", deadline=True)


def _weights(commands: Any) -> None:
    summary = "Lists, downloads and converts weights of networks."
    add_arguments(_command(commands, "weights", summary, WEIGHTS_EXAMPLES, index=False))


def _ray(parser: argparse.ArgumentParser, does: str, *, deadline: bool = False) -> None:
    parser.add_argument(
        "--ray", metavar="ADDRESS", help=f"a Ray cluster that {does}: auto, HOST:PORT, local; default: this process"
    )
    if deadline:
        parser.add_argument(
            "--deadline",
            type=_seconds,
            default=60.0,
            metavar="SECONDS",
            help="time in which the cluster must answer (default: 60)",
        )


def _box(text: str) -> tuple[float, float, float, float]:
    try:
        x1, y1, x2, y2 = (float(number) for number in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not X1,Y1,X2,Y2") from None
    return x1, y1, x2, y2


def _number(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number, 0 or larger")
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
