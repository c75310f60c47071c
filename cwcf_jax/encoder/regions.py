"""Descriptors of regions under a query's classes (section 4.5 of the paper), from stored maps: no network pass."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from cwcf_jax import descriptors
from cwcf_jax.descriptors import Whitening, regions
from cwcf_jax.encoder.model import Model
from cwcf_jax.encoder.passes import Maps, class_maps, pool_classes, pool_maps, pooled_vectors, weighted_vectors

GRID_LEVELS = 2, 3, 4
"""Of the windows that are described where an image's maps are not kept."""

REGIONS = sum(level * level for level in GRID_LEVELS)


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

    def one_image(one: Maps, cut: Int[Array, "t 4"]) -> Float[Array, "t d"]:
        cams = class_maps(model, one, class_ids)
        return jax.vmap(lambda cells: descriptors.aggregate(_vectors(model, one, cams, cells), whitening))(cut)

    return jax.vmap(one_image)(maps, boxes)


def describe_grid(model: Model, maps: Maps, whitening: Whitening | None, *, num_classes: int) -> Float[Array, "b t d"]:
    """Descriptors of each image, first, and of the `REGIONS` windows of its `grid`, each under its own classes (OfA).

    Arguments as in `describe_by_own_classes`.
    """
    sizes = [(height, width) for height, width in np.asarray(maps.feature_size).tolist()]
    boxes = jnp.asarray(np.stack([grid(size) for size in sizes]))
    return describe_by_own_classes(model, maps, boxes, whitening, num_classes=num_classes)


def grid(size: tuple[int, int]) -> Int[np.ndarray, "t 4"]:
    """The boxes of `describe_grid` in cells of a feature map of some rows and columns, see `regions.grid_boxes`."""
    return regions.grid_boxes(size, (1, *GRID_LEVELS))


@functools.partial(jax.jit, static_argnames="num_classes")
def describe_by_own_classes(
    model: Model, maps: Maps, boxes: Int[Array, "b t 4"], whitening: Whitening | None, *, num_classes: int
) -> Float[Array, "b t d"]:
    """A descriptor of each region under its own most probable classes: what `encode` makes of a box (OfA).

    Arguments as in `describe_regions`; ``num_classes``: N_C.
    """
    stride = model.feature_layer.stride

    def one_image(one: Maps, cut: Int[Array, "t 4"]) -> Float[Array, "t d"]:
        def one_region(cells: Int[Array, "4"]) -> Float[Array, " d"]:
            pixels = (cells * stride).astype(jnp.float32)
            pooled = pool_maps(model, one, one.feature_size * stride, pixels, None, num_classes=num_classes)
            return descriptors.aggregate(pooled_vectors(model, pooled).vectors, whitening)

        return jax.lax.map(one_region, cut)

    return jax.vmap(one_image)(maps, boxes)


@jax.jit
def region_vectors(
    model: Model, maps: Maps, class_ids: Int[Array, " n"], cells: Int[Array, "4"], whitening: Whitening | None
) -> Float[Array, "n d"]:
    """The class vectors of one region of one image, no batch axis, whose sum is its row of `describe_regions`."""
    return descriptors.whiten_normalized(_vectors(model, maps, class_maps(model, maps, class_ids), cells), whitening)


def _vectors(model: Model, maps: Maps, cams: Float[Array, "h w n"], cells: Int[Array, "4"]) -> Float[Array, "n k"]:
    region = descriptors.cell_mask(cells, maps.features.shape[:2])
    pooled = pool_classes(model, maps.features, cams, region)
    return weighted_vectors(model, pooled, descriptors.channel_weights(maps.features, region))
