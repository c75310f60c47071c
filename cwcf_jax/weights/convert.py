"""This module converts weights of other frameworks to checkpoints of this library.

Sources are Caffe ``.caffemodel``, Keras ``.h5``, torchvision ``.pth``, ``.safetensors`` and ``.npz`` files. The output
is an Orbax checkpoint, or one ``.npz`` file, with a provenance record; `cwcf_jax.load` reads both.
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
    """Writes ``source`` as a checkpoint of ``network`` and returns its provenance record.

    Args:
        source: a file that `cwcf_jax.weights.formats` reads.
        network: network of the weights.
        output: folder, or ``.npz`` file, to write; must not exist. After an error nothing is left of it.
        trunk: whether only the layers before the head are converted.
        kernel_order: see `cwcf_jax.weights.formats.read`.
        licence: licence for the record; None: the licence in the catalogue for a file with this hash.

    Raises:
        FileNotFoundError, FileExistsError: the source does not exist, or the output exists already.
        FormatError: the source has another format than its suffix says, is damaged, or would run code.
        CheckpointError: the source has another network's weights; the message names every wrong key.
    """
    if output.exists():
        raise FileExistsError(f"{output} exists already; remove it or choose another output")
    params, record = read_file(source, network, trunk=trunk, kernel_order=kernel_order)
    if licence:
        record = dataclasses.replace(record, licence=licence)
    networks.save_params(params, output, record)
    return record


def read_file(
    source: pathlib.Path, network: Network, *, trunk: bool = False, kernel_order: str | None = None
) -> tuple[Params, Provenance]:
    """Returns the parameters and the record that `convert` writes; arguments and errors are those of `convert`."""
    if source.suffix == ".npz" and networks.read_provenance(source) is not None:
        raise FormatError(f"{source} has a record already: it needs no conversion, cwcf_jax.load reads it as it is")
    foreign = formats.read(source, kernel_order=kernel_order)
    arrays = _renumber_layers(foreign.arrays) if foreign.format == "keras" else foreign.arrays
    is_theano = foreign.notes.get("kernel_order", "").startswith("theano")
    prefer = "keras, Theano order" if is_theano else foreign.format
    layout = networks.choose_layout(network, arrays, prefer=prefer)
    try:
        params = networks.import_params(network, arrays, str(source), trunk=trunk, prefer=prefer)
    except CheckpointError as error:
        raise CheckpointError(f"{error}{_advice(network, arrays)}") from error
    entry = _find_entry(source)
    record = Provenance(
        network=network.spec.name,
        source=source.name if entry is None else entry.url,
        sha256=networks.fingerprint(source),
        licence="unknown" if entry is None else entry.licence,
        preprocessing=network.spec.preprocessing if layout is None else layout.preprocessing,
        num_classes=network.spec.num_labels,
        class_names=network.spec.class_names,
        layout="own" if layout is None else layout.name,
        complete=not trunk,
        notes={"format": foreign.format, **foreign.notes, **({} if entry is None else {"paper": entry.paper})},
    )
    return params, record


def _renumber_layers(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Renumbers unnamed Keras layers from 1, since Keras counts them through a whole session."""
    numbers: dict[str, int] = {}
    for key in arrays:
        if match := _UNNAMED_LAYER.match(key):
            numbers[match[1]] = min(int(match[2]), numbers.get(match[1], int(match[2])))

    def renumber(match: re.Match[str]) -> str:
        return f"{match[1]}_{int(match[2]) - numbers[match[1]] + 1}/"

    return {_UNNAMED_LAYER.sub(renumber, key): array for key, array in arrays.items()}


_UNNAMED_LAYER = re.compile(r"^(convolution2d|dense)_(\d+)/")


def _find_entry(source: pathlib.Path) -> catalogue.CatalogueEntry | None:
    """Returns the entry of the catalogue with the hash of this file; None if there is no such entry."""
    digests: dict[str, str] = {}
    for entry in catalogue.read_catalogue().values():
        if entry.hash is None:
            continue
        if entry.hash.algorithm not in digests:
            with source.open("rb") as file:
                digests[entry.hash.algorithm] = hashlib.file_digest(file, entry.hash.algorithm).hexdigest()
        if entry.hash.matches(digests[entry.hash.algorithm]):
            return entry
    return None


def _advice(network: Network, arrays: Mapping[str, np.ndarray]) -> str:
    """Returns advice: the networks that the arrays fit, and whether they fit the trunk of ``network``."""
    names = [other.spec.name for other in networks.NETWORKS.values() if networks.fits(other, arrays)]
    advice = f"\nThe file fits --network={' or '.join(names)}" if names else ""
    if networks.fits(network, arrays, trunk=True):
        advice += "\nThe layers before the head fit: --trunk converts only these, to train a new head"
    return advice
