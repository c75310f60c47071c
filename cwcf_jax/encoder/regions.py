"""This module describes regions (section 4.5 of the paper) from stored maps, without a run of the network."""

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
"""The levels of the windows that a compact index describes, because it keeps no maps; see `regions.grid_boxes`."""

NUM_GRID_REGIONS = sum(level * level for level in GRID_LEVELS)
"""The number of windows of `GRID_LEVELS`."""


@jax.jit
def heat_maps(model: Model, maps: Maps, class_ids: Int[Array, " n"]) -> Float[Array, "b h w"]:
    """Computes the mean of the normalised CAMs of n classes for each image of a batch; n is 2 in the paper."""
    return jax.vmap(lambda image_maps: jnp.mean(class_maps(model, image_maps, class_ids), axis=-1))(maps)


@jax.jit
def describe_regions(
    model: Model, maps: Maps, class_ids: Int[Array, " n"], boxes: Int[Array, "b t 4"], whitening: Whitening | None
) -> Float[Array, "b t d"]:
    """Computes a descriptor of each region under the classes of a query.

    CAMs are normalised over the whole image and then cropped. Channel weights are computed from each region alone.

    Args:
        model: the model that computed the maps.
        maps: the maps of b images.
        class_ids: the N_C most probable classes of the query.
        boxes: t regions of each image, ``x1 y1 x2 y2`` in cells of the feature map, ``x2`` and ``y2`` exclusive.
        whitening: the whitening of the class vectors; None: no whitening.
    """

    def describe_image(image_maps: Maps, image_boxes: Int[Array, "t 4"]) -> Float[Array, "t d"]:
        cams = class_maps(model, image_maps, class_ids)

        def describe_region(box: Int[Array, "4"]) -> Float[Array, " d"]:
            return descriptors.aggregate(_vectors(model, image_maps, cams, box), whitening)

        return jax.vmap(describe_region)(image_boxes)

    return jax.vmap(describe_image)(maps, boxes)


def describe_grid(model: Model, maps: Maps, whitening: Whitening | None, *, num_classes: int) -> Float[Array, "b t d"]:
    """Describes each image and then the `REGIONS` windows of the image's `grid`, each under its own classes (OfA).

    Arguments are those of `describe_by_own_classes`.
    """
    sizes = [(height, width) for height, width in np.asarray(maps.feature_size).tolist()]
    boxes = jnp.asarray(np.stack([grid(size) for size in sizes]))
    return describe_by_own_classes(model, maps, boxes, whitening, num_classes=num_classes)


def grid(size: tuple[int, int]) -> Int[np.ndarray, "t 4"]:
    """Returns the boxes of `describe_grid` in cells of a feature map with ``size`` rows and columns."""
    return regions.grid_boxes(size, (1, *GRID_LEVELS))


@functools.partial(jax.jit, static_argnames="num_classes")
def describe_by_own_classes(
    model: Model, maps: Maps, boxes: Int[Array, "b t 4"], whitening: Whitening | None, *, num_classes: int
) -> Float[Array, "b t d"]:
    """Computes a descriptor of each region under its own most probable classes (OfA), as `encode` does for a box.

    Arguments are those of `describe_regions`; ``num_classes`` is N_C.
    """
    stride = model.feature_layer.stride

    def describe_image(image_maps: Maps, image_boxes: Int[Array, "t 4"]) -> Float[Array, "t d"]:
        def describe_region(box: Int[Array, "4"]) -> Float[Array, " d"]:
            pixels, image_size = (box * stride).astype(jnp.float32), image_maps.feature_size * stride
            pooled = pool_maps(model, image_maps, image_size, pixels, None, num_classes=num_classes)
            return descriptors.aggregate(pooled_vectors(model, pooled).vectors, whitening)

        return jax.lax.map(describe_region, image_boxes)

    return jax.vmap(describe_image)(maps, boxes)


@jax.jit
def region_vectors(
    model: Model, maps: Maps, class_ids: Int[Array, " n"], cells: Int[Array, "4"], whitening: Whitening | None
) -> Float[Array, "n d"]:
    """Computes the whitened class vectors of one region of one image, without a batch axis.

    The normalised sum of the vectors is the region's descriptor in `describe_regions`.
    """
    return descriptors.whiten_normalized(_vectors(model, maps, class_maps(model, maps, class_ids), cells), whitening)


def _vectors(model: Model, maps: Maps, cams: Float[Array, "h w n"], cells: Int[Array, "4"]) -> Float[Array, "n k"]:
    region = descriptors.cell_mask(cells, maps.features.shape[:2])
    pooled = pool_classes(model, maps.features, cams, region)
    return weighted_vectors(model, pooled, descriptors.channel_weights(maps.features, region))
