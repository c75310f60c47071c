"""This module ranks small databases by the pipeline and by its definition in float64."""

import jax.numpy as jnp
import numpy as np

from cwcf_jax.search import pipeline
from cwcf_jax.search.pipeline import NO_ROW, Database
from tests.support import oracles


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def circle(degrees):
    angles = np.radians(degrees)
    return jnp.asarray(np.stack([np.cos(angles), np.sin(angles)], -1), jnp.float32)


def ordered(scores, first=None):
    """Sorts rows by score, best first, with ``first`` before all; returns them and the smallest gap of two scores."""
    ranking = sorted(range(len(scores)), key=lambda row: (row != first, -scores[row]))
    return ranking, np.diff(np.sort(scores)).min()


def ranking(query, database, config, own=NO_ROW, regions=None):
    """Ranks all rows of a database by the pipeline."""
    database = Database(jnp.asarray(database))
    own = own if config.pin_query_row else None
    count = len(database.descriptors)
    ranked, _ = pipeline.search(jnp.asarray(query), database, config, count=count, query_row=own, reranker=regions)
    return ranked.rows


def oracle(query, database, config, *, own, regions=None):
    """Ranks all rows in float64 as both protocols do; returns the rows and the smallest gap of two scores."""
    query, database = query.astype(np.float64), database.astype(np.float64)
    first = own if config.pin_query_row and own != NO_ROW else None
    ranking, gap = ordered(database @ query, first)
    if regions is not None:
        reranked, (scores, vectors) = ranking[: config.rerank], regions
        ranking = sorted(reranked, key=lambda row: -scores[row]) + ranking[config.rerank :]
        database = database.copy()
        for row in reranked:
            database[row] = vectors[row]
    if not config.expansion:
        return ranking, gap
    best = [
        query if row == first and not config.expand_images else database[row] for row in ranking[: config.expansion]
    ]
    weights = np.ones(len(best))
    if config.alpha is not None:  # weights of Radenovic et al. 2018
        weights = [(row @ query) ** config.alpha if row @ query > 0 else 0.0 for row in best]
    total = config.add_query * query + sum(weight * row for weight, row in zip(weights, best, strict=True))
    ranking, last_gap = ordered(database @ oracles.l2(total), first)
    return ranking, min(gap, last_gap)
