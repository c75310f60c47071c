"""3x3 convolutions by fast matrix products, for CPUs: Winograd's F(4x4, 3x3) (Lavin & Gray 2016).

Each tile of 4 x 4 results comes from 6 x 6 inputs by 36 multiplications a pair of channels instead of 144. Tiles are
brought to the domain of the products and back by matrix products too, so the interpolation points may be any numbers:
0, +-2/3, +-3/2 and infinity err half as much as the usual 0, +-1, +-2 (measured; 4e-6 of a map's largest value at most
with 512 channels, 1e-6 root mean square).
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from cwcf_jax.arrays import einsum

TILE, KERNEL = 4, 3
POINTS = (0, 2 / 3, -2 / 3, 3 / 2, -3 / 2)
REACH = TILE + KERNEL - 1

LEAST_CHANNELS, LEAST_TILES = 128, 100
"""Inputs, outputs and tiles of a map from which on it is faster than XLA's convolution (docs/performance.md)."""


@functools.cache
def transforms() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of inputs [36, 36], kernels [36, 9] and results [16, 36]: both axes of a tile at once, rows first.

    The Toom-Cook algorithm transposed: evaluation at the points, and the inverse of interpolation.
    """
    powers = np.vander([*POINTS, 0.0], REACH, increasing=True)
    powers[-1] = np.eye(REACH)[-1]  # infinity: the leading coefficient
    inputs = np.linalg.inv(powers).T
    scale = np.abs(inputs).max(axis=1, keepdims=True)
    evaluate_kernel, evaluate_tile = (np.vstack([powers[:-1, :count], np.eye(count)[-1:]]) for count in (KERNEL, TILE))
    inputs, kernels, results = inputs / scale, evaluate_kernel * scale, evaluate_tile.T
    of_inputs, of_kernels, of_results = (np.kron(one, one).astype(np.float32) for one in (inputs, kernels, results))
    return of_inputs, of_kernels, of_results


def pays(height: int, width: int) -> bool:
    """Whether a map is large enough for it."""
    return -(-height // TILE) * -(-width // TILE) >= LEAST_TILES


def convolve(maps: Float[Array, "b h w c"], kernel: Float[Array, "3 3 c n"]) -> Float[Array, "b h w n"]:
    """Stride 1, padded by a row and a column of zeros on each side."""
    batch, height, width, inputs = maps.shape
    outputs = kernel.shape[3]
    rows, columns = -(-height // TILE), -(-width // TILE)
    of_inputs, of_kernels, of_results = transforms()
    padded = jnp.pad(maps, ((0, 0), (1, TILE * rows + 1 - height), (1, TILE * columns + 1 - width), (0, 0)))
    tiles = _places(_places(padded, 2, columns), 2, rows)  # [row, column, b, rows, columns, c]
    tiles = einsum("pq,qx->px", of_inputs, tiles.reshape(REACH**2, -1))
    kernels = einsum("pq,qx->px", of_kernels, kernel.reshape(KERNEL**2, -1))
    products = einsum(
        "ptc,pcn->ptn",
        tiles.reshape(REACH**2, batch * rows * columns, inputs),
        kernels.reshape(REACH**2, inputs, outputs),
    )
    results = einsum("pq,qx->px", of_results, products.reshape(REACH**2, -1))
    results = results.reshape(TILE, TILE, batch, rows, columns, outputs).transpose(2, 3, 0, 4, 1, 5)
    return results.reshape(batch, TILE * rows, TILE * columns, outputs)[:, :height, :width].astype(maps.dtype)


def _places(maps: Float[Array, "..."], axis: int, tiles: int) -> Float[Array, "6 ..."]:
    """Entry i of a new first axis holds what stands at place i of each tile along ``axis``."""
    last = TILE * (tiles - 1) + 1
    return jnp.stack([jax.lax.slice_in_dim(maps, i, i + last, TILE, axis) for i in range(REACH)])
