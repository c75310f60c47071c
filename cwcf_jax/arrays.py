"""Shapes and the little arithmetic that every stage shares.

Dimension names in signatures: ``b`` batch, ``h w`` rows and columns of a map, ``k`` channels of the feature layer,
``c`` channels of the CAM layer, ``n`` classes, ``d`` dimensions of a descriptor.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

Size = Int[Array, "2"]
"""Rows and columns that are valid, the rest of an array being padding."""

Shape = tuple[int, ...]
"""Rows and columns of an array: ``maps.shape[:2]``, always two."""

_einsum = functools.partial(jnp.einsum, precision=jax.lax.Precision.HIGHEST, preferred_element_type=jnp.float32)


def einsum(subscripts: str, *operands: Array | np.ndarray) -> Float[Array, "..."]:
    """`jnp.einsum` that multiplies in full precision on every backend and accumulates in float32.

    A float32 is the sum of three bfloat16: where one of two operands is bfloat16, accelerators multiply it by each part
    of the other, which is as exact and runs in their matrix units at several times the speed.
    """
    narrow = [operand.dtype == jnp.bfloat16 for operand in operands]
    if len(operands) != 2 or sum(narrow) != 1:
        return _einsum(subscripts, *operands)
    return jax.lax.platform_dependent(
        *operands, cpu=functools.partial(_einsum, subscripts), default=functools.partial(einsum_of_parts, subscripts)
    )


def einsum_of_parts(subscripts: str, left: Float[Array, "..."], right: Float[Array, "..."]) -> Float[Array, "..."]:
    """`einsum` of a bfloat16 and a float32 operand as three of bfloat16, the least part first."""
    if left.dtype == jnp.bfloat16:
        products = [_einsum(subscripts, left, part) for part in bfloat16_parts(right)]
    else:
        products = [_einsum(subscripts, part, right) for part in bfloat16_parts(left)]
    return functools.reduce(jnp.add, products)


def bfloat16_parts(values: Float[Array, "*shape"]) -> list[Float[Array, "*shape"]]:
    """Three bfloat16 arrays whose sum is ``values``, the least first; below 1e-33 bits are lost."""
    parts = []
    for _ in range(3):
        # Not `astype` there and back, which XLA leaves out.
        part = jax.lax.reduce_precision(values, exponent_bits=8, mantissa_bits=7)
        parts.append(part.astype(jnp.bfloat16))
        values = values - part
    return parts[::-1]


def l2_normalize(vectors: Float[Array, "*batch d"]) -> Float[Array, "*batch d"]:
    """Scales each vector to Euclidean norm 1; a zero vector stays zero, with a zero gradient instead of NaN."""
    square = jnp.sum(jnp.square(vectors), axis=-1, keepdims=True)
    positive = square > 0
    return jnp.where(positive, vectors * jax.lax.rsqrt(jnp.where(positive, square, 1.0)), 0.0)


def valid_mask(size: Size, shape: Shape) -> Bool[Array, "h w"]:
    """True on the first ``size`` rows and columns of a map of ``shape``."""
    rows, columns = jnp.arange(shape[0]), jnp.arange(shape[1])
    return (rows < size[0])[:, None] & (columns < size[1])[None, :]


def bucket_shape(shape: tuple[int, int], *steps: int) -> tuple[int, int]:
    """The shape that images of ``shape`` are padded to: each side rounded up to a multiple of one of ``steps``."""
    height, width = (min(-(-side // step) * step for step in steps) for side in shape)
    return height, width
