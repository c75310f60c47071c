"""This module finds the best region of each image for a query (section 4.5 of the paper), from stored maps."""

import collections
import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from cwcf_jax import encoder
from cwcf_jax.arrays import bucket_shape, einsum
from cwcf_jax.descriptors import Whitening, regions
from cwcf_jax.encoder import Maps, Model
from cwcf_jax.search.similarity import Ranking

BATCH_IMAGES = 16
"""The number of images that are described together."""

CELL_STEP = 4
"""The multiple, in cells, to which the sides of maps are rounded up, so that few shapes get compiled."""

Key = TypeVar("Key")

ReadMaps = Callable[[int], dict[str, np.ndarray]]
"""A function that reads the maps ``features`` and ``cam_features`` of an image, such as `store.MapStore.read`."""


@dataclasses.dataclass(frozen=True)
class RegionConfig:
    """A `RegionConfig` says how regions are found and described.

    Attributes:
        fractions: thresholds as fractions of a heat map's maximum; each threshold gives a region.
        rule: rule of a region, one of `descriptors.regions.RULES`.
        minimum: smallest height and width of a region, in cells.
        heat_classes: number of the query's most probable classes whose CAMs are averaged to the heat map.
        num_classes: N_C of the regions' descriptors.
    """

    fractions: tuple[float, ...] = (0.01, 0.1, 0.2, 0.3, 0.4)
    rule: str = "component"
    minimum: int = 0
    heat_classes: int = 2
    num_classes: int = 6

    def limited_to(self, classes: int) -> "RegionConfig":
        """Returns a copy for a query, or a network, with at most ``classes`` classes."""
        return dataclasses.replace(
            self, heat_classes=min(self.heat_classes, classes), num_classes=min(self.num_classes, classes)
        )


@dataclasses.dataclass(frozen=True)
class BestRegions:
    """A `BestRegions` holds the best region of each of r images for a query.

    An image without a region of the minimal size scores minus infinity; its vector and box are 0.

    Attributes:
        rows: shape [r]; rows of the images.
        scores: shape [r]; cosines of the regions with the query.
        vectors: shape [r, d]; descriptors of the regions.
        boxes: shape [r, 4]; boxes ``x1 y1 x2 y2`` in cells of the feature map.
    """

    rows: Int[np.ndarray, " r"]
    scores: Float[np.ndarray, " r"]
    vectors: Float[np.ndarray, "r d"]
    boxes: Int[np.ndarray, "r 4"]


def best_regions(
    model: Model,
    read: ReadMaps,
    rows: Int[np.ndarray, " r"],
    query: Float[Array, " d"],
    class_ids: Int[np.ndarray, " n"],
    whitening: Whitening | None,
    config: RegionConfig,
) -> BestRegions:
    """Finds the region of each image with the highest cosine with the query.

    Args:
        model: model that computed the maps.
        read: function that reads an image's maps.
        rows: shape [r]; rows of the images.
        query: shape [d]; the query's descriptor under its ``num_classes`` most probable classes.
        class_ids: the query's classes, most probable first, at least ``heat_classes`` and ``num_classes`` of them.
        whitening: whitening of class vectors.
        config: config of the regions.
    """
    scores = np.full(len(rows), -np.inf, np.float32)
    vectors = np.zeros((len(rows), query.shape[0]), np.float32)
    boxes = np.zeros((len(rows), 4), np.int32)
    for positions, maps in map_batches(read, rows.tolist()):
        candidates = find_regions(model, maps, class_ids[: config.heat_classes], config)
        descriptors = encoder.describe_regions(
            model, maps, jnp.asarray(class_ids[: config.num_classes], jnp.int32), jnp.asarray(candidates), whitening
        )
        large = regions.select_boxes(candidates, config.minimum)
        cosines = np.where(large, np.asarray(_cosines(descriptors, query)), -np.inf)
        best = np.argmax(cosines, axis=1)
        for i, position in enumerate(positions):
            if large[i, best[i]]:
                scores[position] = cosines[i, best[i]]
                vectors[position], boxes[position] = descriptors[i, best[i]], candidates[i, best[i]]
    return BestRegions(rows, scores, vectors, boxes)


