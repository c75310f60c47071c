"""From descriptors to rows of a results file: rankings, average precision, what the revisited protocol adds."""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cwcf_jax.descriptors import Whitening
from cwcf_jax.evaluation import (
    average_precision,
    benchmark,
    difficulty,
    interval,
    mean_average_precision,
    paired_difference,
    precision_at,
    recall_at,
)
from cwcf_jax.images import Query
from cwcf_jax.search import augment_database, pipeline, reranking
from cwcf_jax.search.pipeline import NOWHERE, Stages
from cwcf_jax.search.reranking import RegionConfig
from cwcf_jax.store import MapStore
from experiments import inputs, published
from experiments.inputs import Inputs
from experiments.results import Row

RECALLS = (10, 100)
PRECISIONS = (1, 5, 10)
Ranked = dict[str, list[int]]
"""Each query's images, best first."""


@dataclasses.dataclass(frozen=True)
class Described:
    """A method's descriptors for m values of N_C.

    Attributes:
        method: as results files call it.
        counts: the values; None where the method has no N_C.
        npca: N_pca of its whitening.
        queries: [m, q, d].
        databases: [m, n, d] for each query in turn; the same array where it does not depend on the query.
        whitening: of its class vectors, for regions.
    """

    method: str
    counts: tuple[int | None, ...]
    npca: int | None
    queries: jax.Array
    databases: Iterable[jax.Array]
    whitening: Whitening | None = None


@dataclasses.dataclass(frozen=True)
class Postprocessing:
    """What surrounds the first search.

    Attributes:
        qe: rows in the expanded query; 0: none.
        rerank: images looked at again; 0: none.
        alpha: exponent of alpha expansion; None: the paper's plain sum.
        augment: nearest rows that each row of the database is expanded by beforehand; 0: none.
    """

    qe: int = 0
    rerank: int = 0
    alpha: float | None = None
    augment: int = 0


def evaluate(
    given: Inputs, described: Described, steps: Sequence[Postprocessing], maps: MapStore | None = None
) -> Iterator[Row]:
    """One row for each N_C and each post-processing; ``maps`` are needed where that re-ranks."""
    readable = np.flatnonzero(given.database.images.done)
    place = {int(row): i for i, row in enumerate(readable)}
    regions = None
    if any(step.rerank for step in steps):
        assert maps is not None, "re-ranking needs maps"
        regions = Regions.of(given, described.whitening, maps, readable)
    ranked: dict[tuple[int, Postprocessing], Ranked] = {}
    rankers = {step: _Ranker(given, described, step, regions) for step in steps}
    whole: jax.Array | None = None
    for i, (query, database) in enumerate(zip(given.benchmark.queries, described.databases, strict=True)):
        own = NOWHERE if query.image is None else place.get(query.image, NOWHERE)
        if database is not whole:  # under OfA it is the same array for every query
            whole = database
            known = database if len(readable) == len(given.benchmark) else database[:, readable]
        for step, ranker in rankers.items():
            for m, ranking in enumerate(readable[ranker.rank(i, own, known)].tolist()):
                ranked.setdefault((m, step), {})[query.name] = ranking
    for (m, step), found in ranked.items():
        yield row(given, described.method, described.counts[m], described.npca, step, found)


class _Ranker:
    """One post-processing of one method, query after query."""

    def __init__(self, given: Inputs, described: Described, step: Postprocessing, regions: "Regions | None") -> None:
        self._described, self._step, self._regions = described, step, regions
        self._stages = _stages(given, step)
        self._keep = given.protocol.region_rows == "kept" and step.qe > 0 and described.method != "OnA"
        self._kept: dict[int, jax.Array] = {}
        self._plain: jax.Array | None = None
        self._database: jax.Array | None = None

    def rank(self, i: int, own: int, database: jax.Array) -> np.ndarray:
        """[m, n] rows of the i-th query's ``database`` [m, n, d], best first; ``own`` is that of its picture."""
        if self._plain is not database:
            self._plain = database
            self._database = _augmented(database, self._step) if self._step.augment else database
        assert self._database is not None
        queries = self._described.queries[:, i]
        if not self._step.rerank:
            return np.asarray(benchmark.rankings(queries, self._database, own, stages=self._stages))
        assert self._regions is not None
        rankings = np.empty(database.shape[:2], np.int64)
        for m, rows in enumerate(self._database):
            rankings[m], replaced = pipeline.search_regions(
                queries[m], self._kept.get(m, rows), own, self._regions.of_query(i), stages=self._stages
            )
            if self._keep:
                self._kept[m] = replaced
        return rankings


