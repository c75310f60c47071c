"""One query through search and what may follow it, in this order.

1. Search among all images.
2. The best of them under the query's own classes: OnA after a search by OfA (`SearchConfig.online`).
3. The best of them by their best regions (`rerank`, section 4.5 of the paper).
4. The search again with an expanded query (`expansion`, section 4.5).
5. The best of them by how they lie to one another (`neighbourhood`).

The paper's drivers and an index call the same function, `search`. What they rank is behind `Ranker`: a database in
memory is one here, the pictures of an index are another in `index.search`.
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

NOWHERE = -1
"""The row of a query whose picture is not in the database."""

Neighbourhood = ReciprocalConfig | DiffusionConfig | RefinementConfig
"""How the best images of a search are ranked anew by how they lie to one another and to the query."""

CAUTIOUS = ReciprocalConfig(images=200, k1=30, k2=3, original_weight=0.7)
"""k-reciprocal re-ranking that hurts neither small collections nor queries with a single positive (docs/ranking.md).

The paper's own parameters, which are the defaults of `ReciprocalConfig`, average over more images and weigh the
original distance less: they cost such queries more than they give others.
"""


@dataclasses.dataclass(frozen=True)
class SearchConfig:
    """What follows the first search; static. A field that would change nothing is an error.

    Attributes:
        rerank: number of the best images that are ranked anew by their best regions; 0: none.
        expansion: number of the best images whose rows make the query of the last search; 0: there is no last search.
        add_query: whether the query itself is part of the expanded one. The paper leaves it out.
        alpha: exponent of the weights of expansion, see `expand_query`; None: the paper's plain sum.
        pin_query_row: whether the query's own picture comes first in every search, whatever its score, as in the
            authors' code, which overwrites that picture's row with the query.
        expand_images: whether expansion takes the own picture's row as it is in the database; otherwise the query
            stands in for it. Only where ``pin_query_row``.
        online: number of the best images that are scored anew under the query's own classes (OnA); 0: none.
        neighbourhood: how the best images of the last search are ranked anew by how they lie to one another, and how
            many; None: not at all.
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
        """Nothing after the first search, which is meant to be one by OfA."""
        return cls()

    @classmethod
    def thorough(cls) -> "SearchConfig":
        """What finds most after a search by OfA and hurts nowhere that it was measured, see docs/ranking.md.

        OfA's best images are scored anew by OnA, then by the neighbours that they share with the query. One
        configuration for all collections: each number is one of images at most.
        """
        return cls(online=CAUTIOUS.images, neighbourhood=CAUTIOUS)

    def __post_init__(self) -> None:
        for name in ("rerank", "expansion", "online"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is a number of images, not {getattr(self, name)}")
        if self.alpha is not None:
            check_alpha(self.alpha)
        for name, other in _NEEDED:
            if getattr(self, name) != getattr(SearchConfig, name) and not getattr(self, other):
                raise ValueError(f"{name} changes nothing without {other}")

    @property
    def neighbours(self) -> int:
        """Number of the best images of the last search that are ranked anew by how they lie to one another."""
        return 0 if self.neighbourhood is None else self.neighbourhood.images


_NEEDED = (
    ("add_query", "expansion"),
    ("alpha", "expansion"),
    ("expand_images", "expansion"),
    ("expand_images", "pin_query_row"),
)
"""Fields of `SearchConfig`, each with another one without which it changes nothing."""


Rows = Int[Array, " r"] | Int[np.ndarray, " r"]
"""Some images of a `Ranker`."""

Vectors = Float[Array, "r d"] | Float[np.ndarray, "r d"]
"""Their descriptors."""


@runtime_checkable
class Ranker(Protocol):
    """What `search` needs of the images that it ranks; it knows them by their rows, numbers of the ranker's choice."""

    def best(self, query: Float[Array, " d"], count: int) -> Ranking:
        """Rank the images by cosine with a query [d] of norm 1: the best ones, at most ``count``."""

    def vectors(self, rows: Rows) -> Vectors:
        """Return the descriptors that some images are ranked by."""

    def replace(self, rows: Rows, vectors: Vectors) -> "Ranker":
        """Return a ranker in which other descriptors stand in for those of some images; this one stays as it is."""


Reranker = Callable[[Int[np.ndarray, " r"]], BestRegions]
"""The best region of each of some rows for the query, such as `reranking.best_regions` with all else filled in."""

Online = Callable[[Rows], Vectors]
"""The descriptors of some rows under the query's classes, such as `OnlineSearch.vectors` with all else filled in."""


class Database(NamedTuple):
    """`Ranker` of descriptors of norm 1 in memory; a pytree, so that `search` can be compiled and vmapped over it.

    Under OnA, the descriptors are those that were made for the query's classes.
    """

    descriptors: Float[Array, "n d"]

    def best(self, query: Float[Array, " d"], count: int) -> Ranking:
        """See `Ranker`."""
        return _ranked(query, self.descriptors, count)

    def vectors(self, rows: Rows) -> Float[Array, "r d"]:
        """See `Ranker`."""
        return self.descriptors[jnp.asarray(rows)]

    def replace(self, rows: Rows, vectors: Vectors) -> "Database":
        """See `Ranker`; ``rows`` are distinct."""
        return Database(self.descriptors.at[jnp.asarray(rows)].set(jnp.asarray(vectors)))


@functools.partial(jax.jit, static_argnames="count")
def _ranked(query: Float[Array, " d"], descriptors: Float[Array, "n d"], count: int) -> Ranking:
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
    online: Online | None = None,
) -> tuple[Ranking, BestRegions | None]:
    """Search, and do what the configuration says of the best images.

    Where the best images are described under the query's classes, or by their best regions, these descriptors stand in
    for the images' own in all that follows. Ranking the best anew changes their order alone: no image from behind them
    comes before them. The result can be compiled and vmapped where there is no ``reranker``, if the ranker and
    ``online`` can.

    Args:
        query: descriptor of norm 1.
        ranker: of the images.
        config: what follows the first search.
        count: number of images that are returned, at most.
        query_row: the row of the query's own picture, or `NOWHERE`; where the configuration pins it, and only there.
        reranker: finds regions; where the configuration re-ranks, and only there.
        online: describes images under the query's classes; where the configuration does, and only there.

    Returns:
        The best images, and their best regions where the configuration re-ranks. Scores are cosines with the last
        query; without expansion, those of re-ranked images are cosines of their descriptors under the query's classes,
        or of their regions. Images that were ranked by their neighbourhood have its scores, which do not compare with
        those behind them. A pinned row scores infinity.

    Raises:
        ValueError: an argument is missing that the configuration needs, or given that it would ignore.
    """
    for name, used, value in (
        ("query_row", config.pin_query_row, query_row),
        ("reranker", config.rerank > 0, reranker),
        ("online", config.online > 0, online),
    ):
        if used != (value is not None):
            raise ValueError(f"the configuration {'needs' if used else 'ignores'} {name}: {config}")
    regions = None
    last = max(count, config.neighbours)
    ranking = _best(query, ranker, max(last, config.online, config.rerank, config.expansion), query_row)
    if online is not None:
        rows = ranking.rows[: config.online]
        vectors = online(rows)
        ranker = ranker.replace(rows, vectors)
        ranking = _sorted(ranking, similarities(query, jnp.asarray(vectors)), query_row)
    if reranker is not None:
        regions = reranker(np.asarray(ranking.rows)[: config.rerank])
        ranking = reorder(ranking, regions.scores)
        if config.expansion or config.neighbours:
            ranker = ranker.replace(regions.rows, regions.vectors)
    describe = functools.partial(
        _vectors, query, row=NOWHERE if query_row is None or config.expand_images else query_row
    )
    last_query = query
    if config.expansion:
        vectors = describe(ranker, ranking.rows[: config.expansion])
        last_query = expand_query(query, vectors, alpha=config.alpha, add_query=config.add_query)
        ranking = _best(last_query, ranker, last, query_row)
    if config.neighbourhood is not None and len(ranking.rows):
        vectors = describe(ranker, ranking.rows[: config.neighbours])
        ranking = _sorted(ranking, config.neighbourhood.scores(last_query, vectors), query_row)
    return Ranking(ranking.scores[:count], ranking.rows[:count]), regions