def reorder(ranking: Ranking, scores: Float[np.ndarray, " r"]) -> Ranking:
    """Sorts the first r images of a ranking by new scores, on the host; the other images keep their ranks.

    Args:
        ranking: ranking of n images.
        scores: new scores of the first r images, in the ranking's order; the highest score comes first, images with
            equal scores keep their order.

    Raises:
        ValueError: there are more scores than images.
    """
    count, num_images = len(scores), len(ranking.rows)
    if count > num_images:
        raise ValueError(f"{count} scores for a ranking of {num_images} images")
    order = np.argsort(-scores, kind="stable")
    old_scores, rows = map(np.asarray, ranking)
    return Ranking(
        np.concatenate([scores[order], old_scores[count:]]), np.concatenate([rows[:count][order], rows[count:]])
    )


def find_regions(model: Model, maps: Maps, class_ids: np.ndarray, config: RegionConfig) -> np.ndarray:
    """Finds the regions where the mean CAM of the classes exceeds each threshold: boxes [b, t, 4] in cells.

    The boxes are in cells of the feature map. On a CPU, regions are found by code on the host; otherwise by compiled
    code on the accelerator.
    """
    heat = encoder.heat_maps(model, maps, jnp.asarray(class_ids, jnp.int32))
    if jax.default_backend() == "cpu":
        return regions.host_boxes(np.asarray(heat), np.asarray(maps.feature_size), config.fractions, config.rule)
    fractions = jnp.asarray(config.fractions, jnp.float32)
    return np.asarray(_device_boxes(heat, maps.feature_size, fractions, rule=config.rule))


@functools.partial(jax.jit, static_argnames="rule")
def _device_boxes(
    heat: Float[Array, "b h w"], sizes: Int[Array, "b 2"], fractions: Float[Array, " t"], *, rule: str
) -> Int[Array, "b t 4"]:
    return jax.vmap(lambda image_heat, size: regions.boxes(image_heat, size, fractions, rule=rule))(heat, sizes)


@jax.jit
def _cosines(descriptors: Float[Array, "b t d"], query: Float[Array, " d"]) -> Float[Array, "b t"]:
    return einsum("btd,d->bt", descriptors, query)


def map_batches(read: Callable[[Key], dict[str, np.ndarray]], keys: Sequence[Key]) -> Iterator[tuple[list[int], Maps]]:
    """Yields positions in ``keys`` and the images' maps, `BATCH_IMAGES` images of one padded shape at a time.

    Batches with fewer images are filled up with copies of the last image.
    """
    waiting: dict[tuple[tuple[int, int], ...], list[tuple[int, dict[str, np.ndarray]]]] = collections.defaultdict(list)
    for position, key in enumerate(keys):
        maps = read(key)
        shapes = tuple(bucket_shape(maps[name].shape[:2], CELL_STEP) for name in ("features", "cam_features"))
        waiting[shapes].append((position, maps))
        if len(waiting[shapes]) == BATCH_IMAGES:
            yield _batch(waiting.pop(shapes), shapes)
    for shapes, images in waiting.items():
        yield _batch(images, shapes)


def _batch(
    images: list[tuple[int, dict[str, np.ndarray]]], shapes: tuple[tuple[int, int], ...]
) -> tuple[list[int], Maps]:
    filled = [maps for _, maps in images] + [images[-1][1]] * (BATCH_IMAGES - len(images))
    return [position for position, _ in images], stack_maps(filled, *shapes)


def stack_maps(maps: list[dict[str, np.ndarray]], shape: tuple[int, int], cam_shape: tuple[int, int]) -> Maps:
    """Stacks the maps of several images to one padded batch, float32."""

    def pad(name: str, sides: tuple[int, int]) -> jax.Array:
        batch = np.zeros((len(maps), *sides, maps[0][name].shape[-1]), maps[0][name].dtype)
        for row, image_maps in zip(batch, maps, strict=True):
            row[: image_maps[name].shape[0], : image_maps[name].shape[1]] = image_maps[name]
        return jnp.asarray(batch).astype(jnp.float32)  # converted on the device, so that half the bytes are copied

    def sizes(name: str) -> jax.Array:
        return jnp.asarray([image_maps[name].shape[:2] for image_maps in maps], jnp.int32)

    return Maps(pad("features", shape), pad("cam_features", cam_shape), sizes("features"), sizes("cam_features"))
