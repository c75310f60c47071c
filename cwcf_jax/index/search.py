"""Searching an index by a picture or a region of one: describe, rank, look again at regions, expand."""

import dataclasses
import pathlib
from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from cwcf_jax import networks
from cwcf_jax.descriptors import Whitening
from cwcf_jax.images import Resize
from cwcf_jax.index import queries
from cwcf_jax.index import whitening as kept_whitening
from cwcf_jax.index.queries import Corners, Described, Prepared
from cwcf_jax.index.ranker import Found, LocalRanker, Ranker, merge
from cwcf_jax.index.reader import IndexReader, Places, find_places
from cwcf_jax.index.settings import maps_location
from cwcf_jax.index.table import Entry
from cwcf_jax.search import mean_vector, reranking
from cwcf_jax.store import MapStore

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

    def __init__(self, index: IndexReader, *, hold: Callable[[Places], Ranker] = LocalRanker) -> None:
        """``hold``: who ranks the pictures of a generation, such as `ray_ranker.RayRanker` of a cluster."""
        self.index = index
        self._hold = hold
        self._resize = Resize.parse(index.settings.resize)
        self._maps = MapStore(maps_location(index.folder, index.settings))
        self._held: tuple[pathlib.Path, Ranker, Whitening] | None = None

    def held(self) -> Ranker:
        """Its pictures as they are now; errors as in `IndexReader.generation`."""
        return self._now()[1]

    @property
    def whitening(self) -> Whitening:
        """Of the index as it is now; errors as in `IndexReader.generation`."""
        return self._now()[2]

    def _now(self) -> tuple[pathlib.Path, Ranker, Whitening]:
        generation = self.index.generation()
        if self._held is None or self._held[0] != generation or not self._held[1].current():
            pictures = self._hold(find_places(generation, self.index.settings))
            self._held = generation, pictures, kept_whitening.read(generation)
        return self._held

    def maps(self, entry: Entry) -> dict[str, np.ndarray]:
        """The kept maps of a picture; StaleStoreError if they are gone or damaged."""
        return self._maps.read(entry.content)

    def prepare(self, image: np.ndarray) -> Prepared:
        """A picture [height, width, 3], uint8 RGB, through the network, once for any number of queries."""
        return queries.prepare(self.index.model, self._resize, image)

    def prepare_indexed(self, path: str) -> Prepared:
        """A picture of the index, from its kept maps; KeyError if there is none of that path."""
        entry = self.held().entry(path)
        return Prepared(queries.one_image(self.maps(entry)), entry.height, entry.width)

    def describe(self, prepared: Prepared, box: Corners | None = None, classes: tuple[str, ...] = ()) -> Described:
        """A query from a picture or a region of it, ``x1 y1 x2 y2`` in its upright pixels.

        Raises:
            ValueError: the region has no area or lies outside, or a class is not known.
        """
        spec = self.index.model.network.spec
        ids = list(dict.fromkeys(networks.class_index(spec, name) for name in classes))
        count = self.index.settings.num_classes
        return queries.describe(
            self.index.model, self.whitening, prepared, num_classes=count, box=box, class_ids=ids or None
        )

    def search(self, query: Described, options: Options | None = None, *, count: int = 20, first: int = 0) -> list[Hit]:
        """The best pictures, from the ``first``; of equal ones the earlier path comes first."""
        options = options or Options()
        _, held, whitening = self._now()
        class_ids = query.class_ids if options.online else None
        need = max(first + count, options.rerank, options.expand)
        if not len(held) or not need:
            return []
        found, regions = held.best(query.descriptor, class_ids, need), None
        if options.rerank:
            found, regions = self._look_again(query, found, options.rerank, whitening)
        if options.expand:
            rows = held.vectors(found.entries[: options.expand], class_ids)
            if regions:
                rows = np.concatenate([regions.vectors[: len(rows)], rows[len(regions.vectors) :]])
            expanded = mean_vector(jnp.concatenate([query.descriptor[None], jnp.asarray(rows)]))
            found = held.best(expanded, class_ids, need + options.rerank)
            if regions:
                found = _replace(found, Found(regions.entries, regions.vectors @ np.asarray(expanded)))
        cells = {entry.path: box for entry, box in zip(regions.entries, regions.boxes, strict=True)} if regions else {}
        asked = zip(found.entries[first : first + count], found.scores[first : first + count].tolist(), strict=True)
        return [self._hit(entry, score, cells.get(entry.path)) for entry, score in asked]

    def _look_again(self, query: Described, found: Found, count: int, whitening: Whitening) -> tuple[Found, "_Regions"]:
        """The best by their regions, the others as they were; and those regions."""
        entries = found.entries[:count]
        config, short = region_query(query)
        best = reranking.best_regions(
            self.index.model,
            lambda place: self.maps(entries[place]),
            np.arange(len(entries)),
            short,
            query.class_ids,
            whitening,
            config,
        )
        again = np.argsort(-best.scores, kind="stable")
        regions = _Regions(tuple(entries[i] for i in again.tolist()), best.vectors[again], best.boxes[again])
        scores = np.concatenate([best.scores[again], found.scores[count:]])
        return Found((*regions.entries, *found.entries[count:]), scores), regions

    def _hit(self, entry: Entry, score: float, cells: np.ndarray | None) -> Hit:
        if cells is None:
            return Hit(entry, score)
        height, width = self.maps(entry)["features"].shape[:2]
        box = np.rint(cells * np.array([entry.width / width, entry.height / height] * 2)).astype(int)
        return Hit(entry, score, *(tuple(corners.tolist()) for corners in (box, cells)))


class _Regions(NamedTuple):
    """Pictures that were looked at again, best first: their regions' descriptors [r, d], and boxes [r, 4] in cells."""

    entries: tuple[Entry, ...]
    vectors: np.ndarray
    boxes: np.ndarray


def _replace(found: Found, better: Found) -> Found:
    """A ranking in which some pictures have other scores."""
    known = {entry.path for entry in better.entries}
    others = [place for place, entry in enumerate(found.entries) if entry.path not in known]
    return merge([Found(tuple(found.entries[place] for place in others), found.scores[others]), better])


def region_query(query: Described) -> tuple[reranking.RegionConfig, jnp.ndarray]:
    """How regions are looked at for a query, and its descriptor under the few classes that they are described by."""
    config = reranking.RegionConfig()
    classes = min(config.num_classes, len(query.class_ids))
    config = dataclasses.replace(config, num_classes=classes, heat_classes=min(config.heat_classes, classes))
    return config, mean_vector(query.vectors[:classes])
