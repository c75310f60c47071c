"""Searching an index by a picture or a region of one: describe it, then call the pipeline over the index's pictures."""

import copy
import dataclasses
import functools
import pathlib
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from cwcf_jax import encoder, networks
from cwcf_jax.arrays import einsum
from cwcf_jax.descriptors import Whitening
from cwcf_jax.images import Resize, read_image
from cwcf_jax.index import queries
from cwcf_jax.index import whitening as kept_whitening
from cwcf_jax.index.index_config import maps_location
from cwcf_jax.index.queries import Corners, PreparedQuery, QueryDescription
from cwcf_jax.index.query_config import QueryConfig
from cwcf_jax.index.ranker import EntryRanker, LocalRanker, RankedEntries, merge
from cwcf_jax.index.reader import GenerationPaths, IndexReader, find_places
from cwcf_jax.index.table import TableEntry
from cwcf_jax.search import Ranking, mean_vector, pipeline, similarities
from cwcf_jax.search.reranking import BestRegions, RegionConfig, best_regions
from cwcf_jax.store import MapStore


@dataclasses.dataclass(frozen=True)
class Hit:
    """A picture that was found.

    Attributes:
        entry: which it is.
        score: cosine, in [-1, 1]; for the hits that `QueryConfig.reciprocal` ranked, how much they share, 0 to 1, which
            does not compare with the cosines behind them.
        box: of its best region, ``x1 y1 x2 y2`` in upright pixels; None where it was not ranked by regions.
        cells: the same in cells of the feature map.
    """

    entry: TableEntry
    score: float
    box: tuple[int, int, int, int] | None = None
    cells: tuple[int, int, int, int] | None = None


