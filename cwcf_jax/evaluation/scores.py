"""How good the rankings of a benchmark's queries are, and how two methods compare on the same queries."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from cwcf_jax.evaluation.intervals import interval, paired_difference
from cwcf_jax.evaluation.metrics import (
    SETUPS,
    average_precision,
    difficulty,
    mean_average_precision,
    precision_at,
    recall_at,
)
from cwcf_jax.images import BenchmarkQuery

RECALLS = (10, 100)
"""Numbers of images at which recall is taken."""

PRECISIONS = (1, 5, 10)
"""Numbers of images at which the revisited benchmarks take precision."""


@dataclasses.dataclass(frozen=True)
class Scores:
    """Metrics of one method on a benchmark.

    Attributes:
        map: mean average precision over the queries that have positives.
        low: of the 95 % bootstrap interval of ``map`` over queries; None where there is one query.
        high: likewise.
        per_query: average precision of each query, by its name.
        metrics: mean recall, and what the revisited protocol adds, by name.
    """

    map: float
    low: float | None
    high: float | None
    per_query: dict[str, float]
    metrics: dict[str, float]


def score(rankings: Mapping[str, Sequence[int]], queries: Sequence[BenchmarkQuery], *, revisited: bool) -> Scores:
    """Score rankings against the ground truth.

    Args:
        rankings: each query's images, best first, by the query's name.
        queries: with the ground truth.
        revisited: whether the benchmark is a revisited one, of easy and hard images.

    Raises:
        ValueError: no query has positives.
    """
    truths = {query.name: query for query in queries}
    judged = [(ranking, truths[name]) for name, ranking in rankings.items() if truths[name].positives]
    per_query = {truth.name: average_precision(ranking, truth.positives, truth.junk) for ranking, truth in judged}
    values = list(per_query.values())
    mean = mean_average_precision(values)
    low, high = interval(values) if len(values) > 1 else (None, None)
    metrics = {
        f"recall@{k}": _mean([recall_at(ranking, truth.positives, truth.junk, k) for ranking, truth in judged])
        for k in RECALLS
    }
    if revisited:
        metrics |= _revisited([(ranking, truths[name]) for name, ranking in rankings.items()])
    return Scores(mean, low, high, per_query, metrics)


def _revisited(ranked: Sequence[tuple[Sequence[int], BenchmarkQuery]]) -> dict[str, float]:
    """Mean average precision and precisions under each setup in which a query has positives."""
    metrics: dict[str, float] = {}
    for setup in SETUPS:
        judged = []
        for ranking, query in ranked:
            hard = query.hard or frozenset()
            positives, junk = difficulty(query.positives - hard, hard, query.junk, setup)
            if positives:  # as in the released evaluation, a query without is no part of the mean
                judged.append((ranking, positives, junk))
        if not judged:
            continue
        metrics[f"map_{setup}"] = _mean([average_precision(*query) for query in judged])
        for k in PRECISIONS:
            metrics[f"mp@{k}_{setup}"] = _mean([precision_at(*query, k) for query in judged])
    return metrics


class Comparison(NamedTuple):
    """Difference of two methods in mAP, and its 95 % bootstrap interval; None where fewer than 2 queries are common."""

    difference: float
    low: float | None
    high: float | None


def compare(first: Mapping[str, float], second: Mapping[str, float]) -> Comparison:
    """Subtract the mAP of the second method from that of the first, paired over the queries that both have.

    Args:
        first: average precision of each query, by its name.
        second: likewise. With fewer than 2 common queries, all queries of each are averaged.
    """
    names = [name for name in first if name in second]
    if len(names) < 2:
        return Comparison(_mean(list(first.values())) - _mean(list(second.values())), None, None)
    return Comparison(*paired_difference([first[name] for name in names], [second[name] for name in names]))


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))
