"""From descriptors to rows of a results file: what this run's inputs and the paper's values add to the library."""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from cwcf_jax.descriptors import Whitening
from cwcf_jax.evaluation import MethodDescriptors, benchmark, rank_images, score, select_images
from cwcf_jax.search.pipeline import NOWHERE, Reranker, SearchConfig
from cwcf_jax.search.reranking import BestRegions, best_regions
from cwcf_jax.store import MapStore
from experiments import inputs, published
from experiments.inputs import Inputs
from experiments.results import Row

Ranked = dict[str, list[int]]
"""Each query's images, best first."""


def evaluate(
    given: Inputs,
    described: MethodDescriptors,
    configs: Sequence[SearchConfig],
    maps: MapStore | None = None,
    *,
    augment: int = 0,
    alpha: float | None = None,
) -> Iterator[Row]:
    """One row for each N_C and each configuration, to which the protocol adds what it says of a query's own picture.

    Args:
        given: the benchmark after its passes.
        described: by one method.
        configs: what follows each first search.
        maps: of the benchmark's images, where a configuration re-ranks.
        augment: number of nearest rows that each row of the database is expanded by beforehand; 0: none.
        alpha: exponent of their weights; None: 0.
    """
    readable = np.flatnonzero(given.database.images.done)
    places = {int(image): place for place, image in enumerate(readable)}
    queries = given.benchmark.queries
    rerank = None
    if any(config.rerank for config in configs):
        assert maps is not None, "re-ranking needs maps"
        rerank = rerankers(given, described.whitening, maps, readable)
    select = functools.partial(select_images, images=readable, neighbours=augment, alpha=alpha or 0.0)
    rankings = rank_images(
        described.queries,
        select(described.databases),
        [given.protocol.search_config(config) for config in configs],
        query_rows=[NOWHERE if query.image is None else places.get(query.image, NOWHERE) for query in queries],
        online=None if described.online is None else select(described.online),
        rerankers=rerank,
        keep_regions=given.protocol.region_rows == "kept" and described.method != "OnA",
    )
    for (m, config), rows in rankings.items():
        ranked = dict(zip((query.name for query in queries), readable[rows].tolist(), strict=True))
        nc = described.counts[m]
        yield row(given, described.method, nc, described.npca, config, ranked, augment=augment)


def rerankers(
    given: Inputs, whitening: Whitening | None, maps: MapStore, readable: np.ndarray
) -> Callable[[int], Reranker]:
    """Re-ranking by regions for each query of a benchmark, whose rows are places in ``readable`` (section 4.5)."""
    config = given.protocol.region_config().limited_to(given.model.network.spec.num_labels)
    classes = benchmark.top_classes(given.queries, max(config.num_classes, config.heat_classes))
    repeat = given.protocol.bad_vectors == "repeat"
    descriptors = benchmark.describe(given.queries, whitening, (config.num_classes,), repeat=repeat)[0]

    def of_query(i: int) -> Reranker:
        def rerank(rows: np.ndarray) -> BestRegions:
            inputs.fill_maps(given, maps, readable[rows])
            return best_regions(
                given.model,
                lambda place: maps.read(int(readable[place])),
                rows,
                descriptors[i],
                classes[i],
                whitening,
                config,
            )

        return rerank

    return of_query


def row(
    given: Inputs,
    method: str,
    nc: int | None,
    npca: int | None,
    config: SearchConfig,
    ranked: Ranked,
    *,
    augment: int = 0,
) -> Row:
    """What a results file says of a setting's rankings under the run's own network."""
    scores = score(ranked, given.benchmark.queries, revisited=given.benchmark.revisited)
    return Row(
        method=method,
        nc=nc,
        npca=npca,
        **steps(config),
        map=scores.map,
        low=scores.low,
        high=scores.high,
        per_query=scores.per_query,
        metrics=scores.metrics,
        paper=None if augment else paper_value(given, method, nc=nc, npca=npca, config=config),
        network=given.model.network.spec.name,
    )


def steps(config: SearchConfig) -> dict[str, Any]:
    """What a `Row` says of what followed the search, by its fields."""
    near = config.neighbourhood
    return {
        "qe": config.expansion,
        "rerank": config.rerank,
        "online": config.online,
        "neighbourhood": {} if near is None else {"method": near.name} | dataclasses.asdict(near),
    }


def paper_value(given: Inputs, method: str, *, nc: int | None, npca: int | None, config: SearchConfig) -> float | None:
    """The paper's value, if this run is what the paper ran."""
    spec = given.model.network.spec
    if (
        config.alpha is not None
        or config.add_query
        or config.online
        or config.neighbourhood is not None
        or given.run.smoke
        or given.protocol.name not in ("paper", "authors_code")
        or str(given.protocol) != given.protocol.name
    ):
        return None
    if given.model.feature_layer.name != spec.feature_layer:
        return None
    return published.mean_average_precision(
        given.benchmark.name, spec.name, method, nc=nc, npca=npca, qe=config.expansion, rerank=config.rerank
    )
