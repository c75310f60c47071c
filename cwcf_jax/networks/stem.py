"""This module computes convolutions of pixels, whose few input channels leave the processor's multipliers idle.

On CPUs `multiply` gathers each result's whole window into one row of a matrix and computes one matrix product. Rows of
pixels are gathered first, then columns: a 3x3 window of stride 2 needs five copies instead of nine.

On GPUs with bfloat16 `convolve` joins neighbouring pixels of a row to cells. VGG-16's first layer has 0.5 % of the
network's arithmetic, but takes 15 % of its time. In memory, a row of w pixels of 3 channels is also a row of w / 4
cells of 12 channels, and 4 results of n channels are one result of 4 n channels. The convolution between these cells
has a wider kernel: four copies of the original kernel, each shifted by the stride, and zeros. The convolution needs up
to four times as many multiplications, so it is useful only in bfloat16, which the GPU's matrix units multiply.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from cwcf_jax.arrays import einsum

MAX_CHANNELS = 4
"""The largest number of input channels for which `multiply` or `convolve` is faster than XLA's convolution."""

MAX_MULTIPLIED_KERNEL = 3
"""The side of the widest kernel for which `multiply` is faster (docs/performance.md)."""

MAX_MULTIPLIED_OUTPUTS = 32
"""The largest number of output channels for which `multiply` is faster; XLA's convolution to 64 takes a third of the
time of its convolution to 32."""

CELL_RESULTS = 4
"""The number of neighbouring results that `convolve` joins to one cell (docs/performance.md)."""


def fits(width: int, stride: int) -> bool:
    """Tells whether the pixels of a row of this width can be joined to whole cells."""
    return width % (stride * CELL_RESULTS) == 0


def multiply(maps: Float[Array, "b h w c"], kernel: Float[Array, "y x c n"], stride: int) -> Float[Array, "b h2 w2 n"]:
    """Computes a convolution without padding as one matrix product with float32 sums."""
    rows, columns, inputs, outputs = kernel.shape
    batch, height, width, _ = maps.shape
    height, width = (height - rows) // stride + 1, (width - columns) // stride + 1
    window_cells = -(-columns // stride)  # each cell has `stride` pixels
    pixels = (width - 1 + window_cells) * stride
    maps = jnp.pad(maps[:, :, :pixels], ((0, 0), (0, 0), (0, max(0, pixels - maps.shape[2])), (0, 0)))
    cells = maps.reshape(batch, -1, width - 1 + window_cells, stride * inputs)
    last_row = stride * (height - 1) + 1
    cells = jnp.concatenate([cells[:, row : row + last_row : stride] for row in range(rows)], axis=3)
    windows = jnp.concatenate([cells[:, :, column : column + width] for column in range(window_cells)], axis=3)
    kernel = jnp.pad(kernel, ((0, 0), (0, window_cells * stride - columns), (0, 0), (0, 0)))
    kernel = kernel.reshape(rows, window_cells, stride * inputs, outputs).swapaxes(0, 1)
    kernel = kernel.reshape(windows.shape[3], outputs)
    return einsum("bhwc,cn->bhwn", windows, kernel).astype(maps.dtype)


def convolve(
    maps: Float[Array, "b h w c"], kernel: Float[Array, "y x c n"], bias: Float[Array, " n"], stride: int
) -> Float[Array, "b h2 w2 n"]:
    """Computes a convolution between cells, with padding of half the odd kernel.

    Half the kernel may be at most one cell wide, and ``width`` must satisfy `fits`.
    """
    batch, height, width, inputs = maps.shape
    rows, outputs = kernel.shape[0], kernel.shape[3]
    pixels = stride * CELL_RESULTS
    cells = maps.reshape(batch, height, width // pixels, pixels * inputs)
    results = jax.lax.conv_general_dilated(
        cells,
        widen(kernel, stride),
        window_strides=(stride, 1),
        padding=((rows // 2, rows // 2), (1, 1)),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        precision=jax.lax.Precision.HIGHEST,
    )
    results = results + jnp.tile(bias, CELL_RESULTS).reshape(1, 1, 1, -1)
    return results.reshape(batch, results.shape[1], width // stride, outputs)


def widen(kernel: Float[Array, "y x c n"], stride: int) -> Float[Array, "y 3 c2 n2"]:
    """Returns the kernel between cells of ``stride * CELL_RESULTS`` pixels.

    The kernel covers three columns of cells: the result's cell, the cell before and the cell after.
    """
    rows, columns, inputs, outputs = kernel.shape
    pixels = stride * CELL_RESULTS
    offsets = [pixels + stride * i - columns // 2 for i in range(CELL_RESULTS)]
    paddings = [((0, 0), (offset, 3 * pixels - columns - offset), (0, 0), (0, 0)) for offset in offsets]
    wide = jnp.stack([jnp.pad(kernel, padding) for padding in paddings], axis=3)
    return wide.reshape(rows, 3, pixels * inputs, CELL_RESULTS * outputs)
