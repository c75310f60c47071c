"""This module scores the rankings of a benchmark's queries, and compares two methods on the same queries."""

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

RECALL_CUTOFFS = (10, 100)
"""The numbers of first images at which recall is computed."""

PRECISION_CUTOFFS = (1, 5, 10)
"""The numbers of first images at which the revisited benchmarks compute precision."""


@dataclasses.dataclass(frozen=True)
class Scores:
    """A `Scores` holds the metrics of one method on a benchmark.

    Attributes:
        map: mean average precision over the queries that have positives.
        low: low end of the 95 % bootstrap interval of ``map`` over queries; None if there is only one query.
        high: high end of this interval, or None.
        per_query: average precision by name of the query.
        metrics: mean recall by name of the metric, and the metrics that the revisited protocol adds.
    """

    map: float
    low: float | None
    high: float | None
    per_query: dict[str, float]
    metrics: dict[str, float]


def score(rankings: Mapping[str, Sequence[int]], queries: Sequence[BenchmarkQuery], *, revisited: bool) -> Scores:
    """Scores rankings against the ground truth.

    Args:
        rankings: images of each query, best first, by name of the query.
        queries: queries with their ground truth.
        revisited: whether the benchmark is a revisited one, with easy and hard images.

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
        for k in RECALL_CUTOFFS
    }
    if revisited:
        metrics |= _revisited([(ranking, truths[name]) for name, ranking in rankings.items()])
    return Scores(mean, low, high, per_query, metrics)


def _revisited(ranked: Sequence[tuple[Sequence[int], BenchmarkQuery]]) -> dict[str, float]:
    """Computes the mean average precision and the mean precisions under each setup in which a query has positives."""
    metrics: dict[str, float] = {}
    for setup in SETUPS:
        judged = []
        for ranking, query in ranked:
            hard = query.hard or frozenset()
            positives, junk = difficulty(query.positives - hard, hard, query.junk, setup)
            if positives:  # as in the released evaluation, queries without positives do not count in the mean
                judged.append((ranking, positives, junk))
        if not judged:
            continue
        metrics[f"map_{setup}"] = _mean([average_precision(*query) for query in judged])
        for k in PRECISION_CUTOFFS:
            metrics[f"mp@{k}_{setup}"] = _mean([precision_at(*query, k) for query in judged])
    return metrics


class Comparison(NamedTuple):
    """A `Comparison` holds the difference of two methods in mAP, and the 95 % bootstrap interval of the difference.

    Attributes:
        difference: mAP of the first method minus mAP of the second.
        low: low end of the interval; None if the methods have fewer than 2 queries in common.
        high: high end of the interval, or None.
    """

    difference: float
    low: float | None
    high: float | None


def compare(first: Mapping[str, float], second: Mapping[str, float]) -> Comparison:
    """Subtracts the mAP of the second method from the mAP of the first, paired over the common queries.

    With fewer than 2 common queries, the mAP of each method is the mean over all of its queries.

    Args:
        first: average precision of the first method by name of the query.
        second: average precision of the second method by name of the query.
    """
    names = [name for name in first if name in second]
    if len(names) < 2:
        return Comparison(_mean(list(first.values())) - _mean(list(second.values())), None, None)
    return Comparison(*paired_difference([first[name] for name in names], [second[name] for name in names]))


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))
