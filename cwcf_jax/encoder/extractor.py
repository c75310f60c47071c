"""This module computes the feature maps of one layer of any network, for baselines that need no CAMs."""

import dataclasses
import pathlib

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
from numpy.typing import ArrayLike

from cwcf_jax import networks
from cwcf_jax.encoder.model import count_params, load_network


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Extractor:
    """An `Extractor` is a network, its parameters and the name of one of its layers; a pytree of the parameters.

    Attributes:
        params: the network's parameters.
        network: the network, with or without a CAM layer; static.
        layer: the name of the layer; static.
    """

    params: networks.Params
    network: networks.Network = dataclasses.field(metadata={"static": True})
    layer: str = dataclasses.field(metadata={"static": True})

    @property
    def dim(self) -> int:
        """Returns the number of channels of the layer."""
        return self.network.spec.layer(self.layer).channels

    def __repr__(self) -> str:
        return f"Extractor({self.network.spec.name}, {self.layer}, {count_params(self.params):,} parameters)"


def load_extractor(
    network: networks.Network, weights: str | pathlib.Path | networks.Params | None = None, *, layer: str | None = None
) -> Extractor:
    """Loads an extractor. ``weights`` and errors: see `load`; ``layer`` None stands for the network's default layer."""
    layer_name = network.spec.layer(layer).name
    network, params = load_network(network, weights)
    return Extractor(params, network, layer_name)


@jax.jit
def layer_maps(
    extractor: Extractor, images: ArrayLike, sizes: Int[Array, "b 2"]
) -> tuple[Float[Array, "b h w k"], Int[Array, "b 2"]]:
    """Computes the layer's feature maps, and their valid areas, of a padded batch [b, height, width, 3], RGB, 0-255."""
    network = extractor.network
    inputs = networks.preprocess(jnp.asarray(images), sizes, network.spec.preprocessing)
    _, maps = network.apply(extractor.params, inputs, sizes)
    return maps[extractor.layer], network.map_sizes(sizes)[extractor.layer]
