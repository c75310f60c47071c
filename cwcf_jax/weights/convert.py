"""Foreign weights to a checkpoint of this library.

    python -m cwcf_jax.weights.convert --source=FILE.caffemodel --network=vgg16_cam_grouped --output=DIR

Reads Caffe ``.caffemodel``, Keras ``.h5``, torchvision ``.pth``, ``.safetensors`` and ``.npz``. The output is an Orbax
checkpoint (or one file, if it ends in ``.npz``) with a record of where it comes from; `cwcf_jax.load` takes it.
"""

import hashlib
import pathlib
import re
import sys
from collections.abc import Mapping, Sequence

import numpy as np
from absl import app, flags, logging

from cwcf_jax import networks
from cwcf_jax.networks import CheckpointError, Network, Provenance
from cwcf_jax.weights import formats, manifest
from cwcf_jax.weights.formats import FormatError
from cwcf_jax.weights.formats.keras import ORDERS


def define_flags() -> None:
    """Only when this runs as a program: other drivers have flags of the same names."""
    flags.DEFINE_string("source", None, "File to convert.", required=True)
    flags.DEFINE_enum("network", None, sorted(networks.NETWORKS), "Network it belongs to.", required=True)
    flags.DEFINE_string("output", None, "Checkpoint directory, or .npz file, to make.", required=True)
    flags.DEFINE_bool(
        "trunk", False, "Only the layers before the head, for experiments.train_cam; the source may hold another head."
    )
    flags.DEFINE_enum(
        "kernel_order",
        None,
        ORDERS,
        "Keras only: how the file holds its kernels, where it cannot be told from them.",
    )
    flags.DEFINE_string("licence", None, "For the record; default: the manifest's, if it knows the file.")


def main(argv: Sequence[str]) -> None:
    """Flags in, a checkpoint out."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected argument {argv[1]!r}; every setting is a --flag=value")
    if not flags.FLAGS["verbosity"].present:
        logging.set_verbosity(logging.WARNING)
    try:
        record = convert(
            pathlib.Path(flags.FLAGS.source),
            networks.get(flags.FLAGS.network),
            pathlib.Path(flags.FLAGS.output),
            trunk=flags.FLAGS.trunk,
            kernel_order=flags.FLAGS.kernel_order,
            licence=flags.FLAGS.licence,
        )
    except (ValueError, OSError) as error:
        sys.exit(f"convert: {error}")
    print(f"{flags.FLAGS.output}: {record.network}{'' if record.complete else ', trunk only'}; {record.layout} layout")


def convert(
    source: pathlib.Path,
    network: Network,
    output: pathlib.Path,
    *,
    trunk: bool = False,
    kernel_order: str | None = None,
    licence: str | None = None,
) -> Provenance:
    """Writes ``source`` as a checkpoint of ``network`` and returns its record.

    Args:
        source: a file that `cwcf_jax.weights.formats` reads.
        network: its architecture.
        output: where nothing may be yet; after an error nothing is.
        trunk: only the layers before the head.
        kernel_order: see `cwcf_jax.weights.formats.read`.
        licence: for the record; None: what the manifest says of a file with this hash.

    Raises:
        FileNotFoundError, FileExistsError: no source; an output that is there already.
        FormatError: a source that is not what its name says, damaged, or would run code.
        CheckpointError: another network's weights; the message names every key at fault.
    """
    if output.exists():
        raise FileExistsError(f"{output} exists already; remove it or write elsewhere")
    if source.suffix == ".npz" and networks.read_provenance(source) is not None:
        raise FormatError(f"{source} has a record already: it needs no conversion, cwcf_jax.load takes it as it is")
    read = formats.read(source, kernel_order=kernel_order)
    arrays = _renumbered(read.arrays) if read.format == "keras" else read.arrays
    theano = read.notes.get("kernel_order", "").startswith("theano")
    prefer = "keras, Theano order" if theano else read.format
    layout = networks.choose_layout(network, arrays, prefer=prefer)
    try:
        params = networks.import_params(network, arrays, str(source), trunk=trunk, prefer=prefer)
    except CheckpointError as error:
        raise CheckpointError(f"{error}{_hint(network, arrays)}") from error
    known = _entry(source)
    record = Provenance(
        network=network.spec.name,
        source=source.name if known is None else known.url,
        sha256=networks.fingerprint(source),
        licence=licence or (known.licence if known is not None else "unknown"),
        preprocessing=network.spec.preprocessing if layout is None else layout.preprocessing,
        num_classes=network.spec.num_classes,
        class_names=network.spec.class_names,
        layout="own" if layout is None else layout.name,
        complete=not trunk,
        notes={"format": read.format, **read.notes, **({} if known is None else {"paper": known.paper})},
    )
    networks.save_params(params, output, record)
    return record


def _renumbered(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Keras counts layers without a name through a whole session: the first of each kind is made number 1 again."""
    numbers: dict[str, int] = {}
    for key in arrays:
        if match := _UNNAMED.match(key):
            numbers[match[1]] = min(int(match[2]), numbers.get(match[1], int(match[2])))

    def renumber(match: re.Match[str]) -> str:
        return f"{match[1]}_{int(match[2]) - numbers[match[1]] + 1}/"

    return {_UNNAMED.sub(renumber, key): array for key, array in arrays.items()}


_UNNAMED = re.compile(r"^(convolution2d|dense)_(\d+)/")


def _entry(source: pathlib.Path) -> manifest.Entry | None:
    """The manifest's entry for this very file, told by its hash."""
    digests: dict[str, str] = {}
    for entry in manifest.read().values():
        if entry.hash is None:
            continue
        if entry.hash.algorithm not in digests:
            with source.open("rb") as file:
                digests[entry.hash.algorithm] = hashlib.file_digest(file, entry.hash.algorithm).hexdigest()
        if entry.hash.matches(digests[entry.hash.algorithm]):
            return entry
    return None


def _hint(network: Network, arrays: Mapping[str, np.ndarray]) -> str:
    """What the arrays could be taken for instead."""
    names = [other.spec.name for other in networks.NETWORKS.values() if networks.fits(other, arrays)]
    hint = f"\nThe file is that of --network={' or '.join(names)}" if names else ""
    if networks.fits(network, arrays, trunk=True):
        hint += "\nThe layers before the head are there: --trunk takes them alone, for experiments.train_cam"
    return hint


if __name__ == "__main__":
    define_flags()
    app.run(main)
