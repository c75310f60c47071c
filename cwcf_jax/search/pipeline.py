"""This module runs one query through a search and the steps that may follow, in this order.

1. Search all images.
2. Rank the best images anew under the query's own classes: OnA after a search by OfA (`SearchConfig.online`).
3. Rank the best images anew by their best regions (`rerank`, section 4.5 of the paper).
4. Search again with an expanded query (`expansion`, section 4.5).
5. Rank the best images anew by their neighbours (`neighbourhood`).

The paper's drivers and an index call the same function, `search`. A `Ranker` is what they search: a `Database` in
memory, or the pictures of an index (`index.search`).
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from cwcf_jax.search.diffusion import DiffusionConfig
from cwcf_jax.search.expansion import check_alpha, expand_query
from cwcf_jax.search.reciprocal import ReciprocalConfig
from cwcf_jax.search.refinement import RefinementConfig
from cwcf_jax.search.reranking import BestRegions, reorder
from cwcf_jax.search.similarity import Ranking, rank, similarities

NO_ROW = -1
"""The value of ``query_row`` for a query whose picture is not in the database."""

Neighbourhood = ReciprocalConfig | DiffusionConfig | RefinementConfig
"""A method that ranks the best images of a search anew by their cosines with one another and with the query."""

CAUTIOUS_RECIPROCAL = ReciprocalConfig(images=200, k1=30, k2=3, original_weight=0.7)
"""k-reciprocal re-ranking that hurts neither small collections nor queries with a single positive (docs/ranking.md).

The parameters of Zhong et al., which are the defaults of `ReciprocalConfig`, average over more images and give the
original distance less weight: queries with a single positive lose more than other queries gain.
"""


@dataclasses.dataclass(frozen=True)
class SearchConfig:
    """A `SearchConfig` says which steps follow the first search; all fields are static.

    A field that would change nothing is an error.

    Attributes:
        rerank: number of the best images that are ranked anew by their best regions; 0: none.
        expansion: number of the best images that the query of the second search is the sum of; 0: no second search.
        add_query: whether the query itself is part of the expanded query. The paper leaves the query out.
        alpha: exponent of the weights of expansion, see `expand_query`; None: the paper's plain sum.
        pin_query_row: whether the query's own picture comes first in every search, whatever its score, as in the
            authors' code, which overwrites the row of this picture with the query.
        expand_images: whether expansion sums the database row of the query's own picture instead of the query; only
            with ``pin_query_row``.
        online: number of the best images that are scored anew under the query's own classes (OnA); 0: none.
        neighbourhood: method and number of images for ranking the best images of the last search anew by their
            neighbours; None: they are not ranked anew.
    """

    rerank: int = 0
    expansion: int = 0
    add_query: bool = False
    alpha: float | None = None
    pin_query_row: bool = False
    expand_images: bool = False
    online: int = 0
    neighbourhood: Neighbourhood | None = None

    @classmethod
    def fast(cls) -> "SearchConfig":
        """Returns a config without steps after the first search, which is meant to be a search by OfA."""
        return cls()

    @classmethod
    def thorough(cls) -> "SearchConfig":
        """Returns the config that improves a search by OfA most without hurting any benchmark, see docs/ranking.md.

        The best images of OfA are scored anew by OnA, then by the neighbours that they share with the query. This
        config suits collections of all sizes: smaller collections rank fewer images anew.
        """
        return cls(online=CAUTIOUS_RECIPROCAL.images, neighbourhood=CAUTIOUS_RECIPROCAL)

    def __post_init__(self) -> None:
        for name in ("rerank", "expansion", "online"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is a number of images, not {getattr(self, name)}")
        if self.alpha is not None:
            check_alpha(self.alpha)
        for name, required in _REQUIRED:
            if getattr(self, name) != getattr(SearchConfig, name) and not getattr(self, required):
                raise ValueError(f"{name} changes nothing without {required}")

    @property
    def neighbours(self) -> int:
        """Returns the number of the best images of the last search that are ranked anew by their neighbours."""
        return 0 if self.neighbourhood is None else self.neighbourhood.images


_REQUIRED = (
    ("add_query", "expansion"),
    ("alpha", "expansion"),
    ("expand_images", "expansion"),
    ("expand_images", "pin_query_row"),
)
"""Fields of `SearchConfig`, each with a second field that must be set for the first to change anything."""


RowIndices = Int[Array, " r"] | Int[np.ndarray, " r"]
"""The rows of some images of a `Ranker`."""

Vectors = Float[Array, "r d"] | Float[np.ndarray, "r d"]
"""The descriptors of some images of a `Ranker`."""


@runtime_checkable
class Ranker(Protocol):
    """A `Ranker` holds the images that `search` ranks; it numbers them by rows."""

    def best(self, query: Float[Array, " d"], count: int) -> Ranking:
        """Ranks the images by cosine with a query of norm 1, and returns the ``count`` best images at most."""

    def vectors(self, rows: RowIndices) -> Vectors:
        """Returns the descriptors that some images are ranked by."""

    def replace(self, rows: RowIndices, vectors: Vectors) -> "Ranker":
        """Returns a copy of the ranker with other descriptors for some images."""


Reranker = Callable[[Int[np.ndarray, " r"]], BestRegions]
"""A function that finds the best region of each row for a query, such as a partial `reranking.best_regions`."""

OnlineDescriber = Callable[[RowIndices], Vectors]
"""A function that describes rows under a query's classes, such as a partial `OnlineSearch.vectors`."""


