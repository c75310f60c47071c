"""One query through search, re-ranking by regions and expansion, in that order (section 4.5 of the paper)."""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from cwcf_jax.search import alpha_expansion, average_expansion, rank, reorder, replace_rows, similarities

NOWHERE = -1
"""The row of a query whose picture is not in the database, or is ranked like any other."""

Regions = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
"""Rows [r] -> scores [r] of their best regions for the query, and these regions' descriptors [r, d]."""


@dataclasses.dataclass(frozen=True)
class Stages:
    """What follows the first search; static.

    Attributes:
        rerank: how many of the best images are looked at again, region by region; 0: none.
        expansion: how many of the best rows make the query of the last search; 0: none.
        own_row_first: whether the query's own picture always comes first in a search, as where the released code
            overwrites its row with the query.
        expand_images: whether expansion sums the images' rows even where the query stood in for one of them.
        alpha: None: expansion is the paper's, a plain sum of the rows; otherwise `search.alpha_expansion` with it.
    """

    rerank: int = 0
    expansion: int = 0
    own_row_first: bool = False
    expand_images: bool = False
    alpha: float | None = None


@functools.partial(jax.jit, static_argnames="stages")
def search(
    query: Float[Array, " d"], database: Float[Array, "n d"], own: Int[Array, ""] | int = NOWHERE, *, stages: Stages
) -> Int[Array, " n"]:
    """Every row of the database, best first: search, then expansion.

    Args:
        query: descriptor of norm 1.
        database: descriptors of norm 1; under OnA those made for this query's classes.
        own: the row of the query's own picture, or `NOWHERE`.
        stages: ``rerank`` is ignored here, see `search_regions`.
    """
    first = _first(own, stages)
    ranking = _ranking(query, database, first)
    if stages.expansion == 0:
        return ranking
    return _expanded(query, database, ranking, first, stages)


def search_regions(
    query: Float[Array, " d"],
    database: Float[Array, "n d"],
    own: int,
    regions: Regions,
    *,
    stages: Stages,
) -> tuple[np.ndarray, Float[Array, "n d"]]:
    """`search` with ``stages.rerank`` of the best images looked at again before the expansion.

    The regions that won stand in for their images in the expansion and in the search that follows it.

    Returns:
        The ranking, and the database with the winning regions in it.
    """
    first = _first(own, stages)
    ranking = _ranking(query, database, first)
    rows = np.asarray(ranking[: stages.rerank])
    scores, vectors = regions(rows)
    replaced = replace_rows(database, jnp.asarray(rows), jnp.asarray(vectors))
    ranking = reorder(ranking, jnp.asarray(scores))
    if stages.expansion:
        ranking = _expanded(query, replaced, ranking, first, stages)
    return np.asarray(ranking), replaced


def _first(own: Int[Array, ""] | int, stages: Stages) -> Int[Array, ""]:
    return jnp.asarray(own if stages.own_row_first else NOWHERE, jnp.int32)


@jax.jit
def _ranking(query: Float[Array, " d"], database: Float[Array, "n d"], first: Int[Array, ""]) -> Int[Array, " n"]:
    scores = similarities(query, database)
    return rank(jnp.where(jnp.arange(database.shape[0]) == first, jnp.inf, scores))


@functools.partial(jax.jit, static_argnames="stages")
def _expanded(
    query: Float[Array, " d"],
    database: Float[Array, "n d"],
    ranking: Int[Array, " n"],
    first: Int[Array, ""],
    stages: Stages,
) -> Int[Array, " n"]:
    rows = database
    if not stages.expand_images:
        is_own = jnp.arange(database.shape[0]) == first
        rows = jnp.where(is_own[:, None], query[None, :], database)
    if stages.alpha is None:
        expanded = average_expansion(rows, ranking, stages.expansion)
    else:
        expanded = alpha_expansion(query, rows, ranking, stages.expansion, alpha=stages.alpha)
    return _ranking(expanded, database, first)
