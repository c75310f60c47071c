"""Layers that are exact on padded batches, and the bridge from an NNX module to a pure function.

A batch holds images of several sizes, each padded with zeros to a common shape. Every layer here reads zeros outside
the valid area, as the unpadded image's 'SAME' convolution would, and writes zeros there again.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from cwcf_jax.arrays import valid_mask
from cwcf_jax.networks.spec import Params, Sizes

Maps = Float[Array, "b _h _w _c"]
"""Maps of a batch; a layer's result may differ from its input in all but the batch."""


def keep_valid(maps: Maps, sizes: Sizes) -> Maps:
    """Zero outside the valid area of each image."""
    masks = jax.vmap(lambda size: valid_mask(size, maps.shape[1:3]))(sizes)
    return jnp.where(masks[..., None], maps, 0.0)


class Conv(nnx.Conv):
    """A convolution with explicit symmetric padding, in full float32 on every backend."""

    def __init__(self, inputs: int, outputs: int, kernel: int, *, stride: int = 1, groups: int = 1, rngs: nnx.Rngs):
        super().__init__(
            inputs,
            outputs,
            (kernel, kernel),
            strides=(stride, stride),
            padding=[(kernel // 2, kernel // 2)] * 2,
            feature_group_count=groups,
            kernel_init=nnx.initializers.he_normal(),
            precision=jax.lax.Precision.HIGHEST,
            rngs=rngs,
        )


def conv_relu(conv: Conv, maps: Maps, sizes: Sizes) -> Maps:
    """Convolution and ReLU; ``sizes`` are those of the result."""
    return keep_valid(jax.nn.relu(conv(maps)), sizes)


def max_pool(maps: Maps, sizes: Sizes, *, window: int, stride: int, pad: int = 0) -> Maps:
    """Max pooling that rounds the output size up, as Caffe does; ``sizes`` are those of the result.

    The input must be non-negative (it follows a ReLU), so that the zeros of the padding never win. The maximum of
    strided slices, rows first, then columns, is bit-identical to a window reduction and faster on CPU.
    """
    for axis in (1, 2):
        length = maps.shape[axis]
        outputs = pooled_size(length, window=window, stride=stride, pad=pad)
        reach = (outputs - 1) * stride + window
        widths = [(0, 0)] * 4
        widths[axis] = (pad, max(0, reach - length - pad))
        padded = jnp.pad(maps, widths)
        last = (outputs - 1) * stride + 1
        slices = [jax.lax.slice_in_dim(padded, i, i + last, stride, axis) for i in range(window)]
        maps = functools.reduce(jnp.maximum, slices)
    return keep_valid(maps, sizes)


def pooled_size(size: Any, *, window: int, stride: int, pad: int = 0) -> Any:
    """Output size of `max_pool`, for an int or an integer array; at least 1, so that no image is pooled away."""
    pooled = -(-(size + 2 * pad - window) // stride) + 1
    return jnp.maximum(pooled, 1) if isinstance(pooled, jax.Array) else max(pooled, 1)


def strided_size(size: Any, *, stride: int) -> Any:
    """Output size of a convolution padded by half its odd kernel."""
    return -(-size // stride)


def local_response_norm(maps: Maps, *, size: int = 5, alpha: float = 1e-4, beta: float = 0.75) -> Maps:
    """Across-channel response normalisation, ``x / (1 + alpha / size * sum x^2) ^ beta``.

    Source: Krizhevsky et al. 2012, section 3.3, with Caffe's division of alpha by the size. Only ``beta`` .75 is
    implemented: two reciprocal square roots instead of a power.
    """
    if beta != 0.75:
        raise ValueError(f"local_response_norm knows beta 0.75, not {beta}")
    squares = jnp.pad(jnp.square(maps), [(0, 0)] * 3 + [(size // 2, size // 2)])
    channels = maps.shape[-1]
    total = functools.reduce(jnp.add, [squares[..., i : i + channels] for i in range(size)])
    base = 1.0 + (alpha / size) * total
    return maps * jax.lax.rsqrt(base) * jax.lax.rsqrt(jnp.sqrt(base))


def mean_pool(maps: Maps, sizes: Sizes) -> Float[Array, "b c"]:
    """Global average pooling over the valid cells; the rest must be zero."""
    cells = jnp.prod(sizes, axis=-1).astype(maps.dtype)
    return jnp.sum(maps, axis=(1, 2)) / cells[:, None]


def as_functions(
    make: Callable[[nnx.Rngs], nnx.Module],
) -> tuple[Callable[..., Any], Callable[[], Params], Callable[[int], Params]]:
    """``apply``, ``shapes`` and ``initialize`` of a `Network`, made from an NNX module.

    The module's graph is traced once, abstractly and on first use: importing a network allocates nothing.
    """

    @functools.cache
    def split() -> tuple[Any, Any]:
        return nnx.split(nnx.eval_shape(lambda: make(nnx.Rngs(0))))

    def apply(params: Params, inputs: Float[Array, "b h w 3"], sizes: Sizes) -> Any:
        graph, abstract = split()
        state = jax.tree.map(lambda leaf: leaf, abstract)  # replace_by_pure_dict writes in place
        nnx.replace_by_pure_dict(state, params)
        return nnx.merge(graph, state)(inputs, sizes)

    def shapes() -> Params:
        return nnx.to_pure_dict(split()[1])

    def initialize(seed: int) -> Params:
        return jax.jit(lambda: nnx.to_pure_dict(nnx.state(make(nnx.Rngs(seed)))))()

    return apply, shapes, initialize
