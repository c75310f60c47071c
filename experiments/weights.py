"""This module turns the flags of weights into a network and its weights: in a named file, or installed."""

import dataclasses
import pathlib

from cwcf_jax import networks
from cwcf_jax.weights import finding
from cwcf_jax.weights.finding import FoundWeights
from cwcf_jax.weights.installed import DEFAULT_NETWORK


@dataclasses.dataclass(frozen=True)
class Weights:
    """A `Weights` holds a network and the source of its weights.

    Attributes:
        network: network with the classes and the preprocessing that the weights' record names.
        file: file or checkpoint; None if no file was named.
        installed: installed or cached weights; None if a file was named.
    """

    network: networks.Network
    file: str | None = None
    installed: FoundWeights | None = None

    @property
    def source(self) -> str | networks.Params | None:
        """Returns the weights for `cwcf_jax.load`."""
        return self.installed.params if self.installed else self.file

    def fingerprint(self) -> str:
        """Returns the sha256 of the file, or of the file that installed weights were converted from."""
        return self.installed.fingerprint if self.installed else networks.fingerprint(str(self.file))


def weights_of(weights: str | None, network: str | None = None) -> Weights:
    """Returns the weights that FILE, NETWORK:FILE or NETWORK names.

    Args:
        weights: the file; for a network alone or None, `finding.find` looks for installed or cached weights.
        network: name of the network if ``weights`` does not begin with it; None: the network that the record names, or
            without weights the default network.

    Raises:
        FileNotFoundError, ValueError: the file does not exist, its network is unknown, or no weights are found.
    """
    name, file = split(weights) if weights else (None, "")
    name = name or network
    if not file:
        installed = finding.find_weights(networks.get(name or DEFAULT_NETWORK))
        return Weights(installed.network, installed=installed)
    if not pathlib.Path(file).exists():
        raise FileNotFoundError(f"no weights at {file}: see weights/README.md for where they come from")
    record = networks.read_provenance(file)
    if name is None and record is not None:
        name = record.network
    if name is None:
        raise ValueError(f"{file} does not name its network; write NETWORK:{file}, or name it by --network")
    return Weights(networks.adapt(networks.get(name), record), file)


def split(weights: str) -> tuple[str | None, str]:
    """Returns the network, or None, and the file, or an empty text, of NETWORK:FILE."""
    name, _, file = weights.partition(":")
    return (name, file) if name in networks.NETWORKS else (None, weights)