class Database(NamedTuple):
    """A `Database` is a `Ranker` of descriptors of norm 1 in memory.

    It is a pytree, so that `search` can be compiled and vmapped over it. Under OnA, the descriptors are aggregated
    under the query's classes.
    """

    descriptors: Float[Array, "n d"]

    def best(self, query: Float[Array, " d"], count: int) -> Ranking:
        """Ranks the descriptors by cosine with a query, see `Ranker`."""
        return _rank_descriptors(query, self.descriptors, count)

    def vectors(self, rows: RowIndices) -> Float[Array, "r d"]:
        """Returns the descriptors of some rows."""
        return self.descriptors[jnp.asarray(rows)]

    def replace(self, rows: RowIndices, vectors: Vectors) -> "Database":
        """Returns a copy of the database with other descriptors for some distinct rows."""
        return Database(self.descriptors.at[jnp.asarray(rows)].set(jnp.asarray(vectors)))


@functools.partial(jax.jit, static_argnames="count")
def _rank_descriptors(query: Float[Array, " d"], descriptors: Float[Array, "n d"], count: int) -> Ranking:
    scores = similarities(query, descriptors)
    rows = rank(scores)[:count]
    return Ranking(scores[rows], rows)


def search(
    query: Float[Array, " d"],
    ranker: Ranker,
    config: SearchConfig,
    *,
    count: int,
    query_row: Int[Array, ""] | int | None = None,
    reranker: Reranker | None = None,
    online: OnlineDescriber | None = None,
) -> tuple[Ranking, BestRegions | None]:
    """Searches, and takes the steps of ``config`` with the best images.

    Where the best images are described under the query's classes, or by their best regions, these descriptors replace
    the images' own in all later steps. Ranking the best images anew changes only their order: no image that is not
    among them moves up. Without ``reranker`` the search can be compiled and vmapped, if ``ranker`` and ``online`` can.

    Args:
        query: descriptor of norm 1.
        ranker: images that are searched.
        config: steps that follow the first search.
        count: largest number of images that are returned.
        query_row: row of the query's own picture, or `NOWHERE`; needed if ``config`` pins this row, else None.
        reranker: function that finds the best regions; needed if ``config`` re-ranks, else None.
        online: function that describes images under the query's classes; needed if ``config.online``, else None.

    Returns:
        The best images, and their best regions if ``config`` re-ranks. Scores are cosines with the query of the last
        search. Without expansion, re-ranked images have the cosines of their descriptors under the query's classes, or
        of their regions. Images ranked by their neighbours have the scores of ``config.neighbourhood``, which do not
        compare with the scores of the images behind them. A pinned row scores infinity.

    Raises:
        ValueError: an argument is missing that ``config`` needs, or is present although ``config`` ignores it.
    """
    for name, used, value in (
        ("query_row", config.pin_query_row, query_row),
        ("reranker", config.rerank > 0, reranker),
        ("online", config.online > 0, online),
    ):
        if used != (value is not None):
            raise ValueError(f"the configuration {'needs' if used else 'ignores'} {name}: {config}")
    regions = None
    last_count = max(count, config.neighbours)
    ranking = _search(query, ranker, max(last_count, config.online, config.rerank, config.expansion), query_row)
    if online is not None:
        rows = ranking.rows[: config.online]
        vectors = online(rows)
        ranker = ranker.replace(rows, vectors)
        ranking = _rescore(ranking, similarities(query, jnp.asarray(vectors)), query_row)
    if reranker is not None:
        regions = reranker(np.asarray(ranking.rows)[: config.rerank])
        ranking = reorder(ranking, regions.scores)
        if config.expansion or config.neighbours:
            ranker = ranker.replace(regions.rows, regions.vectors)
    describe = functools.partial(
        _vectors, query, own_row=NO_ROW if query_row is None or config.expand_images else query_row
    )
    last_query = query
    if config.expansion:
        vectors = describe(ranker, ranking.rows[: config.expansion])
        last_query = expand_query(query, vectors, alpha=config.alpha, add_query=config.add_query)
        ranking = _search(last_query, ranker, last_count, query_row)
    if config.neighbourhood is not None and len(ranking.rows):
        vectors = describe(ranker, ranking.rows[: config.neighbours])
        ranking = _rescore(ranking, config.neighbourhood.scores(last_query, vectors), query_row)
    return Ranking(ranking.scores[:count], ranking.rows[:count]), regions