def _best(query: Float[Array, " d"], ranker: Ranker, count: int, query_row: Int[Array, ""] | int | None) -> Ranking:
    ranking = ranker.best(query, count)
    return ranking if query_row is None else _pinned(*ranking, jnp.asarray(query_row, jnp.int32))


def _vectors(query: Float[Array, " d"], ranker: Ranker, rows: Rows, row: Int[Array, ""] | int) -> Float[Array, "r d"]:
    """Descriptors of some rows; the query stands in for that of its own picture, ``row``."""
    own = jnp.equal(jnp.asarray(rows), row)
    return jnp.where(own[:, None], query[None, :], jnp.asarray(ranker.vectors(rows)))


def _sorted(ranking: Ranking, scores: Float[Array, " r"], query_row: Int[Array, ""] | int | None) -> Ranking:
    """Sort the first r images by new scores, the pinned row before all; see `_sorted_first`."""
    first = NOWHERE if query_row is None else query_row
    return _sorted_first(*ranking, scores, jnp.asarray(first, jnp.int32))


@jax.jit
def _sorted_first(
    old: Float[Array, " k"], rows: Int[Array, " k"], scores: Float[Array, " r"], first: Int[Array, ""]
) -> Ranking:
    """`reorder` as a compiled function: equal scores keep their order, what is behind the first r stays."""
    count = scores.shape[0]
    scores = jnp.where(rows[:count] == first, jnp.inf, scores)
    order = rank(scores)
    return Ranking(jnp.concatenate([scores[order], old[count:]]), jnp.concatenate([rows[:count][order], rows[count:]]))


@jax.jit
def _pinned(scores: Float[Array, " k"], rows: Int[Array, " k"], first: Int[Array, ""]) -> Ranking:
    """Put a row before all others, whether or not it was among them; `NOWHERE` changes nothing."""
    all_rows = jnp.concatenate([first[None], rows])
    all_scores = jnp.concatenate([jnp.full(1, jnp.inf), scores])
    superfluous = jnp.concatenate([first[None] == NOWHERE, rows == first])
    order = jnp.argsort(superfluous, stable=True)[: rows.shape[0]]
    return Ranking(all_scores[order], all_rows[order])
