"""This module computes depthwise convolutions, which apply one k x k filter to each channel.

On CPUs, XLA's grouped convolution is 20 to 100 times slower than necessary. So on CPUs a depthwise layer is a sum of
k x k shifted maps, each multiplied by one row of the kernel, and XLA fuses the sum into one loop over memory
(docs/performance.md). On GPUs the grouped convolution of the vendor's library is fast.

The padding before a map does not depend on the map's size: half the kernel if the stride is 1, and one row and one
column less if the stride is 2. TensorFlow's SAME padding is equal for even sides. For odd sides TensorFlow pads
differently, which is impossible in a batch of images that are padded to a common shape.
"""

import functools
import itertools

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from cwcf_jax.networks.spec import Sizes

RELU6_MAX = 6.0
"""The largest value of ReLU6."""


def padding_before(kernel: int, stride: int) -> int:
    """Returns the number of rows, or columns, of zeros before a map."""
    return (kernel - stride) // 2 if stride > 1 else kernel // 2


def padding_after(length: int, kernel: int, stride: int) -> int:
    """Returns the number of rows of zeros after a map of ``length`` rows, enough for ceil(length / stride) results.

    The same holds for columns.
    """
    results = -(-length // stride)
    return max(0, (results - 1) * stride + kernel - padding_before(kernel, stride) - length)


def pad(maps: Float[Array, "b h w c"], kernel: int, stride: int) -> Float[Array, "b h2 w2 c"]:
    """Pads the rows and columns of maps with as many zeros as a depthwise layer, or a stem, reads."""
    sides = [(padding_before(kernel, stride), padding_after(length, kernel, stride)) for length in maps.shape[1:3]]
    return jnp.pad(maps, [(0, 0), *sides, (0, 0)])


def clip(maps: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
    """Computes ReLU6 without a mask: values are clipped to 0 to 6."""
    return jnp.clip(maps, 0.0, RELU6_MAX)


def relu6(maps: Float[Array, "b h w c"], sizes: Sizes) -> Float[Array, "b h w c"]:
    """Computes ReLU6 inside the valid area of each image and writes zeros outside, where a bias has left values."""
    rows, columns = (
        jnp.arange(length)[None] < sizes[:, axis : axis + 1] for axis, length in enumerate(maps.shape[1:3])
    )
    limits = jnp.where(rows[:, :, None] & columns[:, None, :], RELU6_MAX, 0.0).astype(maps.dtype)
    return jnp.minimum(jax.nn.relu(maps), limits[..., None])


class DepthwiseConv(nnx.Module):
    """A `DepthwiseConv` applies a k x k filter to each channel and adds a bias; k is odd, and the stride is 1 or 2.

    Maps must be zero outside their valid area. Maps of n rows or columns give ceil(n / stride) rows or columns.
    """

    def __init__(self, channels: int, kernel: int, *, stride: int = 1, rngs: nnx.Rngs):
        if kernel % 2 == 0 or stride not in (1, 2):
            raise ValueError(f"depthwise layers have an odd kernel and stride 1 or 2, not {kernel} and {stride}")
        initial = nnx.initializers.he_normal()
        self.kernel = nnx.Param(initial(rngs.params(), (kernel, kernel, 1, channels)))
        self.bias = nnx.Param(jnp.zeros(channels))
        self.stride = stride

    def __call__(self, maps: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 c"]:
        filtered = jax.lax.platform_dependent(
            pad(maps, self.kernel.shape[0], self.stride),
            self.kernel[...],
            cpu=functools.partial(shifted, stride=self.stride),
            default=functools.partial(grouped, stride=self.stride),
        )
        return filtered + self.bias[...].reshape(1, 1, 1, -1)


@functools.partial(jax.jit, static_argnames="stride")
def shifted(padded: Float[Array, "b h w c"], kernel: Float[Array, "k k 1 c"], stride: int) -> Float[Array, "b h2 w2 c"]:
    """Computes a depthwise convolution of padded maps as a sum of shifted maps, in float32."""
    side = kernel.shape[0]
    height, width = ((length - side) // stride + 1 for length in padded.shape[1:3])
    terms = []
    for row, column in itertools.product(range(side), repeat=2):
        ends = (row + (height - 1) * stride + 1, column + (width - 1) * stride + 1)
        shifted_maps = padded[:, row : ends[0] : stride, column : ends[1] : stride]
        terms.append(shifted_maps.astype(jnp.float32) * kernel[row, column].astype(jnp.float32)[None, None])
    return functools.reduce(jnp.add, terms).astype(padded.dtype)


def grouped(padded: Float[Array, "b h w c"], kernel: Float[Array, "k k 1 c"], stride: int) -> Float[Array, "b h2 w2 c"]:
    """Computes a depthwise convolution of padded maps as XLA's grouped convolution, in full precision."""
    return jax.lax.conv_general_dilated(
        padded,
        kernel,
        (stride, stride),
        "VALID",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=padded.shape[3],
        precision=jax.lax.Precision.HIGHEST,
    )
