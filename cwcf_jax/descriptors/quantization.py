"""Vectors in one byte a number."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int8

LEVELS = 127
"""Steps from zero to a vector's largest number."""


class Quantized(NamedTuple):
    """``values`` times ``scales`` is within half a step of what was quantized, number by number."""

    values: Int8[Array, "*batch d"]
    scales: Float[Array, "*batch"]


def quantize(vectors: Float[Array, "*batch d"]) -> Quantized:
    """Each vector in steps of its own largest magnitude / 127; a zero vector has scale 0."""
    vectors = vectors.astype(jnp.float32)
    scales = jnp.max(jnp.abs(vectors), axis=-1) / LEVELS
    steps = jnp.where(scales > 0, scales, 1.0)[..., None]
    return Quantized(jnp.clip(jnp.round(vectors / steps), -LEVELS, LEVELS).astype(jnp.int8), scales)


def dequantize(quantized: Quantized) -> Float[Array, "*batch d"]:
    """The vectors again, float32."""
    return quantized.values.astype(jnp.float32) * quantized.scales[..., None]
