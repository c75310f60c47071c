"""This module ranks a benchmark's images for all queries, for several values of N_C at once."""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from cwcf_jax.descriptors import Whitening
from cwcf_jax.search import augment_database, pipeline
from cwcf_jax.search.pipeline import Database, Reranker, SearchConfig


@dataclasses.dataclass(frozen=True)
class MethodDescriptors:
    """A `MethodDescriptors` holds the descriptors of one method for m values of N_C.

    Attributes:
        method: name of the method in results files.
        counts: the m values of N_C; None where the method has no N_C.
        npca: N_pca of the method's whitening; None where the method has no N_pca.
        queries: shape [m, q, d]; descriptors of the queries.
        databases: one array [m, n, d] for each query; the same array where the database does not depend on the query.
        whitening: whitening of class vectors, for the descriptors of regions.
        online: databases like ``databases`` under each query's classes (OnA), for searches that score the best images
            anew; None: no search does so.
    """

    method: str
    counts: tuple[int | None, ...]
    npca: int | None
    queries: jax.Array
    databases: Iterable[jax.Array]
    whitening: Whitening | None = None
    online: Iterable[jax.Array] | None = None


def select_images(
    databases: Iterable[jax.Array], images: Int[np.ndarray, " r"], *, neighbours: int = 0, alpha: float = 0.0
) -> Iterator[Float[Array, "m r d"]]:
    """Reduces databases [m, n, d] to some of their images, and expands these images by one another.

    An array that is repeated for several consecutive queries is reduced once, and the result is repeated too.

    Args:
        databases: one database for each query.
        images: rows of the r images that are kept, ascending.
        neighbours: number of nearest rows that each row is expanded by, see `augment_database`; 0: none.
        alpha: exponent of the neighbours' weights.
    """
    last: jax.Array | None = None
    for database in databases:
        if database is not last:
            last = database
            selected = database if len(images) == database.shape[1] else database[:, images]
            if neighbours:
                selected = jnp.stack([_augment(rows, neighbours, alpha=alpha) for rows in selected])
        yield selected


_augment = jax.jit(augment_database, static_argnames=("neighbours", "alpha"))


def rank_images(
    queries: Float[Array, "m q d"],
    databases: Iterable[jax.Array],
    configs: Sequence[SearchConfig],
    *,
    query_rows: Sequence[int],
    online: Iterable[jax.Array] | None = None,
    rerankers: Callable[[int], Reranker] | None = None,
    keep_regions: bool = False,
) -> dict[tuple[int, SearchConfig], Int[np.ndarray, "q n"]]:
    """Ranks all images for each of q queries, under every search config and each of m settings of the descriptors.

    Args:
        queries: descriptors of the queries, norm 1.
        databases: one array [m, n, d] for each query; the same array where the database does not depend on the query.
        configs: search configs.
        query_rows: database row of each query's own picture, or `pipeline.NOWHERE`.
        online: one array [m, n, d] for each query, under the query's classes (OnA); for configs with ``online``.
        rerankers: function that returns the `Reranker` of the i-th query; for configs that re-rank.
        keep_regions: whether the best regions replace their images in all later searches under the same config, as in
            the authors' code, by accident; only for configs with query expansion.

    Returns:
        Rankings by setting and config, each [q, n]: the database rows of each query, best first.

    Raises:
        ValueError: ``online`` or ``rerankers`` is missing where a config needs it.
    """
    if online is None and (needing := [config for config in configs if config.online]):
        raise ValueError(
            "scores under the query's classes need descriptors under the same classes: pass `online` to rank by"
            f" {needing[0]}"
        )
    runs = [_RankingRun(config, rerankers, keep_regions) for config in configs]
    rankings: dict[tuple[int, SearchConfig], list[np.ndarray]] = {}
    online_databases = itertools.repeat(None, len(query_rows)) if online is None else online
    for i, (query_row, database, adapted) in enumerate(zip(query_rows, databases, online_databases, strict=True)):
        for run in runs:
            for m, rows in enumerate(run.rank(i, queries[:, i], database, query_row, adapted)):
                rankings.setdefault((m, run.config), []).append(rows)
    return {setting: np.stack(rows) for setting, rows in rankings.items()}


class _RankingRun:
    """A `_RankingRun` ranks the images under one search config, query after query."""

    def __init__(self, config: SearchConfig, rerankers: Callable[[int], Reranker] | None, keep: bool) -> None:
        if config.rerank and rerankers is None:
            raise ValueError(f"re-ranking needs rerankers: pass `rerankers` to rank by {config}")
        self.config = config
        self._rerankers = rerankers
        self._keep = keep and config.expansion > 0
        self._kept_databases: dict[int, Database] = {}

    def rank(
        self, i: int, queries: jax.Array, databases: jax.Array, query_row: int, online: jax.Array | None
    ) -> Int[np.ndarray, "m n"]:
        """Ranks the images for the i-th query: the rows under each of the m settings, best first."""
        online = online if self.config.online else None
        if self._rerankers is None or not self.config.rerank:
            return np.asarray(_rank_settings(queries, databases, query_row, online, config=self.config))
        rankings = []
        for m, query in enumerate(queries):
            database = self._kept_databases.get(m, Database(databases[m]))
            ranking, regions = pipeline.search(
                query,
                database,
                self.config,
                count=databases.shape[1],
                query_row=query_row if self.config.pin_query_row else None,
                reranker=self._rerankers(i),
                online=None if online is None else Database(online[m]).vectors,
            )
            if self._keep and regions is not None:
                self._kept_databases[m] = database.replace(regions.rows, regions.vectors)
            rankings.append(np.asarray(ranking.rows))
        return np.stack(rankings)


@functools.partial(jax.jit, static_argnames="config")
def _rank_settings(
    queries: Float[Array, "m d"],
    databases: Float[Array, "m n d"],
    query_row: Int[Array, ""] | int,
    online: Float[Array, "m n d"] | None,
    config: SearchConfig,
) -> Int[Array, "m n"]:
    """Runs `search.pipeline.search` without re-ranking, for the m settings of one query at once."""

    def rank(
        query: Float[Array, " d"], descriptors: Float[Array, "n d"], adapted: Float[Array, "n d"] | None
    ) -> Int[Array, " n"]:
        ranking, _ = pipeline.search(
            query,
            Database(descriptors),
            config,
            count=len(descriptors),
            query_row=query_row if config.pin_query_row else None,
            online=None if adapted is None else Database(adapted).vectors,
        )
        return jnp.asarray(ranking.rows)

    return jax.vmap(rank)(queries, databases, online)