def _search(query: Float[Array, " d"], ranker: Ranker, count: int, query_row: Int[Array, ""] | int | None) -> Ranking:
    ranking = ranker.best(query, count)
    return ranking if query_row is None else _pin(*ranking, jnp.asarray(query_row, jnp.int32))


def _vectors(
    query: Float[Array, " d"], ranker: Ranker, rows: RowIndices, own_row: Int[Array, ""] | int
) -> Float[Array, "r d"]:
    """Returns the descriptors of some rows; the query replaces the descriptor of its own picture, ``own_row``."""
    is_own = jnp.equal(jnp.asarray(rows), own_row)
    return jnp.where(is_own[:, None], query[None, :], jnp.asarray(ranker.vectors(rows)))


def _rescore(ranking: Ranking, scores: Float[Array, " r"], query_row: Int[Array, ""] | int | None) -> Ranking:
    """Sorts the first r images by new scores, the pinned row before all others; see `_sort_first`."""
    pinned = NO_ROW if query_row is None else query_row
    return _sort_first(*ranking, scores, jnp.asarray(pinned, jnp.int32))


@jax.jit
def _sort_first(
    old_scores: Float[Array, " k"], rows: Int[Array, " k"], scores: Float[Array, " r"], pinned: Int[Array, ""]
) -> Ranking:
    """Sorts as `reorder` does, compiled: equal scores keep their order, images behind the first r stay in place."""
    count = scores.shape[0]
    scores = jnp.where(rows[:count] == pinned, jnp.inf, scores)
    order = rank(scores)
    new_scores = jnp.concatenate([scores[order], old_scores[count:]])
    return Ranking(new_scores, jnp.concatenate([rows[:count][order], rows[count:]]))


@jax.jit
def _pin(scores: Float[Array, " k"], rows: Int[Array, " k"], pinned: Int[Array, ""]) -> Ranking:
    """Puts a row before all others, whether or not it is among them; `NOWHERE` changes nothing."""
    all_rows = jnp.concatenate([pinned[None], rows])
    all_scores = jnp.concatenate([jnp.full(1, jnp.inf), scores])
    superfluous = jnp.concatenate([pinned[None] == NO_ROW, rows == pinned])
    order = jnp.argsort(superfluous, stable=True)[: rows.shape[0]]
    return Ranking(all_scores[order], all_rows[order])
