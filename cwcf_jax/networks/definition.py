"""This module turns an NNX module into a `Network` of pure functions."""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from cwcf_jax.networks import layers
from cwcf_jax.networks.spec import Network, NetworkSpec, Params, Sizes, WeightLayout


def define_network(
    spec: NetworkSpec,
    module: Callable[..., nnx.Module],
    map_sizes: Callable[[Sizes], dict[str, Sizes]],
    layouts: Callable[[], tuple[WeightLayout, ...]],
) -> Network:
    """Returns the network that ``module(rngs, num_labels=...)`` computes.

    The module's graph is traced once, abstractly and on first use, so defining a network allocates no arrays. Networks
    of one module with the same number of classes share their functions, and thus their compilations.
    """
    apply, shapes, initialize = _as_functions(module, map_sizes, spec.num_labels)
    return Network(spec, apply, map_sizes, shapes, initialize, layouts, _Rebuild(module, map_sizes, layouts))


@dataclasses.dataclass(frozen=True)
class _Rebuild:
    """A `_Rebuild` calls `define_network` with another spec; unlike partials, equal ones compare equal."""

    module: Callable[..., nnx.Module]
    map_sizes: Callable[[Sizes], dict[str, Sizes]]
    layouts: Callable[[], tuple[WeightLayout, ...]]

    def __call__(self, spec: NetworkSpec) -> Network:
        return define_network(spec, self.module, self.map_sizes, self.layouts)


@functools.cache
def _as_functions(
    module: Callable[..., nnx.Module], map_sizes: Callable[[Sizes], dict[str, Sizes]], num_labels: int
) -> tuple[Callable[..., Any], Callable[[], Params], Callable[[int], Params]]:
    make = functools.partial(module, num_labels=num_labels)

    @functools.cache
    def split() -> tuple[Any, Any]:
        return nnx.split(nnx.eval_shape(lambda: make(nnx.Rngs(0))))

    def apply(params: Params, inputs: Float[Array, "b h w 3"], sizes: Sizes) -> Any:
        graph, abstract = split()
        state = jax.tree.map(lambda leaf: leaf, abstract)  # a copy: replace_by_pure_dict writes in place
        nnx.replace_by_pure_dict(state, params)
        logits, maps = nnx.merge(graph, state)(inputs, sizes)
        valid_sizes = map_sizes(sizes)
        return logits, {name: layers.mask_padding(layer_maps, valid_sizes[name]) for name, layer_maps in maps.items()}

    def shapes() -> Params:
        return nnx.to_pure_dict(split()[1])

    return apply, shapes, functools.partial(_initialize, shapes)


def _initialize(shapes: Callable[[], Params], seed: int) -> Params:
    """Draws normal kernels of variance 2 / fan-in (He et al. 2015), equal on every backend; scales 1 and biases 0."""
    generator = np.random.default_rng(seed)

    def draw(path: Any, leaf: jax.ShapeDtypeStruct) -> jax.Array:
        if path[-1].key != "kernel":
            return jnp.full(leaf.shape, float(path[-1].key == "scale"), jnp.float32)
        deviation = np.float32(np.sqrt(2.0 / math.prod(leaf.shape[:-1])))
        return jnp.asarray(generator.standard_normal(leaf.shape, np.float32) * deviation)

    return jax.tree_util.tree_map_with_path(draw, shapes())
