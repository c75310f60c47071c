"""This module searches an index: it describes the query and runs the search pipeline over the pictures."""

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
from cwcf_jax.index import whitening as index_whitening
from cwcf_jax.index.index_config import maps_location
from cwcf_jax.index.queries import Corners, PreparedQuery, QueryDescription
from cwcf_jax.index.query_config import QueryConfig
from cwcf_jax.index.ranker import EntryRanker, LocalRanker, RankedEntries, merge
from cwcf_jax.index.reader import GenerationPaths, IndexReader, find_generation_paths
from cwcf_jax.index.table import TableEntry
from cwcf_jax.search import Ranking, mean_vector, pipeline, similarities
from cwcf_jax.search.reranking import BestRegions, RegionConfig, best_regions
from cwcf_jax.store import MapStore


@dataclasses.dataclass(frozen=True)
class Hit:
    """A `Hit` is a picture of a result.

    Attributes:
        entry: the table entry of the picture.
        score: cosine, -1 to 1. After k-reciprocal re-ranking (`QueryConfig.reciprocal`), the best hits have scores of
            another kind, 0 to 1, which cannot be compared with the cosines of later hits.
        box: the best region, ``x1 y1 x2 y2`` in pixels of the upright picture; None if the hit was not re-ranked.
        cells: the best region in cells of the feature map; None if the hit was not re-ranked.
    """

    entry: TableEntry
    score: float
    box: tuple[int, int, int, int] | None = None
    cells: tuple[int, int, int, int] | None = None


