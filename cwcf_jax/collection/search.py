"""Searching an index by a picture or a region of one: describe, rank, look again at regions, expand."""

import dataclasses
import functools

import jax.numpy as jnp
import numpy as np

from cwcf_jax import networks, reranking, retrieval
from cwcf_jax.collection import queries
from cwcf_jax.collection.held import Held
from cwcf_jax.collection.opened import Opened, open_table
from cwcf_jax.collection.queries import Corners, Described, Prepared
from cwcf_jax.collection.table import Entry
from cwcf_jax.datasets import Resize

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

    @property
    def online(self) -> bool:
        """Whether pictures are described under the query's classes."""
        return self.aggregation == "ona" or bool(self.classes)


@dataclasses.dataclass(frozen=True)
class Hit:
    """A picture that was found.

    Attributes:
        entry: which it is.
        score: cosine, in [-1, 1].
        box: of its best region, ``x1 y1 x2 y2`` in upright pixels; None where regions were not looked at.
        cells: the same in cells of the feature map.
    """

    entry: Entry
    score: float
    box: tuple[int, int, int, int] | None = None
    cells: tuple[int, int, int, int] | None = None


class Searcher:
    """An index held ready for queries; changes to it are seen at the next query. Not for several threads at once."""

    def __init__(self, index: Opened) -> None:
        self.index = index
        self._resize = Resize.parse(index.settings.resize)
        self._held: Held | None = None

    def held(self) -> Held:
        """Its pictures as they are now; errors as in `Opened.generation`."""
        generation = self.index.generation()
        if self._held is None or not self._held.current(generation):
            self._held = Held(self.index.folder, generation, open_table(generation, self.index.settings))
        return self._held

    def prepare(self, image: np.ndarray) -> Prepared:
        """A picture [height, width, 3], uint8 RGB, through the network, once for any number of queries."""
        return queries.prepare(self.index.model, self._resize, image)

    def prepare_indexed(self, path: str) -> Prepared:
        """A picture of the index, from its kept maps; KeyError if there is none of that path."""
        held = self.held()
        place = held.places[path]
        entry = held.snapshot.entries[place]
        return Prepared(queries.one_image(held.read(place)), entry.height, entry.width)

    def describe(self, prepared: Prepared, box: Corners | None = None, classes: tuple[str, ...] = ()) -> Described:
        """A query from a picture or a region of it, ``x1 y1 x2 y2`` in its upright pixels.

        Raises:
            ValueError: the region has no area or lies outside, or a class is not known.
        """
        spec = self.index.model.network.spec
        ids = list(dict.fromkeys(networks.class_index(spec, name) for name in classes))
        count = self.index.settings.num_classes
        return queries.describe(
            self.index.model, self.held().whitening, prepared, num_classes=count, box=box, class_ids=ids or None
        )

    def search(self, query: Described, options: Options | None = None, *, count: int = 20, first: int = 0) -> list[Hit]:
        """The best pictures, from the ``first``; of equal ones the earlier path comes first."""
        options = options or Options()
        held = self.held()
        if not held.snapshot.entries:
            return []
        score = functools.partial(held.online_scores, query.class_ids) if options.online else held.scores
        scores = score(query.descriptor)
        order = np.argsort(-scores, kind="stable")
        regions: reranking.BestRegions | None = None
        if options.rerank:
            order, regions = self._look_again(held, query, order, options.rerank)
        looked_at = order[: len(regions.scores)] if regions else order[:0]
        if options.expand:
            best = order[: options.expand]
            rows = held.vectors(query.class_ids, best) if options.online else held.snapshot.descriptors[best]
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
        cells = dict(zip(looked_at.tolist(), regions.boxes, strict=True)) if regions else {}
        return [
            self._hit(held, row, float(scores[row]), cells.get(row)) for row in order[first : first + count].tolist()
        ]

    def _look_again(
        self, held: Held, query: Described, order: np.ndarray, count: int
    ) -> tuple[np.ndarray, reranking.BestRegions]:
        rows = order[:count]
        config, short = region_query(query)
        found = reranking.best_regions(
            self.index.model, held.read, rows, short, query.class_ids, held.whitening, config
        )
        again = np.argsort(-found.scores, kind="stable")
        found = reranking.BestRegions(found.scores[again], found.vectors[again], found.boxes[again])
        return np.concatenate([rows[again], order[count:]]), found

    def _hit(self, held: Held, place: int, score: float, cells: np.ndarray | None) -> Hit:
        entry = held.snapshot.entries[place]
        if cells is None:
            return Hit(entry, score)
        height, width = held.read(place)["features"].shape[:2]
        box = np.rint(cells * np.array([entry.width / width, entry.height / height] * 2)).astype(int)
        return Hit(entry, score, *(tuple(corners.tolist()) for corners in (box, cells)))


def region_query(query: Described) -> tuple[reranking.RegionConfig, jnp.ndarray]:
    """How regions are looked at for a query, and its descriptor under the few classes that they are described by."""
    config = reranking.RegionConfig()
    classes = min(config.num_classes, len(query.class_ids))
    config = dataclasses.replace(config, num_classes=classes, heat_classes=min(config.heat_classes, classes))
    return config, retrieval.mean_vector(query.vectors[:classes])
