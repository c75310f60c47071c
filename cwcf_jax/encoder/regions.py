"""Descriptors of regions under a query's classes (section 4.5 of the paper), from stored maps: no network pass."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from cwcf_jax import descriptors
from cwcf_jax.descriptors import Whitening
from cwcf_jax.encoder.model import Model
from cwcf_jax.encoder.passes import Maps, class_maps, pool_classes, weighted_vectors


@jax.jit
def heat_maps(model: Model, maps: Maps, class_ids: Int[Array, " n"]) -> Float[Array, "b h w"]:
    """The mean of the given classes' normalised activation maps, for each image of a batch; n is 2 in the paper."""
    return jax.vmap(lambda one: jnp.mean(class_maps(model, one, class_ids), axis=-1))(maps)


@jax.jit
def describe_regions(
    model: Model, maps: Maps, class_ids: Int[Array, " n"], boxes: Int[Array, "b t 4"], whitening: Whitening | None
) -> Float[Array, "b t d"]:
    """A descriptor of each region under the given classes.

    The maps are normalised over the whole image and cut; the channel weights are the region's own.

    Args:
        model: whose maps they are.
        maps: of b images.
        class_ids: the N_C most probable classes of the query.
        boxes: t regions of each image, ``x1 y1 x2 y2`` in cells of the feature map, ``x2`` and ``y2`` not included.
        whitening: of class vectors.
    """

    def one_image(one: Maps, regions: Int[Array, "t 4"]) -> Float[Array, "t d"]:
        cams = class_maps(model, one, class_ids)
        return jax.vmap(lambda cells: descriptors.aggregate(_vectors(model, one, cams, cells), whitening))(regions)

    return jax.vmap(one_image)(maps, boxes)


@jax.jit
def region_vectors(
    model: Model, maps: Maps, class_ids: Int[Array, " n"], cells: Int[Array, "4"], whitening: Whitening | None
) -> Float[Array, "n d"]:
    """The class vectors of one region of one image, no batch axis, whose sum is its row of `describe_regions`."""
    return descriptors.embed(_vectors(model, maps, class_maps(model, maps, class_ids), cells), whitening)


def _vectors(model: Model, maps: Maps, cams: Float[Array, "h w n"], cells: Int[Array, "4"]) -> Float[Array, "n k"]:
    region = descriptors.cell_mask(cells, maps.features.shape[:2])
    pooled = pool_classes(model, maps.features, cams, region)
    return weighted_vectors(model, pooled, descriptors.channel_weights(maps.features, region))