class Searcher:
    """A `Searcher` keeps an index open for searches, and sees changes of the index at the next query.

    It must not be used by several threads at the same time.

    Attributes:
        index: the index.
    """

    def __init__(
        self, index: IndexReader, *, open_ranker: Callable[[GenerationPaths], EntryRanker] = LocalRanker
    ) -> None:
        """Prepares searches of an index.

        Args:
            index: the index.
            open_ranker: function that opens the ranker of a generation, such as `ray_ranker.RayRanker`.
        """
        self.index = index
        self._open_ranker = open_ranker
        self._resize = Resize.parse(index.config.resize)
        self._maps = MapStore(maps_location(index.folder, index.config))
        self._opened: tuple[pathlib.Path, EntryRanker, Whitening] | None = None

    def ranker(self) -> EntryRanker:
        """Returns the ranker of the current pictures; raises the errors of `IndexReader.generation`."""
        return self._open_current()[1]

    @property
    def whitening(self) -> Whitening:
        """Returns the current whitening of the index; raises the errors of `IndexReader.generation`."""
        return self._open_current()[2]

    def _open_current(self) -> tuple[pathlib.Path, EntryRanker, Whitening]:
        generation = self.index.generation()
        if self._opened is None or self._opened[0] != generation or not self._opened[1].is_current():
            ranker = self._open_ranker(find_generation_paths(generation, self.index.config))
            self._opened = generation, ranker, index_whitening.read(generation)
        return self._opened

    def maps(self, entry: TableEntry) -> dict[str, np.ndarray]:
        """Reads the stored maps of a picture.

        Raises:
            StaleStoreError: the maps are missing or damaged.
            ValueError: the index is compact.
        """
        self._refuse_compact(self.index.config.compact, "maps")
        return self._maps.read(entry.content)

    def prepare(self, image: np.ndarray) -> PreparedQuery:
        """Runs an image of shape [height, width, 3], uint8, RGB, through the network, for any number of queries."""
        return queries.prepare(self.index.model, self._resize, image)

    def prepare_indexed(self, path: str) -> PreparedQuery:
        """Prepares a picture of the index from its stored maps; in a compact index, from its file.

        Raises:
            KeyError: the picture is not in the index.
            ImageError: the file of a picture of a compact index does not exist or is damaged.
        """
        entry = self.ranker().entry(path)
        if self.index.config.compact:
            return self.prepare(read_image(self.index.root / path))
        return PreparedQuery(queries.as_batch(self.maps(entry)), entry.height, entry.width)

    def describe(
        self, prepared: PreparedQuery, box: Corners | None = None, classes: tuple[str, ...] = ()
    ) -> QueryDescription:
        """Describes a query.

        Args:
            prepared: the picture.
            box: the region that is searched for, ``x1 y1 x2 y2`` in pixels of the upright picture; None: the picture.
            classes: names or indices of the classes that describe the query; empty: the most probable classes.

        Raises:
            ValueError: the region is empty or not inside the picture, or a class is unknown.
        """
        spec = self.index.model.network.spec
        ids = list(dict.fromkeys(networks.class_index(spec, name) for name in classes))
        count = self.index.config.num_classes
        return queries.describe(
            self.index.model, self.whitening, prepared, num_classes=count, box=box, class_ids=ids or None
        )

    def search(
        self, query: QueryDescription, query_config: QueryConfig | None = None, *, count: int = 20, first: int = 0
    ) -> list[Hit]:
        """Returns the best hits, without the ``first`` best ones; equal scores are ordered by path.

        Args:
            query: the query.
            query_config: the steps of the search; None: the fast search.
            count: largest number of hits.
            first: number of best hits that are skipped.

        Raises:
            ValueError: the index is compact and the search needs class vectors.
        """
        query_config = query_config or QueryConfig()
        needs_class_vectors = query_config.by_query or query_config.online > 0
        self._refuse_compact(self.index.config.compact and needs_class_vectors, "class vectors")
        _, entry_ranker, whitening = self._open_current()
        if not len(entry_ranker) or first + count < 1:
            return []
        ranker = IndexRanker(entry_ranker, query.class_ids if query_config.by_query else None)
        ranking, regions = pipeline.search(
            query.descriptor,
            ranker,
            query_config.search_config,
            count=first + count,
            reranker=self._reranker(query, ranker, whitening) if query_config.rerank else None,
            online=functools.partial(ranker.describe, query.class_ids) if query_config.online else None,
        )
        cells = {} if regions is None else dict(zip(regions.rows.tolist(), regions.boxes, strict=True))
        page = zip(ranking.rows[first:].tolist(), ranking.scores[first:].tolist(), strict=True)
        return [self._hit(ranker.entries[row], score, cells.get(row)) for row, score in page]

    def _reranker(self, query: QueryDescription, ranker: "IndexRanker", whitening: Whitening) -> pipeline.Reranker:
        if self.index.config.compact:
            return lambda rows: self._best_stored_regions(query.descriptor, ranker, rows)
        region_config, descriptor = region_query(query)

        def rerank(rows: Int[np.ndarray, " r"]) -> BestRegions:
            return best_regions(
                self.index.model,
                lambda row: self.maps(ranker.entries[row]),
                rows,
                descriptor,
                query.class_ids,
                whitening,
                region_config,
            )

        return rerank

    def _best_stored_regions(
        self, query: Float[Array, " d"], ranker: "IndexRanker", rows: Int[np.ndarray, " r"]
    ) -> BestRegions:
        """Returns the best region of each picture in a compact index; the whole picture counts as a region, too."""
        entries = [ranker.entries[row] for row in rows.tolist()]
        boxes = [encoder.grid(self._map_size(entry.height, entry.width)) for entry in entries]
        vectors = np.concatenate([ranker.vectors(rows)[:, None], ranker.regions(rows)], axis=1)
        scores = np.asarray(einsum("rtd,d->rt", jnp.asarray(vectors), query))
        best, pictures = np.argmax(scores, axis=1), np.arange(len(entries))
        return BestRegions(rows, scores[pictures, best], vectors[pictures, best], np.stack(boxes)[pictures, best])

    def _refuse_compact(self, refused: bool, missing: str) -> None:
        if refused:
            raise ValueError(
                f"{self.index.folder} is a compact index, which stores no {missing}. Search by OfA and without "
                "--explain, or create an index without --compact"
            )

    def _hit(self, entry: TableEntry, score: float, cells: np.ndarray | None) -> Hit:
        if cells is None:
            return Hit(entry, score)
        height, width = self._map_size(entry.height, entry.width)
        box = np.rint(cells * np.array([entry.width / width, entry.height / height] * 2)).astype(int)
        return Hit(entry, score, *(tuple(corners.tolist()) for corners in (box, cells)))

    def _map_size(self, height: int, width: int) -> tuple[int, int]:
        """Returns the numbers of rows and columns of the feature map of a picture, given the size in pixels."""
        resized = jnp.asarray([self._resize.target(height, width)], jnp.int32)
        rows, columns = np.asarray(self._map_sizes(resized))[0].tolist()
        return rows, columns

    @functools.cached_property
    def _map_sizes(self) -> Callable[[Int[Array, "1 2"]], Int[Array, "1 2"]]:
        model = self.index.model
        return jax.jit(lambda sizes: model.network.map_sizes(sizes)[model.feature_layer.name])


