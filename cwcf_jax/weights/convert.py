"""Foreign weights to a checkpoint of this library.

Reads Caffe ``.caffemodel``, Keras ``.h5``, torchvision ``.pth``, ``.safetensors`` and ``.npz``. The output is an Orbax
checkpoint (or one file, if it ends in ``.npz``) with a record of where it comes from; `cwcf_jax.load` takes it.
"""

import dataclasses
import hashlib
import pathlib
import re
from collections.abc import Mapping

import numpy as np

from cwcf_jax import networks
from cwcf_jax.networks import CheckpointError, Network, Params, Provenance
from cwcf_jax.weights import catalogue, formats
from cwcf_jax.weights.formats import FormatError


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
        licence: for the record; None: what the catalogue says of a file with this hash.

    Raises:
        FileNotFoundError, FileExistsError: no source; an output that is there already.
        FormatError: a source that is not what its name says, damaged, or would run code.
        CheckpointError: another network's weights; the message names every key at fault.
    """
    if output.exists():
        raise FileExistsError(f"{output} exists already; remove it or write elsewhere")
    params, record = read_file(source, network, trunk=trunk, kernel_order=kernel_order)
    if licence:
        record = dataclasses.replace(record, licence=licence)
    networks.save_params(params, output, record)
    return record


def read_file(
    source: pathlib.Path, network: Network, *, trunk: bool = False, kernel_order: str | None = None
) -> tuple[Params, Provenance]:
    """Returns the parameters that `convert` writes, and their record; arguments and errors are those of `convert`."""
    if source.suffix == ".npz" and networks.read_provenance(source) is not None:
        raise FormatError(f"{source} has a record already: it needs no conversion, cwcf_jax.load takes it as it is")
    foreign = formats.read(source, kernel_order=kernel_order)
    arrays = _renumbered(foreign.arrays) if foreign.format == "keras" else foreign.arrays
    theano = foreign.notes.get("kernel_order", "").startswith("theano")
    prefer = "keras, Theano order" if theano else foreign.format
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
        licence="unknown" if known is None else known.licence,
        preprocessing=network.spec.preprocessing if layout is None else layout.preprocessing,
        num_classes=network.spec.num_labels,
        class_names=network.spec.class_names,
        layout="own" if layout is None else layout.name,
        complete=not trunk,
        notes={"format": foreign.format, **foreign.notes, **({} if known is None else {"paper": known.paper})},
    )
    return params, record


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


def _entry(source: pathlib.Path) -> catalogue.CatalogueEntry | None:
    """The catalogue's entry for this very file, told by its hash."""
    digests: dict[str, str] = {}
    for entry in catalogue.read().values():
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
        hint += "\nThe layers before the head are there: --trunk takes them alone, to train a head of your own on"
    return hint
