"""Rankings of a benchmark's images for all its queries, several values of N_C at once."""

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
    """A method's descriptors for m values of N_C.

    Attributes:
        method: its name in results files.
        counts: the values; None where the method has no N_C.
        npca: N_pca of its whitening.
        queries: [m, q, d].
        databases: [m, n, d] for each query in turn; the same array where it does not depend on the query.
        whitening: of its class vectors, for regions.
        online: ``databases`` once more, under each query's classes, where the best images of a search are scored anew
            under these.
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
    """Reduce databases [m, n, d] to some of their images, and expand these by one another.

    An array that comes several times in a row is reduced once, and its result is one array, too.

    Args:
        databases: of each query in turn.
        images: the r images that stay, ascending.
        neighbours: number of nearest rows that each row is expanded by, see `augment_database`; 0: none.
        alpha: exponent of their weights.
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
    """Rank all images for each of q queries, under every configuration and each of m settings of the descriptors.

    Args:
        queries: descriptors of norm 1.
        databases: [m, n, d] for each query in turn; the same array where it does not depend on the query.
        configs: what follows each first search.
        query_rows: of each query, the row of its own picture, or `pipeline.NOWHERE`.
        online: [m, n, d] for each query in turn, under its classes; where a configuration scores the best anew by them.
        rerankers: gives the `Reranker` of the i-th query, where a configuration re-ranks.
        keep_regions: whether regions that won stand in for their images in all later searches of the same
            configuration, as the authors' code does by accident; only where that configuration expands.

    Returns:
        By setting and configuration, each query's rows, best first.

    Raises:
        ValueError: ``online`` or ``rerankers`` is missing where a configuration needs it.
    """
    if online is None and (needing := [config for config in configs if config.online]):
        raise ValueError(f"scores under the query's classes need descriptors under them: {needing[0]}")
    runs = [_RankingRun(config, rerankers, keep_regions) for config in configs]
    rankings: dict[tuple[int, SearchConfig], list[np.ndarray]] = {}
    second = itertools.repeat(None, len(query_rows)) if online is None else online
    for i, (query_row, database, adapted) in enumerate(zip(query_rows, databases, second, strict=True)):
        for run in runs:
            for m, rows in enumerate(run.rank(i, queries[:, i], database, query_row, adapted)):
                rankings.setdefault((m, run.config), []).append(rows)
    return {setting: np.stack(rows) for setting, rows in rankings.items()}


class _RankingRun:
    """One configuration, query after query."""

    def __init__(self, config: SearchConfig, rerankers: Callable[[int], Reranker] | None, keep: bool) -> None:
        if config.rerank and rerankers is None:
            raise ValueError(f"re-ranking needs rerankers: {config}")
        self.config = config
        self._rerankers = rerankers
        self._keep = keep and config.expansion > 0
        self._kept: dict[int, Database] = {}

    def rank(
        self, i: int, queries: jax.Array, databases: jax.Array, query_row: int, online: jax.Array | None
    ) -> Int[np.ndarray, "m n"]:
        """Rows for the m settings of the i-th query."""
        online = online if self.config.online else None
        if self._rerankers is None or not self.config.rerank:
            return np.asarray(_rank_settings(queries, databases, query_row, online, config=self.config))
        rankings = []
        for m, query in enumerate(queries):
            database = self._kept.get(m, Database(databases[m]))
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
                self._kept[m] = database.replace(regions.rows, regions.vectors)
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
    """`search.pipeline.search` for m settings of one query at once; without re-ranking."""

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