class IndexRanker:
    """An `IndexRanker` is a `search.pipeline.Ranker` of the pictures of an index for one query.

    A picture gets its row when it is ranked for the first time.

    Attributes:
        entries: the entry of each row.
    """

    def __init__(self, ranker: EntryRanker, class_ids: np.ndarray | None) -> None:
        """Creates a ranker without rows.

        Args:
            ranker: the ranker of the index.
            class_ids: the classes of the query for OnA, None for OfA.
        """
        self.entries: list[TableEntry] = []
        self._ranker, self._class_ids = ranker, class_ids
        self._rows: dict[str, int] = {}
        self._replaced: dict[int, Float[np.ndarray, " d"]] = {}

    def best(self, query: Float[Array, " d"], count: int) -> Ranking:
        """Implements `search.pipeline.Ranker`."""
        ranked = self._ranker.best(query, self._class_ids, count + len(self._replaced))
        if self._replaced:
            others = [i for i, entry in enumerate(ranked.entries) if self._row(entry) not in self._replaced]
            scores = similarities(query, jnp.asarray(np.stack(list(self._replaced.values()))))
            replaced = RankedEntries(tuple(self.entries[row] for row in self._replaced), np.asarray(scores))
            unchanged = RankedEntries(tuple(ranked.entries[i] for i in others), ranked.scores[others])
            ranked = merge([unchanged, replaced], count)
        return Ranking(ranked.scores, np.array([self._row(entry) for entry in ranked.entries], np.int64))

    def vectors(self, rows: pipeline.RowIndices) -> Float[np.ndarray, "r d"]:
        """Implements `search.pipeline.Ranker`."""
        others = [row for row in rows.tolist() if row not in self._replaced]
        vectors = dict(self._replaced)
        if others:
            unchanged = self._ranker.vectors([self.entries[row] for row in others], self._class_ids)
            vectors |= dict(zip(others, unchanged, strict=True))
        return np.stack([vectors[row] for row in rows.tolist()])

    def describe(self, class_ids: np.ndarray, rows: pipeline.RowIndices) -> Float[np.ndarray, "r d"]:
        """Returns the descriptors of pictures under some classes; implements `search.pipeline.Online`."""
        return self._ranker.vectors([self.entries[row] for row in rows.tolist()], class_ids)

    def regions(self, rows: pipeline.RowIndices) -> Float[np.ndarray, "r t d"]:
        """Returns the region descriptors of pictures in a compact index."""
        return self._ranker.regions([self.entries[row] for row in rows.tolist()])

    def replace(self, rows: pipeline.RowIndices, vectors: pipeline.Vectors) -> "IndexRanker":
        """Implements `search.pipeline.Ranker`."""
        ranker = copy.copy(self)  # both rankers share their rows
        ranker._replaced = self._replaced | dict(zip(rows.tolist(), np.asarray(vectors), strict=True))
        return ranker

    def _row(self, entry: TableEntry) -> int:
        row = self._rows.setdefault(entry.path, len(self.entries))
        if row == len(self.entries):
            self.entries.append(entry)
        return row


def region_query(query: QueryDescription) -> tuple[RegionConfig, Float[Array, " d"]]:
    """Returns the region config for a query, and the query's descriptor under the classes of the region descriptors."""
    region_config = RegionConfig().limited_to(len(query.class_ids))
    return region_config, mean_vector(query.vectors[: region_config.num_classes])