def row(given: Inputs, method: str, nc: int | None, npca: int | None, step: Postprocessing, found: Ranked) -> Row:
    """What a results file says of a setting's rankings under the run's own network."""
    truths = {query.name: query for query in given.benchmark.queries}
    per_query = {
        name: average_precision(ranking, truths[name].positives, truths[name].junk)
        for name, ranking in found.items()
        if truths[name].positives
    }
    values = list(per_query.values())
    low, high = interval(values) if len(values) > 1 else (None, None)
    return Row(
        method=method,
        nc=nc,
        npca=npca,
        qe=step.qe,
        rerank=step.rerank,
        map=mean_average_precision(values),
        low=low,
        high=high,
        per_query=per_query,
        metrics=_metrics(found, truths, given.benchmark.revisited),
        paper=paper_value(given, method, nc=nc, npca=npca, step=step),
        network=given.model.network.spec.name,
    )


def paper_value(given: Inputs, method: str, *, nc: int | None, npca: int | None, step: Postprocessing) -> float | None:
    """The paper's value, if this run is what the paper ran."""
    spec = given.model.network.spec
    if (
        (step.alpha, step.augment) != (None, 0)
        or inputs.smoke()
        or given.protocol.name not in ("paper", "authors_code")
        or str(given.protocol) != given.protocol.name
    ):
        return None
    if given.model.config.feature_layer != spec.feature_layer:
        return None
    return published.mean_average_precision(
        given.benchmark.name, spec.name, method, nc=nc, npca=npca, qe=step.qe, rerank=step.rerank
    )


class Regions:
    """Re-ranking by regions for the queries of a benchmark (section 4.5): N_C 6, heat map of the first 2 classes."""

    def __init__(
        self, given: Inputs, config: RegionConfig, whitening: Whitening | None, maps: MapStore, readable: np.ndarray
    ) -> None:
        """``readable`` are the images behind the rows that are asked for."""
        self._given, self._config, self._whitening = given, config, whitening
        self._maps, self._readable = maps, readable
        self._classes = benchmark.top_classes(given.queries, max(config.num_classes, config.heat_classes))
        repeat = given.protocol.bad_vectors == "repeat"
        self._queries = benchmark.describe(given.queries, whitening, (config.num_classes,), repeat=repeat)[0]

    @classmethod
    def of(cls, given: Inputs, whitening: Whitening | None, maps: MapStore, readable: np.ndarray) -> "Regions":
        """With what the protocol says of regions."""
        return cls(given, region_config(given), whitening, maps, readable)

    def of_query(self, i: int) -> pipeline.Regions:
        """What `search.pipeline.search_regions` asks for the i-th query."""

        def find(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            images = self._readable[rows]
            inputs.fill_maps(self._given, self._maps, images)
            best = reranking.best_regions(
                self._given.model,
                self._maps.read,
                images,
                self._queries[i],
                self._classes[i],
                self._whitening,
                self._config,
            )
            return best.scores, best.vectors

        return find


def region_config(given: Inputs) -> RegionConfig:
    """What the protocol says of regions; a network of few classes has no more than those."""
    classes = given.model.network.spec.num_classes
    return RegionConfig(
        fractions=given.protocol.fractions(),
        rule=given.protocol.region,
        minimum=given.protocol.min_region,
        heat_classes=min(2, classes),
        num_classes=min(6, classes),
    )


def compare(first: Row, second: Row) -> dict[str, Any]:
    """What a paired bootstrap over the queries says of the difference first - second in mAP."""
    names = [name for name in first.per_query if name in second.per_query]
    if len(names) < 2:
        return {"difference": first.map - second.map, "low": None, "high": None}
    pairs = np.array([(first.per_query[name], second.per_query[name]) for name in names])
    difference, low, high = paired_difference(pairs[:, 0], pairs[:, 1])
    return {"difference": difference, "low": low, "high": high}


def _augmented(database: jax.Array, step: Postprocessing) -> jax.Array:
    alpha = 0.0 if step.alpha is None else step.alpha
    return jnp.stack([_augment(one, step.augment, alpha=alpha) for one in database])


_augment = jax.jit(augment_database, static_argnames=("neighbours", "alpha"))


def _stages(given: Inputs, step: Postprocessing) -> Stages:
    return Stages(
        rerank=step.rerank,
        expansion=step.qe,
        alpha=step.alpha,
        own_row_first=given.protocol.query_row == "first",
        expand_images=given.protocol.expansion_rows == "images",
    )


def _metrics(found: Ranked, truths: dict[str, Query], revisited: bool) -> dict[str, float]:
    result = {}
    for k in RECALLS:
        values = [
            recall_at(ranking, truths[name].positives, truths[name].junk, k)
            for name, ranking in found.items()
            if truths[name].positives
        ]
        result[f"recall@{k}"] = float(np.mean(values))
    for setup in ("easy", "medium", "hard") if revisited else ():
        judged = []
        for name, ranking in found.items():
            query = truths[name]
            hard = query.hard or frozenset()
            positives, junk = difficulty(query.positives - hard, hard, query.junk, setup)
            if positives:  # as in the released evaluation, a query without is no part of the mean
                judged.append((ranking, positives, junk))
        if not judged:
            continue
        result[f"map_{setup}"] = float(np.mean([average_precision(*one) for one in judged]))
        for k in PRECISIONS:
            result[f"mp@{k}_{setup}"] = float(np.mean([precision_at(*one, k) for one in judged]))
    return result
