"""The maps of one layer of any network, with or without a CAM head: what baselines without CAMs are made of."""

import dataclasses
import pathlib

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
from numpy.typing import ArrayLike

from cwcf_jax import networks
from cwcf_jax.encoder.model import count_params, with_weights


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Extractor:
    """A network with its weights and one of its layers: a pytree whose leaves are the weights."""

    params: networks.Params
    network: networks.Network = dataclasses.field(metadata={"static": True})
    layer: str = dataclasses.field(metadata={"static": True})

    @property
    def dim(self) -> int:
        """Channels of the layer."""
        return self.network.spec.layer(self.layer).channels

    def __repr__(self) -> str:
        return f"Extractor({self.network.spec.name}, {self.layer}, {count_params(self.params):,} parameters)"


def load_extractor(
    network: networks.Network, weights: str | pathlib.Path | networks.Params | None = None, *, layer: str | None = None
) -> Extractor:
    """Loads an extractor; ``weights`` and errors are those of `load`, ``layer`` None is the network's default."""
    chosen = network.spec.layer(layer).name
    network, params = with_weights(network, weights)
    return Extractor(params, network, chosen)


@jax.jit
def layer_maps(
    extractor: Extractor, images: ArrayLike, sizes: Int[Array, "b 2"]
) -> tuple[Float[Array, "b h w k"], Int[Array, "b 2"]]:
    """The layer's maps of a padded batch [b, height, width, 3] RGB, 0-255, and how much of each is valid."""
    network = extractor.network
    inputs = networks.preprocess(jnp.asarray(images), sizes, network.spec.preprocessing)
    _, maps = network.apply(extractor.params, inputs, sizes)
    return maps[extractor.layer], network.map_sizes(sizes)[extractor.layer]
