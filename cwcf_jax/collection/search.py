"""Searching an index by a picture or a region of one: describe, rank, look again at regions, expand."""

import dataclasses
import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from cwcf_jax import encoder, networks, reranking, retrieval
from cwcf_jax.arrays import l2_normalize
from cwcf_jax.collection import whitening
from cwcf_jax.collection.index import Index
from cwcf_jax.collection.settings import maps_folder
from cwcf_jax.collection.table import Entry, Snapshot, Store
from cwcf_jax.datasets import Box, Resize
from cwcf_jax.descriptors import Whitening, embed
from cwcf_jax.online import OnlineSearch
from cwcf_jax.store import ClassVectorStore, read_maps

AGGREGATIONS = "ofa", "ona"


@dataclasses.dataclass(frozen=True)
class Options:
    """How to search.

    Attributes:
        aggregation: ``ofa``, pictures under their own classes, or ``ona``, under the query's.
        rerank: how many of the best are looked at again, region by region (section 4.5 of the paper).
        expand: how many of the best are added to the query for a second search.
        classes: names or indices; the query and all pictures are then described by these alone.
    """

    aggregation: str = "ofa"
    rerank: int = 0
    expand: int = 0
    classes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.aggregation not in AGGREGATIONS:
            raise ValueError(f"unknown aggregation {self.aggregation!r}; known: {', '.join(AGGREGATIONS)}")
        for name in ("rerank", "expand"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is a number of pictures, not {getattr(self, name)}")


@dataclasses.dataclass(frozen=True)
class Described:
    """A query.

    ``descriptor`` [d]; ``class_ids`` [n], what it is made of, most probable first, with ``vectors`` [n, d] and
    ``probabilities`` [n].
    """

    descriptor: Float[Array, " d"]
    class_ids: np.ndarray
    vectors: Float[Array, "n d"]
    probabilities: np.ndarray


@dataclasses.dataclass(frozen=True)
class Hit:
    """A picture that was found.

    Attributes:
        entry: which it is.
        score: cosine, in [-1, 1].
        box: of its best region, ``x1 y1 x2 y2`` in upright pixels; None where regions were not looked at.
    """

    entry: Entry
    score: float
    box: tuple[int, int, int, int] | None = None


class Searcher:
    """An index held ready for queries; changes to it are seen at the next query."""

    def __init__(self, index: Index) -> None:
        """Raises as `Index.generation` and `Index.model`."""
        self.index = index
        self._resize = Resize.parse(index.settings.resize)
        self._held: _Held | None = None

    def describe(self, image: np.ndarray, box: Box | None = None, classes: tuple[str, ...] = ()) -> Described:
        """A query from a picture [height, width, 3], uint8 RGB, or a region of it in its pixels.

        Raises:
            ValueError: the region has no area or lies outside, or a class is not known.
        """
        model, held = self.index.model, self._current()
        if box is not None:
            box = _checked(box, image.shape[:2])
        resized = self._resize(image)
        if box is not None:
            scale = np.array(resized.shape[1::-1]) / np.array(image.shape[1::-1])
            box = tuple(np.array(box) * np.tile(scale, 2))
        boxes = None if box is None else [box]
        ids = [networks.class_index(model.network.spec, name) for name in classes]
        found = encoder.class_vectors(
            model,
            resized[None],
            num_classes=self.index.settings.num_classes,
            class_ids=list(dict.fromkeys(ids)) or None,
            boxes=boxes,
        )
        vectors, descriptor = _embedded(found.vectors[0], held.whitening)
        return Described(descriptor, np.asarray(found.class_ids[0]), vectors, np.asarray(found.probabilities[0]))

    def search(self, query: Described, options: Options | None = None, *, count: int = 20, first: int = 0) -> list[Hit]:
        """The best pictures, from the ``first``; of equal ones the earlier path comes first."""
        options = options or Options()
        held = self._current()
        if not held.snapshot.entries:
            return []
        online = options.aggregation == "ona" or bool(options.classes)
        score = functools.partial(held.online_scores, query.class_ids) if online else held.scores
        scores = score(query.descriptor)
        order = np.argsort(-scores, kind="stable")
        regions: reranking.BestRegions | None = None
        if options.rerank:
            order, regions = self._look_again(held, query, order, options.rerank)
        looked_at = order[: len(regions.scores)] if regions else order[:0]
        if options.expand:
            best = order[: options.expand]
            rows = np.asarray(held.vectors(query.class_ids, best) if online else held.snapshot.descriptors[best])
            if regions:
                rows = rows.copy()
                rows[: len(looked_at)] = regions.vectors[: len(rows)]
            expanded = retrieval.mean_vector(jnp.concatenate([query.descriptor[None], jnp.asarray(rows)]))
            scores = score(expanded)
            if regions:
                scores[looked_at] = regions.vectors @ np.asarray(expanded)
            order = np.argsort(-scores, kind="stable")
        elif regions:
            scores[looked_at] = regions.scores
        place = {int(row): i for i, row in enumerate(looked_at)}
        return [
            Hit(held.snapshot.entries[row], float(scores[row]), self._box(held, regions, place.get(row), row))
            for row in order[first : first + count].tolist()
        ]

    def _look_again(
        self, held: "_Held", query: Described, order: np.ndarray, count: int
    ) -> tuple[np.ndarray, reranking.BestRegions]:
        config = reranking.RegionConfig()
        rows = order[:count]
        classes = min(config.num_classes, len(query.class_ids))
        config = dataclasses.replace(config, num_classes=classes, heat_classes=min(config.heat_classes, classes))
        short = retrieval.mean_vector(query.vectors[:classes])
        found = reranking.best_regions(
            self.index.model, held.read, rows, short, query.class_ids, held.whitening, config
        )
        again = np.argsort(-found.scores, kind="stable")
        found = reranking.BestRegions(found.scores[again], found.vectors[again], found.boxes[again])
        return np.concatenate([rows[again], order[count:]]), found

    def _box(
        self, held: "_Held", regions: reranking.BestRegions | None, place: int | None, row: int
    ) -> tuple[int, int, int, int] | None:
        """Cells to pixels."""
        if regions is None or place is None:
            return None
        entry = held.snapshot.entries[row]
        height, width = held.read(row)["features"].shape[:2]
        scale = np.array([entry.width / width, entry.height / height] * 2)
        x1, y1, x2, y2 = np.rint(regions.boxes[place] * scale).astype(int).tolist()
        return x1, y1, x2, y2

    def _current(self) -> "_Held":
        held, generation = self._held, self.index.generation()
        if held is None or held.generation != generation:
            held = _Held(self.index, generation, self.index.table())
        elif held.table.version() != held.snapshot.version:
            held = _Held(self.index, generation, held.table)
        self._held = held
        return held


class _Held:
    """A snapshot of an index, ready to be scored."""

    def __init__(self, index: Index, generation: pathlib.Path, table: Store) -> None:
        self.generation, self.table = generation, table
        self.snapshot: Snapshot = table.snapshot()
        self.whitening: Whitening = whitening.read(generation).anonymous()
        self._maps = maps_folder(index.folder)
        self._database = jnp.asarray(self.snapshot.descriptors)
        self._rows = np.array([entry.row for entry in self.snapshot.entries], np.int64)

    @functools.cached_property
    def _online(self) -> OnlineSearch:
        return OnlineSearch(ClassVectorStore(self.generation / "vectors"))

    def scores(self, query: Float[Array, " d"]) -> np.ndarray:
        """OfA: cosines with the pictures' own descriptors."""
        return np.array(retrieval.similarities(query, self._database))

    def online_scores(self, class_ids: np.ndarray, query: Float[Array, " d"]) -> np.ndarray:
        """OnA: cosines with the pictures' descriptors under the query's classes."""
        return self._online.scores(query, class_ids)[self._rows]

    def vectors(self, class_ids: np.ndarray, places: np.ndarray) -> np.ndarray:
        """OnA's descriptors of a few pictures."""
        held = self._online.store
        runs = held.vectors(self._rows[places], held.positions(class_ids))
        values = runs.values.astype(np.float32)
        if runs.scales is not None:
            values *= runs.scales[..., None]
        return np.asarray(l2_normalize(jnp.sum(jnp.asarray(values), axis=0)))

    def read(self, place: int) -> dict[str, np.ndarray]:
        """The maps of a picture."""
        return read_maps(self._maps, self.snapshot.entries[place].content)


@jax.jit
def _embedded(vectors: Float[Array, "n k"], fitted: Whitening) -> tuple[Float[Array, "n d"], Float[Array, " d"]]:
    embedded = embed(vectors, fitted)
    return embedded, retrieval.mean_vector(embedded)


def _checked(box: Box, shape: tuple[int, ...]) -> Box:
    x1, y1, x2, y2 = box
    height, width = shape
    if not (np.all(np.isfinite(box)) and 0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height):
        raise ValueError(f"the region {x1:g},{y1:g},{x2:g},{y2:g} does not lie within the picture's {width} x {height}")
    return box
