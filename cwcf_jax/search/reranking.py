"""The best region of each image for a query (section 4.5 of the paper), from stored maps, images in batches."""

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

BATCH = 16
"""Images that are described together."""

CELLS = 4
"""Cells to which the sides of maps are rounded up, so that few shapes get compiled."""

Key = TypeVar("Key")

Read = Callable[[int], dict[str, np.ndarray]]
"""The maps ``features`` and ``cam_features`` of an image, as `store.MapStore.read` gives them."""


@dataclasses.dataclass(frozen=True)
class RegionConfig:
    """How regions are found and described.

    Attributes:
        fractions: of a heat map's maximum, a region for each.
        rule: one of `descriptors.regions.RULES`.
        minimum: cells that both sides of a region must have.
        heat_classes: how many of the query's most probable classes make the heat map.
        num_classes: N_C of the regions' descriptors.
    """

    fractions: tuple[float, ...] = (0.01, 0.1, 0.2, 0.3, 0.4)
    rule: str = "component"
    minimum: int = 0
    heat_classes: int = 2
    num_classes: int = 6

    def limited_to(self, classes: int) -> "RegionConfig":
        """Return a copy for a query, or a network, of no more than ``classes`` classes."""
        return dataclasses.replace(
            self, heat_classes=min(self.heat_classes, classes), num_classes=min(self.num_classes, classes)
        )


@dataclasses.dataclass(frozen=True)
class BestRegions:
    """The best region of each of r images for a query.

    An image without a region of the minimal size scores minus infinity; its vector and box are 0.

    Attributes:
        rows: [r], the images.
        scores: [r], cosines of the regions with the query.
        vectors: [r, d], the regions' descriptors.
        boxes: [r, 4], ``x1 y1 x2 y2`` in cells of the feature map.
    """

    rows: Int[np.ndarray, " r"]
    scores: Float[np.ndarray, " r"]
    vectors: Float[np.ndarray, "r d"]
    boxes: Int[np.ndarray, "r 4"]


def best_regions(
    model: Model,
    read: Read,
    rows: Int[np.ndarray, " r"],
    query: Float[Array, " d"],
    class_ids: Int[np.ndarray, " n"],
    whitening: Whitening | None,
    config: RegionConfig,
) -> BestRegions:
    """The region of each image that is most like the query, by cosine.

    Args:
        model: whose maps are read.
        read: gives an image's maps.
        rows: [r] images.
        query: [d], the query's descriptor under its ``num_classes`` most probable classes.
        class_ids: the query's classes, most probable first, at least as many as the configuration asks for.
        whitening: of class vectors.
        config: how regions are found.
    """
    scores = np.full(len(rows), -np.inf, np.float32)
    vectors = np.zeros((len(rows), query.shape[0]), np.float32)
    boxes = np.zeros((len(rows), 4), np.int32)
    for places, maps in map_batches(read, rows.tolist()):
        found = find_regions(model, maps, class_ids[: config.heat_classes], config)
        described = encoder.describe_regions(
            model, maps, jnp.asarray(class_ids[: config.num_classes], jnp.int32), jnp.asarray(found), whitening
        )
        large = regions.select_boxes(found, config.minimum)
        cosines = np.where(large, np.asarray(_cosines(described, query)), -np.inf)
        best = np.argmax(cosines, axis=1)
        for i, place in enumerate(places):
            if large[i, best[i]]:
                scores[place] = cosines[i, best[i]]
                vectors[place], boxes[place] = described[i, best[i]], found[i, best[i]]
    return BestRegions(rows, scores, vectors, boxes)


def reorder(ranking: Ranking, scores: Float[np.ndarray, " r"]) -> Ranking:
    """Sort the first r images of a ranking by new scores, on the host; the others stay where they are.

    Args:
        ranking: of n images.
        scores: of the first r images, in the ranking's order; the highest comes first, equal ones keep their order.

    Raises:
        ValueError: there are more scores than images.
    """
    count, images = len(scores), len(ranking.rows)
    if count > images:
        raise ValueError(f"{count} scores for a ranking of {images}")
    order = np.argsort(-scores, kind="stable")
    old_scores, rows = map(np.asarray, ranking)
    return Ranking(
        np.concatenate([scores[order], old_scores[count:]]), np.concatenate([rows[:count][order], rows[count:]])
    )


def find_regions(model: Model, maps: Maps, class_ids: np.ndarray, config: RegionConfig) -> np.ndarray:
    """[b, t, 4] boxes in cells of the feature map: where the mean map of the classes exceeds each threshold.

    Connected components are found on the host where the maps are there anyway, and on the accelerator otherwise.
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
    return jax.vmap(lambda one, size: regions.boxes(one, size, fractions, rule=rule))(heat, sizes)


@jax.jit
def _cosines(described: Float[Array, "b t d"], query: Float[Array, " d"]) -> Float[Array, "b t"]:
    return einsum("btd,d->bt", described, query)


def map_batches(read: Callable[[Key], dict[str, np.ndarray]], keys: Sequence[Key]) -> Iterator[tuple[list[int], Maps]]:
    """Places in ``keys`` and their maps, `BATCH` images of one padded shape at a time; the last ones are filled up."""
    waiting: dict[tuple[tuple[int, int], ...], list[tuple[int, dict[str, np.ndarray]]]] = collections.defaultdict(list)
    for place, key in enumerate(keys):
        maps = read(key)
        shapes = tuple(bucket_shape(maps[name].shape[:2], CELLS) for name in ("features", "cam_features"))
        waiting[shapes].append((place, maps))
        if len(waiting[shapes]) == BATCH:
            yield _batch(waiting.pop(shapes), shapes)
    for shapes, rest in waiting.items():
        yield _batch(rest, shapes)


def _batch(
    pictures: list[tuple[int, dict[str, np.ndarray]]], shapes: tuple[tuple[int, int], ...]
) -> tuple[list[int], Maps]:
    filled = [maps for _, maps in pictures] + [pictures[-1][1]] * (BATCH - len(pictures))
    return [place for place, _ in pictures], stack_maps(filled, *shapes)


def stack_maps(maps: list[dict[str, np.ndarray]], shape: tuple[int, int], cam_shape: tuple[int, int]) -> Maps:
    """Maps of several images as one padded batch, float32."""

    def padded(name: str, sides: tuple[int, int]) -> jax.Array:
        batch = np.zeros((len(maps), *sides, maps[0][name].shape[-1]), maps[0][name].dtype)
        for row, one in zip(batch, maps, strict=True):
            row[: one[name].shape[0], : one[name].shape[1]] = one[name]
        return jnp.asarray(batch).astype(jnp.float32)  # on the device: half the bytes travel

    def sizes(name: str) -> jax.Array:
        return jnp.asarray([one[name].shape[:2] for one in maps], jnp.int32)

    return Maps(padded("features", shape), padded("cam_features", cam_shape), sizes("features"), sizes("cam_features"))
