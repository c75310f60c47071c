"""This module holds the arithmetic that several subpackages share: products, norms, masks, quantisation to int8.

Dimension names in signatures: ``b`` batch, ``h w`` rows and columns of a map, ``k`` channels of the feature layer,
``c`` channels of the CAM layer, ``n`` classes, ``d`` dimensions of a descriptor.
"""

import functools
import math
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Int8, Num

Size = Int[Array, "2"]
"""Rows and columns of the valid area of a padded array."""

Shape = tuple[int, ...]
"""Rows and columns of an array: ``maps.shape[:2]``. The length is always two."""

_einsum = functools.partial(jnp.einsum, precision=jax.lax.Precision.HIGHEST, preferred_element_type=jnp.float32)

Values = TypeVar("Values", Array, np.ndarray)
"""An array on a device or on the host."""

LEVELS = 127
"""Number of steps of `quantize` from zero to the largest magnitude that shares a scale."""

MIN_FREE_SIZE = 256
"""The smallest size of both operands for which `einsum_bf16x3` is faster (docs/performance.md).

The size of an operand is the product of its dimensions that the other operand lacks.
"""


def einsum(subscripts: str, *operands: Array | np.ndarray) -> Float[Array, "..."]:
    """Computes `jnp.einsum` with products in full precision on every backend and sums in float32.

    Where one of two large operands is bfloat16, accelerators use `einsum_bf16x3`.
    """
    if len(operands) != 2 or not _gains_from_parts(subscripts, *operands):
        return _einsum(subscripts, *operands)
    return jax.lax.platform_dependent(
        *operands, cpu=functools.partial(_einsum, subscripts), default=functools.partial(einsum_bf16x3, subscripts)
    )


def _gains_from_parts(subscripts: str, left: Array | np.ndarray, right: Array | np.ndarray) -> bool:
    if (left.dtype == jnp.bfloat16) == (right.dtype == jnp.bfloat16):
        return False
    letters = subscripts.split("->")[0].split(",")
    sizes = dict(zip("".join(letters), left.shape + right.shape, strict=True))
    free_dimensions = (set(letters[0]) - set(letters[1]), set(letters[1]) - set(letters[0]))
    return all(math.prod(sizes[letter] for letter in free) >= MIN_FREE_SIZE for free in free_dimensions)


def einsum_bf16x3(subscripts: str, left: Float[Array, "..."], right: Float[Array, "..."]) -> Float[Array, "..."]:
    """Computes `einsum` of a bfloat16 and a float32 operand as three products of bfloat16, the smallest part first.

    The result is as exact, because a float32 is the sum of three bfloat16. Matrix units multiply bfloat16 far faster.
    """
    if left.dtype == jnp.bfloat16:
        products = [_einsum(subscripts, left, part) for part in bfloat16_parts(right)]
    else:
        products = [_einsum(subscripts, part, right) for part in bfloat16_parts(left)]
    return functools.reduce(jnp.add, products)


def bfloat16_parts(values: Float[Array, "*shape"]) -> list[Float[Array, "*shape"]]:
    """Returns three bfloat16 arrays whose sum is ``values``, the smallest part first; below 1e-33 bits are lost."""
    parts = []
    for _ in range(3):
        # XLA removes a conversion to bfloat16 and back by `astype`, but keeps `reduce_precision`.
        part = jax.lax.reduce_precision(values, exponent_bits=8, mantissa_bits=7)
        parts.append(part.astype(jnp.bfloat16))
        values = values - part
    return parts[::-1]


def l2_normalize(vectors: Float[Array, "*batch d"]) -> Float[Array, "*batch d"]:
    """Scales each vector to Euclidean norm 1; a zero vector stays zero, with a zero gradient instead of NaN."""
    inverse = inverse_norm(vectors)[..., None]
    return jnp.where(inverse > 0, vectors * inverse, 0.0)


def inverse_norm(vectors: Float[Array, "*batch d"]) -> Float[Array, "*batch"]:
    """Returns 1 over the Euclidean norm of each vector; 0, with a zero gradient, for a zero vector."""
    square = jnp.sum(jnp.square(vectors), axis=-1)
    positive = square > 0
    return jnp.where(positive, jax.lax.rsqrt(jnp.where(positive, square, 1.0)), 0.0)


def quantize(
    numbers: Float[Values, "*shape"], axis: int | tuple[int, ...] = -1, *, keep_nonzero: bool = False
) -> tuple[Int8[Values, "*shape"], Float[Values, "*batch"]]:
    """Rounds numbers to int8 in steps of 1 / `LEVELS` of the largest magnitude that shares their scale.

    numpy arrays stay on the host, where arrays of any shape need no compilation.

    Args:
        numbers: finite numbers.
        axis: the axis or axes along which numbers share a scale; static. The default gives each vector its own scale.
        keep_nonzero: whether small numbers that would round to 0 become one step, with an error below one step;
            static.

    Returns:
        ``values`` of the shape of ``numbers``, and ``scales``, float32 of the same shape without ``axis``. The scale is
        0 where all numbers are 0.
    """
    xp = numbers.__array_namespace__()
    numbers = numbers.astype(np.float32)
    scales = xp.max(xp.abs(numbers), axis=axis) / np.float32(LEVELS)
    steps = xp.round(numbers / xp.expand_dims(xp.where(scales > 0, scales, np.float32(1.0)), axis))
    if keep_nonzero:
        steps = xp.where((steps == 0) & (numbers != 0), xp.sign(numbers), steps)
    return xp.clip(steps, -LEVELS, LEVELS).astype(np.int8), scales


def dequantize(
    values: Num[Values, "*shape"],
    scales: Float[Values, "*batch"] | None,
    axis: int | tuple[int, ...] = -1,
) -> Float[Values, "*shape"]:
    """Computes float32 numbers from the ``values`` and ``scales`` of `quantize`; None stands for scales of 1."""
    numbers = values.astype(np.float32)
    return numbers if scales is None else numbers * scales.__array_namespace__().expand_dims(scales, axis)


def valid_mask(size: Size, shape: Shape) -> Bool[Array, "h w"]:
    """Returns a mask of ``shape`` that is True on the valid area, the first ``size`` rows and columns."""
    rows, columns = jnp.arange(shape[0]), jnp.arange(shape[1])
    return (rows < size[0])[:, None] & (columns < size[1])[None, :]


def bucket_shape(shape: tuple[int, int], *steps: int) -> tuple[int, int]:
    """Returns the bucket of images of ``shape``: each side rounded up to the nearest multiple of any of ``steps``."""
    height, width = (min(-(-side // step) * step for step in steps) for side in shape)
    return height, width
