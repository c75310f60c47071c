"""Shapes and the little arithmetic that every stage shares.

Dimension names in signatures: ``b`` batch, ``h w`` rows and columns of a map, ``k`` channels of the feature layer,
``c`` channels of the CAM layer, ``n`` classes, ``d`` dimensions of a descriptor.
"""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

Size = Int[Array, "2"]
"""Rows and columns that are valid, the rest of an array being padding."""

Shape = tuple[int, ...]
"""Rows and columns of an array: ``maps.shape[:2]``, always two."""

einsum = functools.partial(jnp.einsum, precision=jax.lax.Precision.HIGHEST, preferred_element_type=jnp.float32)
"""`jnp.einsum` that multiplies in full precision on every backend and accumulates in float32."""


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
