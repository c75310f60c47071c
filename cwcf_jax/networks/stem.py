"""Convolutions of pixels: neighbours in a row become channels of one cell.

Three channels leave the units that multiply idle, and each kind of machine has its own way out.

On CPUs (`multiply`) each result's whole window is gathered into one row of a matrix, and one product does the rest.
Rows of pixels are gathered first, then columns, so that a 3x3 window of stride 2 takes five copies rather than nine.

On GPUs with bfloat16 (`convolve`) a convolution between cells stays. VGG-16's first layer, 0.5 % of its arithmetic,
is 15 % of its time. In memory a row of w pixels of 3 channels is also one of w / 4 cells of 12, and 4 results of n
channels one of 4 n; between these cells stands a convolution, whose kernel holds the original one four times, each time
shifted by the stride, and zeros. It multiplies up to four times as often, so it is nothing for float32, which no matrix
unit takes.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from cwcf_jax.arrays import einsum

MOST_CHANNELS = 4
"""Inputs up to which either is faster."""

MOST_GATHERED = 3
"""Side of the widest kernel for which `multiply` is faster (docs/performance.md)."""

MOST_OUTPUTS = 32
"""Outputs up to which `multiply` is faster; with 64, XLA's convolution takes a third of what it takes with 32."""

TOGETHER = 4
"""Results that become one cell (docs/performance.md)."""


def fits(width: int, stride: int) -> bool:
    """Whether the pixels of a row can be put together."""
    return width % (stride * TOGETHER) == 0


def multiply(maps: Float[Array, "b h w c"], kernel: Float[Array, "y x c n"], stride: int) -> Float[Array, "b h2 w2 n"]:
    """A convolution without padding as one matrix product; sums are float32."""
    rows, columns, inputs, outputs = kernel.shape
    batch, height, width, _ = maps.shape
    height, width = (height - rows) // stride + 1, (width - columns) // stride + 1
    reach = -(-columns // stride)  # cells, of `stride` pixels each, that a window touches
    pixels = (width - 1 + reach) * stride
    maps = jnp.pad(maps[:, :, :pixels], ((0, 0), (0, 0), (0, max(0, pixels - maps.shape[2])), (0, 0)))
    cells = maps.reshape(batch, -1, width - 1 + reach, stride * inputs)
    last = stride * (height - 1) + 1
    cells = jnp.concatenate([cells[:, row : row + last : stride] for row in range(rows)], axis=3)
    windows = jnp.concatenate([cells[:, :, column : column + width] for column in range(reach)], axis=3)
    kernel = jnp.pad(kernel, ((0, 0), (0, reach * stride - columns), (0, 0), (0, 0)))
    kernel = kernel.reshape(rows, reach, stride * inputs, outputs).swapaxes(0, 1).reshape(windows.shape[3], outputs)
    return einsum("bhwc,cn->bhwn", windows, kernel).astype(maps.dtype)


def convolve(
    maps: Float[Array, "b h w c"], kernel: Float[Array, "y x c n"], bias: Float[Array, " n"], stride: int
) -> Float[Array, "b h2 w2 n"]:
    """Padded by half its odd kernel, which may reach no farther than a cell; the width must fit."""
    batch, height, width, inputs = maps.shape
    rows, outputs = kernel.shape[0], kernel.shape[3]
    pixels = stride * TOGETHER
    cells = maps.reshape(batch, height, width // pixels, pixels * inputs)
    found = jax.lax.conv_general_dilated(
        cells,
        widen(kernel, stride),
        window_strides=(stride, 1),
        padding=((rows // 2, rows // 2), (1, 1)),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        precision=jax.lax.Precision.HIGHEST,
    )
    found = found + jnp.tile(bias, TOGETHER).reshape(1, 1, 1, -1)
    return found.reshape(batch, found.shape[1], width // stride, outputs)


def widen(kernel: Float[Array, "y x c n"], stride: int) -> Float[Array, "y 3 c2 n2"]:
    """The kernel between cells: a cell before, the same and a cell after, each of ``stride * TOGETHER`` pixels."""
    rows, columns, inputs, outputs = kernel.shape
    pixels = stride * TOGETHER
    firsts = [pixels + stride * i - columns // 2 for i in range(TOGETHER)]
    places = [((0, 0), (first, 3 * pixels - columns - first), (0, 0), (0, 0)) for first in firsts]
    wide = jnp.stack([jnp.pad(kernel, place) for place in places], axis=3)
    return wide.reshape(rows, 3, pixels * inputs, TOGETHER * outputs)
