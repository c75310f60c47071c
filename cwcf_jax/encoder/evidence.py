"""The share of each class and cell of an image in a score, from stored maps: no network pass."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from cwcf_jax import descriptors
from cwcf_jax.arrays import einsum, inverse_norm, valid_mask
from cwcf_jax.descriptors import Whitening
from cwcf_jax.encoder.model import Model
from cwcf_jax.encoder.passes import Maps, class_maps, pool_classes


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
    exactly. A power mean (``pooling="gem"``) is split by each cell's share in the sum of powers of each channel.

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
    weights = descriptors.channel_weights(maps.features, region) if model.config.weights_channels else None
    vectors = descriptors.class_vectors(pool_classes(model, maps.features, cams, region), weights)
    embedded = descriptors.whiten_normalized(vectors, whitening)
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
    terms = _terms(model, maps.features, cams, region, direction if weights is None else weights * direction)
    return Evidence(terms * (scale * inverse_norm(vectors))[:, None, None], -offset * scale)


def _terms(
    model: Model,
    features: Float[Array, "h w k"],
    cams: Float[Array, "h w n"],
    region: Bool[Array, "h w"],
    direction: Float[Array, " k"],
) -> Float[Array, "n h w"]:
    """What each cell adds to the inner product of each class vector, before its weights, with a direction."""
    if model.config.pooling == "gem":
        return descriptors.power_mean_terms(features, cams, region, direction, model.config.gem_p)
    seen = jnp.where(region, einsum("hwk,k->hw", features, direction), 0.0)
    return jnp.moveaxis(cams, -1, 0) * seen[None]
