"""Which weights a driver's flags mean: a file, or what is found for a network."""

import dataclasses
import pathlib

from cwcf_jax import networks
from cwcf_jax.weights import finding
from cwcf_jax.weights.finding import FoundWeights
from cwcf_jax.weights.installed import DEFAULT_NETWORK


@dataclasses.dataclass(frozen=True)
class Weights:
    """A network and where its weights are.

    Attributes:
        network: with the classes and the preprocessing that the weights' record names.
        file: a file or checkpoint; None where the weights were found.
        found: the weights where no file was named.
    """

    network: networks.Network
    file: str | None = None
    found: FoundWeights | None = None

    @property
    def source(self) -> str | networks.Params | None:
        """What `cwcf_jax.load` takes."""
        return self.found.params if self.found else self.file

    def fingerprint(self) -> str:
        """sha256 of the file, or of the one that found weights were converted from."""
        return self.found.fingerprint if self.found else networks.fingerprint(str(self.file))


def weights_of(weights: str | None, network: str | None = None) -> Weights:
    """The weights that FILE, NETWORK:FILE or NETWORK names.

    Args:
        weights: the file; a network alone or None: what `finding.find` finds for the network.
        network: name of the network where ``weights`` does not begin with it; None: the one that the record names, or
            without weights the default network.

    Raises:
        FileNotFoundError, ValueError: there is no such file, nothing says of which network it is, or nothing is found.
    """
    name, file = split(weights) if weights else (None, "")
    name = name or network
    if not file:
        found = finding.find(networks.get(name or DEFAULT_NETWORK))
        return Weights(found.network, found=found)
    if not pathlib.Path(file).exists():
        raise FileNotFoundError(f"no weights at {file}: see weights/README.md for where they come from")
    record = networks.read_provenance(file)
    if name is None and record is not None:
        name = record.network
    if name is None:
        raise ValueError(
            f"{file} does not say which network it is of; write NETWORK:{file}, or --network for --weights"
        )
    return Weights(networks.adapt(networks.get(name), record), file)


def split(weights: str) -> tuple[str | None, str]:
    """The network and the file of NETWORK:FILE; without a network it is None, without a file that is empty."""
    name, _, file = weights.partition(":")
    return (name, file) if name in networks.NETWORKS else (None, weights)
