"""Depthwise convolutions: one k x k filter a channel.

XLA's grouped convolution takes 20 to 100 times too long on CPUs. There a depthwise layer is the sum of k x k shifted
maps, each times its row of the kernel, which XLA makes one loop over memory (docs/performance.md). GPUs' libraries have
an algorithm of their own.

The padding starts at a fixed place, whatever the size: half of the kernel before a map where the stride is 1, a row and
a column fewer where it is 2. That is TensorFlow's SAME padding of even sides. TensorFlow pads odd sides otherwise, and
a batch that is padded to a common shape could not follow it.
"""

import functools
import itertools

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from cwcf_jax.networks.spec import Sizes

SIX = 6.0
"""Where ReLU6 ends."""


def before(kernel: int, stride: int) -> int:
    """Rows, and columns, of zeros before a map."""
    return (kernel - stride) // 2 if stride > 1 else kernel // 2


def after(length: int, kernel: int, stride: int) -> int:
    """Rows of zeros after a map of ``length`` rows, columns likewise: as many as ceil(length / stride) results read."""
    results = -(-length // stride)
    return max(0, (results - 1) * stride + kernel - before(kernel, stride) - length)


def pad(maps: Float[Array, "b h w c"], kernel: int, stride: int) -> Float[Array, "b h2 w2 c"]:
    """Zeros before and after the rows and columns of maps, as many as a depthwise layer, or a stem, reads."""
    sides = [(before(kernel, stride), after(length, kernel, stride)) for length in maps.shape[1:3]]
    return jnp.pad(maps, [(0, 0), *sides, (0, 0)])


def clip(maps: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
    """ReLU6: what is below 0 or above 6 becomes that."""
    return jnp.clip(maps, 0.0, SIX)


def relu6(maps: Float[Array, "b h w c"], sizes: Sizes) -> Float[Array, "b h w c"]:
    """ReLU6 inside the valid area of each image; zero outside, where a bias would leave something."""
    rows, columns = (
        jnp.arange(length)[None] < sizes[:, axis : axis + 1] for axis, length in enumerate(maps.shape[1:3])
    )
    limits = jnp.where(rows[:, :, None] & columns[:, None, :], SIX, 0.0).astype(maps.dtype)
    return jnp.minimum(jax.nn.relu(maps), limits[..., None])


class DepthwiseConv(nnx.Module):
    """A k x k filter for each channel and a bias; k is odd, the stride 1 or 2.

    Maps must be zero outside their valid area. Of n rows or columns come ceil(n / stride).
    """

    def __init__(self, channels: int, kernel: int, *, stride: int = 1, rngs: nnx.Rngs):
        if kernel % 2 == 0 or stride not in (1, 2):
            raise ValueError(f"depthwise layers have an odd kernel and stride 1 or 2, not {kernel} and {stride}")
        initial = nnx.initializers.he_normal()
        self.kernel = nnx.Param(initial(rngs.params(), (kernel, kernel, 1, channels)))
        self.bias = nnx.Param(jnp.zeros(channels))
        self.stride = stride

    def __call__(self, maps: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 c"]:
        found = jax.lax.platform_dependent(
            pad(maps, self.kernel.shape[0], self.stride),
            self.kernel[...],
            cpu=functools.partial(shifted, stride=self.stride),
            default=functools.partial(grouped, stride=self.stride),
        )
        return found + self.bias[...].reshape(1, 1, 1, -1)


@functools.partial(jax.jit, static_argnames="stride")
def shifted(padded: Float[Array, "b h w c"], kernel: Float[Array, "k k 1 c"], stride: int) -> Float[Array, "b h2 w2 c"]:
    """The sum of shifted maps, each times its row of the kernel, in float32; without further padding."""
    side = kernel.shape[0]
    height, width = ((length - side) // stride + 1 for length in padded.shape[1:3])
    terms = []
    for row, column in itertools.product(range(side), repeat=2):
        ends = (row + (height - 1) * stride + 1, column + (width - 1) * stride + 1)
        part = padded[:, row : ends[0] : stride, column : ends[1] : stride]
        terms.append(part.astype(jnp.float32) * kernel[row, column].astype(jnp.float32)[None, None])
    return functools.reduce(jnp.add, terms).astype(padded.dtype)


def grouped(padded: Float[Array, "b h w c"], kernel: Float[Array, "k k 1 c"], stride: int) -> Float[Array, "b h2 w2 c"]:
    """The library's own convolution of one channel a group, in full precision; without further padding."""
    return jax.lax.conv_general_dilated(
        padded,
        kernel,
        (stride, stride),
        "VALID",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=padded.shape[3],
        precision=jax.lax.Precision.HIGHEST,
    )
