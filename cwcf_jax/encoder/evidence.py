"""This module splits a score into the shares of classes and cells, from stored maps, without a run of the network."""

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
    """`Evidence` holds the terms of one image's score; the sum of all terms is the score.

    Attributes:
        cells: [n, h, w], the term of each class and each cell of the feature map.
        constant: [n], the term of each class that comes from the whitening's mean and belongs to no cell.
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
    """Splits the cosine of a query with an image, or with a region of the image, over classes and cells.

    A class vector is a sum over cells, and a whitening is an affine map. All cells share the norms that the vectors are
    divided by. Therefore the split is exact. A power mean (``pooling="gem"``) is split by the share of each cell in the
    sum of powers of each channel.

    Args:
        model: the model that computed the maps, without ``repeat_dropped``.
        maps: the maps of one image, without a batch axis.
        class_ids: the n classes of the image's descriptor.
        whitening: the whitening of the class vectors; None: no whitening.
        query: the query's descriptor of norm 1.
        cells: a region, ``x1 y1 x2 y2`` in cells as in `describe_regions`; None: the whole image.
    """
    region = valid_mask(maps.feature_size, maps.features.shape[:2])
    if cells is not None:
        region &= descriptors.cell_mask(cells, maps.features.shape[:2])
    cams = class_maps(model, maps, class_ids)
    weights = descriptors.channel_weights(maps.features, region) if model.config.weights_channels else None
    vectors = descriptors.class_vectors(pool_classes(model, maps.features, cams, region), weights)
    whitened = descriptors.whiten_normalized(vectors, whitening)
    sum_scale = inverse_norm(jnp.sum(whitened, axis=0))
    if whitening is None:
        direction, offset = query, jnp.zeros(())
        class_scales = jnp.ones(vectors.shape[0])
    else:
        direction = einsum("kd,d->k", whitening.projection, query * jax.lax.rsqrt(whitening.eigenvalues))
        offset = jnp.sum(whitening.mean * direction)
        unit = vectors * inverse_norm(vectors)[:, None]
        class_scales = inverse_norm(descriptors.whiten(unit, whitening))
    scale = jnp.where(jnp.any(vectors != 0, axis=-1), sum_scale * class_scales, 0.0)
    terms = _terms(model, maps.features, cams, region, direction if weights is None else weights * direction)
    return Evidence(terms * (scale * inverse_norm(vectors))[:, None, None], -offset * scale)


def _terms(
    model: Model,
    features: Float[Array, "h w k"],
    cams: Float[Array, "h w n"],
    region: Bool[Array, "h w"],
    direction: Float[Array, " k"],
) -> Float[Array, "n h w"]:
    """Computes the terms of all cells in the inner products of the unweighted class vectors with a direction."""
    if model.config.pooling == "gem":
        return descriptors.power_mean_terms(features, cams, region, direction, model.config.gem_p)
    projected = jnp.where(region, einsum("hwk,k->hw", features, direction), 0.0)
    return jnp.moveaxis(cams, -1, 0) * projected[None]
