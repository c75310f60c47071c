"""This module makes rows of a results file from descriptors, with the run's protocol and the paper's values."""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from cwcf_jax.descriptors import Whitening
from cwcf_jax.evaluation import MethodDescriptors, benchmark, rank_images, score, select_images
from cwcf_jax.search.pipeline import NO_ROW, Reranker, SearchConfig
from cwcf_jax.search.reranking import BestRegions, best_regions
from cwcf_jax.store import MapStore
from experiments import published
from experiments.inputs import Inputs, fill_maps
from experiments.results import Row

Rankings = dict[str, list[int]]
"""The indices of the images of each query, by the query's name, best first."""


def evaluate(
    inputs: Inputs,
    descriptors: MethodDescriptors,
    configs: Sequence[SearchConfig],
    maps: MapStore | None = None,
    *,
    augment: int = 0,
    alpha: float | None = None,
) -> Iterator[Row]:
    """Yields one row for each N_C and each search configuration, which the protocol completes.

    Args:
        inputs: the benchmark after its network passes.
        descriptors: descriptors of queries and images by one method.
        configs: configurations of the search.
        maps: store of the benchmark's maps; needed if a configuration re-ranks.
        augment: number of nearest rows that each row of the database is expanded by before the search; 0: none.
        alpha: exponent of the weights of these rows; None: 0.
    """
    readable = np.flatnonzero(inputs.database.images.done)
    row_of_image = {int(image): index for index, image in enumerate(readable)}
    queries = inputs.benchmark.queries
    rerank = None
    if any(config.rerank for config in configs):
        assert maps is not None, "re-ranking needs maps"
        rerank = rerankers(inputs, descriptors.whitening, maps, readable)
    expand = functools.partial(select_images, images=readable, neighbours=augment, alpha=alpha or 0.0)
    rankings = rank_images(
        descriptors.queries,
        expand(descriptors.databases),
        [inputs.protocol.search_config(config) for config in configs],
        query_rows=[NO_ROW if query.image is None else row_of_image.get(query.image, NO_ROW) for query in queries],
        online=None if descriptors.online is None else expand(descriptors.online),
        rerankers=rerank,
        keep_regions=inputs.protocol.region_rows == "kept" and descriptors.method != "OnA",
    )
    for (m, config), rows in rankings.items():
        ranked = dict(zip((query.name for query in queries), readable[rows].tolist(), strict=True))
        nc = descriptors.counts[m]
        yield row(inputs, descriptors.method, nc, descriptors.npca, config, ranked, augment=augment)


def rerankers(
    inputs: Inputs, whitening: Whitening | None, maps: MapStore, readable: np.ndarray
) -> Callable[[int], Reranker]:
    """Returns a function that re-ranks the images of the i-th query by regions (section 4.5).

    The rows to re-rank are indices into ``readable``, the indices of the images that can be searched.
    """
    config = inputs.protocol.region_config().limited_to(inputs.model.network.spec.num_labels)
    classes = benchmark.top_classes(inputs.queries, max(config.num_classes, config.heat_classes))
    repeat = inputs.protocol.bad_vectors == "repeat"
    descriptors = benchmark.describe(inputs.queries, whitening, (config.num_classes,), repeat=repeat)[0]

    def reranker_of_query(i: int) -> Reranker:
        def rerank(rows: np.ndarray) -> BestRegions:
            fill_maps(inputs, maps, readable[rows])
            return best_regions(
                inputs.model,
                lambda index: maps.read(int(readable[index])),
                rows,
                descriptors[i],
                classes[i],
                whitening,
                config,
            )

        return rerank

    return reranker_of_query


def row(
    inputs: Inputs,
    method: str,
    nc: int | None,
    npca: int | None,
    config: SearchConfig,
    rankings: Rankings,
    *,
    augment: int = 0,
) -> Row:
    """Returns the row of a setting, measured under the run's own network."""
    scores = score(rankings, inputs.benchmark.queries, revisited=inputs.benchmark.revisited)
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
        paper=None if augment else paper_value(inputs, method, nc=nc, npca=npca, config=config),
        network=inputs.model.network.spec.name,
    )


def steps(config: SearchConfig) -> dict[str, Any]:
    """Returns the fields of a `Row` that describe the steps after the search."""
    neighbours = config.neighbourhood
    return {
        "qe": config.expansion,
        "rerank": config.rerank,
        "online": config.online,
        "neighbourhood": {} if neighbours is None else {"method": neighbours.name} | dataclasses.asdict(neighbours),
    }


def paper_value(inputs: Inputs, method: str, *, nc: int | None, npca: int | None, config: SearchConfig) -> float | None:
    """Returns the paper's value if this run has the paper's settings, and None otherwise."""
    spec = inputs.model.network.spec
    if (
        config.alpha is not None
        or config.add_query
        or config.online
        or config.neighbourhood is not None
        or inputs.run.smoke
        or inputs.protocol.name not in ("paper", "authors_code")
        or str(inputs.protocol) != inputs.protocol.name
    ):
        return None
    if inputs.model.feature_layer.name != spec.feature_layer:
        return None
    return published.mean_average_precision(
        inputs.benchmark.name, spec.name, method, nc=nc, npca=npca, qe=config.expansion, rerank=config.rerank
    )
