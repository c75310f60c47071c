"""The share of each class and cell of an image in a score, from stored maps: no network pass."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from cwcf_jax import descriptors
from cwcf_jax.arrays import einsum, inverse_norm, valid_mask
from cwcf_jax.descriptors import Whitening
from cwcf_jax.encoder.model import Model
from cwcf_jax.encoder.passes import Maps, class_maps


class Evidence(NamedTuple):
    """The terms of one image's score, which sum to it.

    ``cells`` [n, h, w], what each cell of the feature map adds through each class; ``constant`` [n], what each class
    adds through the mean that the whitening subtracts, which belongs to no cell.
    """

    cells: Float[Array, "n h w"]
    constant: Float[Array, " n"]


@jax.jit
def explain(
    model: Model,
    maps: Maps,
    class_ids: Int[Array, " n"],
    whitening: Whitening | None,
    query: Float[Array, " d"],
    cells: Int[Array, "4"] | None = None,
) -> Evidence:
    """Splits the cosine of a query with an image or one of its regions, under some classes, over classes and cells.

    Each class vector is a sum over cells, and its whitening affine but for norms that all cells share: the score splits
    exactly.

    Args:
        model: whose maps they are; without ``repeat_dropped``.
        maps: of one image, no batch axis.
        class_ids: the classes whose vectors make the image's descriptor.
        whitening: of class vectors.
        query: descriptor of norm 1.
        cells: a region, ``x1 y1 x2 y2`` in cells as in `describe_regions`; None: the whole image.
    """
    region = valid_mask(maps.feature_size, maps.features.shape[:2])
    if cells is not None:
        region &= descriptors.cell_mask(cells, maps.features.shape[:2])
    cams = class_maps(model, maps, class_ids)
    weights = jnp.ones(maps.features.shape[-1])
    if model.config.channel_weighting:
        weights = descriptors.channel_weights(maps.features, region)
    vectors = descriptors.class_vectors(descriptors.class_sums(maps.features, cams, region), weights)
    embedded = descriptors.embed(vectors, whitening)
    total = inverse_norm(jnp.sum(embedded, axis=0))
    if whitening is None:
        direction, offset = query, jnp.zeros(())
        inner = jnp.ones(vectors.shape[0])
    else:
        direction = einsum("kd,d->k", whitening.projection, query * jax.lax.rsqrt(whitening.eigenvalues))
        offset = jnp.sum(whitening.mean * direction)
        unit = vectors * inverse_norm(vectors)[:, None]
        inner = inverse_norm(descriptors.whiten(unit, whitening))
    scale = jnp.where(jnp.any(vectors != 0, axis=-1), total * inner, 0.0)
    seen = jnp.where(region, einsum("hwk,k->hw", maps.features, weights * direction), 0.0)
    cells = jnp.moveaxis(cams, -1, 0) * seen[None] * (scale * inverse_norm(vectors))[:, None, None]
    return Evidence(cells, -offset * scale)