class Searcher:
    """An index held ready for queries; changes to it are seen at the next query. Not for several threads at once."""

    def __init__(self, index: IndexReader, *, hold: Callable[[GenerationPaths], EntryRanker] = LocalRanker) -> None:
        """``hold``: who ranks the pictures of a generation, such as `ray_ranker.RayRanker` of a cluster."""
        self.index = index
        self._hold = hold
        self._resize = Resize.parse(index.settings.resize)
        self._maps = MapStore(maps_location(index.folder, index.settings))
        self._held: tuple[pathlib.Path, EntryRanker, Whitening] | None = None

    def held(self) -> EntryRanker:
        """Its pictures as they are now; errors as in `IndexReader.generation`."""
        return self._now()[1]

    @property
    def whitening(self) -> Whitening:
        """Of the index as it is now; errors as in `IndexReader.generation`."""
        return self._now()[2]

    def _now(self) -> tuple[pathlib.Path, EntryRanker, Whitening]:
        generation = self.index.generation()
        if self._held is None or self._held[0] != generation or not self._held[1].current():
            pictures = self._hold(find_places(generation, self.index.settings))
            self._held = generation, pictures, kept_whitening.read(generation)
        return self._held

    def maps(self, entry: TableEntry) -> dict[str, np.ndarray]:
        """The kept maps of a picture.

        Raises:
            StaleStoreError: they are gone or damaged; ValueError: the index is compact.
        """
        self._needs_more(self.index.settings.compact, "maps")
        return self._maps.read(entry.content)

    def prepare(self, image: np.ndarray) -> PreparedQuery:
        """A picture [height, width, 3], uint8 RGB, through the network, once for any number of queries."""
        return queries.prepare(self.index.model, self._resize, image)

    def prepare_indexed(self, path: str) -> PreparedQuery:
        """A picture of the index, from its kept maps; KeyError if there is none of that path.

        A compact index has no maps: the picture's file goes through the network again; ImageError if it is gone.
        """
        entry = self.held().entry(path)
        if self.index.settings.compact:
            return self.prepare(read_image(self.index.root / path))
        return PreparedQuery(queries.one_image(self.maps(entry)), entry.height, entry.width)

    def describe(
        self, prepared: PreparedQuery, box: Corners | None = None, classes: tuple[str, ...] = ()
    ) -> QueryDescription:
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

    def search(
        self, query: QueryDescription, options: QueryConfig | None = None, *, count: int = 20, first: int = 0
    ) -> list[Hit]:
        """The best pictures, from the ``first``; of equal ones the earlier path comes first."""
        options = options or QueryConfig()
        self._needs_more(self.index.settings.compact and (options.by_query or options.online > 0), "class vectors")
        _, entry_ranker, whitening = self._now()
        if not len(entry_ranker) or first + count < 1:
            return []
        ranker = IndexRanker(entry_ranker, query.class_ids if options.by_query else None)
        ranking, regions = pipeline.search(
            query.descriptor,
            ranker,
            options.config,
            count=first + count,
            reranker=self._reranker(query, ranker, whitening) if options.rerank else None,
            online=functools.partial(ranker.described, query.class_ids) if options.online else None,
        )
        cells = {} if regions is None else dict(zip(regions.rows.tolist(), regions.boxes, strict=True))
        page = zip(ranking.rows[first:].tolist(), ranking.scores[first:].tolist(), strict=True)
        return [self._hit(ranker.entries[row], score, cells.get(row)) for row, score in page]

    def _reranker(self, query: QueryDescription, ranker: "IndexRanker", whitening: Whitening) -> pipeline.Reranker:
        if self.index.settings.compact:
            return lambda rows: self._best_kept(query.descriptor, ranker, rows)
        config, descriptor = region_query(query)

        def rerank(rows: Int[np.ndarray, " r"]) -> BestRegions:
            return best_regions(
                self.index.model,
                lambda row: self.maps(ranker.entries[row]),
                rows,
                descriptor,
                query.class_ids,
                whitening,
                config,
            )

        return rerank

    def _best_kept(self, query: Float[Array, " d"], ranker: "IndexRanker", rows: Int[np.ndarray, " r"]) -> BestRegions:
        """The best of the regions that a compact index keeps of some pictures, or of these as they are."""
        entries = [ranker.entries[row] for row in rows.tolist()]
        boxes = [encoder.grid(self._map_size(entry.height, entry.width)) for entry in entries]
        vectors = np.concatenate([ranker.vectors(rows)[:, None], ranker.regions(rows)], axis=1)
        scores = np.asarray(einsum("rtd,d->rt", jnp.asarray(vectors), query))
        best, every = np.argmax(scores, axis=1), np.arange(len(entries))
        return BestRegions(rows, scores[every, best], vectors[every, best], np.stack(boxes)[every, best])

    def _needs_more(self, lacking: bool, what: str) -> None:
        if lacking:
            raise ValueError(
                f"{self.index.folder} is compact: it keeps no {what}. Search by OfA and without --explain, or make an "
                "index without --compact"
            )

    def _hit(self, entry: TableEntry, score: float, cells: np.ndarray | None) -> Hit:
        if cells is None:
            return Hit(entry, score)
        height, width = self._map_size(entry.height, entry.width)
        box = np.rint(cells * np.array([entry.width / width, entry.height / height] * 2)).astype(int)
        return Hit(entry, score, *(tuple(corners.tolist()) for corners in (box, cells)))

    def _map_size(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of the feature map of a picture of ``height`` times ``width`` pixels."""
        resized = jnp.asarray([self._resize.target(height, width)], jnp.int32)
        rows, columns = np.asarray(self._map_sizes(resized))[0].tolist()
        return rows, columns

    @functools.cached_property
    def _map_sizes(self) -> Callable[[Int[Array, "1 2"]], Int[Array, "1 2"]]:
        model = self.index.model
        return jax.jit(lambda sizes: model.network.map_sizes(sizes)[model.feature_layer.name])


class IndexRanker:
    """`search.pipeline.Ranker` of an index's pictures for one query: its rows are places in ``entries``.

    A picture gets its row when it is ranked for the first time.
    """

    def __init__(self, ranker: EntryRanker, class_ids: np.ndarray | None) -> None:
        """Takes ``class_ids`` as `EntryRanker` does: the query's classes for OnA, None for OfA."""
        self.entries: list[TableEntry] = []
        self._ranker, self._class_ids = ranker, class_ids
        self._rows: dict[str, int] = {}
        self._replaced: dict[int, Float[np.ndarray, " d"]] = {}

    def best(self, query: Float[Array, " d"], count: int) -> Ranking:
        """See `search.pipeline.Ranker`."""
        ranked = self._ranker.best(query, self._class_ids, count + len(self._replaced))
        if self._replaced:
            kept = [i for i, entry in enumerate(ranked.entries) if self._row(entry) not in self._replaced]
            scores = similarities(query, jnp.asarray(np.stack(list(self._replaced.values()))))
            replaced = RankedEntries(tuple(self.entries[row] for row in self._replaced), np.asarray(scores))
            kept_entries = RankedEntries(tuple(ranked.entries[i] for i in kept), ranked.scores[kept])
            ranked = merge([kept_entries, replaced], count)
        return Ranking(ranked.scores, np.array([self._row(entry) for entry in ranked.entries], np.int64))

    def vectors(self, rows: pipeline.Rows) -> Float[np.ndarray, "r d"]:
        """See `search.pipeline.Ranker`."""
        kept = [row for row in rows.tolist() if row not in self._replaced]
        vectors = dict(self._replaced)
        if kept:
            own = self._ranker.vectors([self.entries[row] for row in kept], self._class_ids)
            vectors |= dict(zip(kept, own, strict=True))
        return np.stack([vectors[row] for row in rows.tolist()])

    def described(self, class_ids: np.ndarray, rows: pipeline.Rows) -> Float[np.ndarray, "r d"]:
        """Descriptors of pictures under some classes, whatever they are ranked by: a `search.pipeline.Online`."""
        return self._ranker.vectors([self.entries[row] for row in rows.tolist()], class_ids)

    def regions(self, rows: pipeline.Rows) -> Float[np.ndarray, "r t d"]:
        """Descriptors of the regions that a compact index keeps."""
        return self._ranker.regions([self.entries[row] for row in rows.tolist()])

    def replace(self, rows: pipeline.Rows, vectors: pipeline.Vectors) -> "IndexRanker":
        """See `search.pipeline.Ranker`."""
        ranker = copy.copy(self)  # numbers pictures together with this one
        ranker._replaced = self._replaced | dict(zip(rows.tolist(), np.asarray(vectors), strict=True))
        return ranker

    def _row(self, entry: TableEntry) -> int:
        row = self._rows.setdefault(entry.path, len(self.entries))
        if row == len(self.entries):
            self.entries.append(entry)
        return row


def region_query(query: QueryDescription) -> tuple[RegionConfig, Float[Array, " d"]]:
    """How regions are found for a query, and its descriptor under the few classes that they are described by."""
    config = RegionConfig().limited_to(len(query.class_ids))
    return config, mean_vector(query.vectors[: config.num_classes])
