"""This driver measures steps after a search by OfA in small collections, and for queries with few positives.

    python -m experiments.small_collections --flagfile=experiments/development.flags --nc=8 --npca=32 --reciprocal=0,100

Each query has a collection of its own: some of its positives, and random images of the benchmark that are neither
positives nor junk of the query. The query's own picture is not in its collection. Every configuration that the flags
name ranks every collection.
"""

import contextlib
import dataclasses
import pathlib
from collections.abc import Callable, Iterable, Iterator, Sequence

import jax
import numpy as np
from absl import flags
from absl.flags import FlagValues
from jaxtyping import Int

from cwcf_jax.evaluation import MethodDescriptors, compare, interval, rank_images, score
from cwcf_jax.images import BenchmarkQuery
from cwcf_jax.search.pipeline import NO_ROW, Reranker, SearchConfig
from experiments import driver, evaluation, methods, run_flags, settings, tables
from experiments.driver import Outcome
from experiments.inputs import Inputs, open_maps, prepare
from experiments.numbers import integers
from experiments.results import Row
from experiments.weights import weights_of


def define_flags(values: FlagValues) -> None:
    """Defines the flags of the driver."""
    run_flags.define_flags(values)
    settings.define_flags(values)
    values.set_default("nc", "8")
    values.set_default("npca", "32")
    values.set_default("aggregation", "ofa")
    flags.DEFINE_list(
        "images", ["10", "20", "50", "0"], "Numbers of images in the collections; 0: all.", flag_values=values
    )
    text = "Numbers of a query's positives in its collection, at most half of the images; 0: all."
    flags.DEFINE_list("positives", ["1", "3", "0"], text, flag_values=values)
    flags.DEFINE_integer("samples", 5, "Number of random collections of each size.", lower_bound=1, flag_values=values)


def measure(values: FlagValues, stack: contextlib.ExitStack, folder: pathlib.Path) -> Outcome:
    """Measures every configuration in collections of every size."""
    del folder
    run = run_flags.from_flags(values)
    config = settings.from_flags(values, weights_of(run.weights, run.network).network.spec, smoke=run.smoke)
    if config.aggregations != ("ofa",) or len(config.nc) != 1 or len(config.npca) != 1 or config.augment:
        raise ValueError("small collections need --aggregation=ofa, one --nc and one --npca, and no --augment")
    inputs = prepare(stack, run)
    configs = config.configs()
    descriptors = offline_in_memory(inputs, config.nc, config.npca[0], online=any(config.online))
    rerank = None
    if any(config.rerank):
        all_images = np.arange(len(inputs.benchmark))
        rerank = evaluation.rerankers(inputs, descriptors.whitening, open_maps(stack, inputs), all_images)
    rows: list[Row] = []
    lines: list[list[tables.Cell]] = []
    for images in integers("images", values.images, 0, len(inputs.benchmark)):
        for positives in integers("positives", values.positives, 0, None):
            kind_rows = measure_kind(inputs, descriptors, configs, rerank, images, positives, values.samples)
            rows += kind_rows
            gains = [compare(row.per_query, kind_rows[0].per_query) for row in kind_rows]
            for row, gain in zip(kind_rows, gains, strict=True):
                gain_text = "" if gain.low is None else f"{gain.difference:+.4f} ({gain.low:+.3f} to {gain.high:+.3f})"
                lines.append([images or "all", positives or "all", row.steps() or "-", f"{row.map:.4f}", gain_text])
    columns = ["images", "positives", "after OfA", "mAP", "gain over the first row (95 %)"]
    return Outcome(
        title=driver.heading(inputs, "Small collections"),
        conditions=driver.conditions(inputs),
        rows=rows,
        tables=[tables.Table(f"Means over {values.samples} random collections of each query", columns, lines)],
        left_out=inputs.left_out,
        extra={"samples": values.samples},
    )


def offline_in_memory(inputs: Inputs, counts: Sequence[int], npca: int, *, online: bool) -> MethodDescriptors:
    """Returns descriptors of OfA; those of OnA, which are computed query after query, are kept in memory for reuse."""
    ofa = methods.offline(inputs, counts, npca, with_online=online)
    return ofa if ofa.online is None else dataclasses.replace(ofa, online=list(ofa.online))


def measure_kind(
    inputs: Inputs,
    descriptors: MethodDescriptors,
    configs: Sequence[SearchConfig],
    rerank: Callable[[int], Reranker] | None,
    images: int,
    positives: int,
    samples: int,
) -> list[Row]:
    """Returns a row for each configuration, with the mean average precision of each query over its collections."""
    readable = np.flatnonzero(inputs.database.images.done)
    samples_by_config: dict[SearchConfig, list[dict[str, float]]] = {}
    for seed in range(samples):
        drawn = draw(np.random.default_rng(seed), inputs.benchmark.queries, readable, images, positives)
        for config in configs:
            rankings = rank_collections(descriptors, config, rerank, drawn)
            samples_by_config.setdefault(config, []).append(
                score(rankings, [query for query, _ in drawn], revisited=False).per_query
            )
    method = f"OfA, {images or 'all'} images, {positives or 'all'} positives"
    rows = []
    for config, ap_samples in samples_by_config.items():
        per_query = {name: float(np.mean([aps[name] for aps in ap_samples])) for name in ap_samples[0]}
        low, high = interval(list(per_query.values()))
        rows.append(
            Row(
                method,
                descriptors.counts[0],
                descriptors.npca,
                map=float(np.mean(list(per_query.values()))),
                per_query=per_query,
                paper=None,
                low=low,
                high=high,
                network=inputs.model.network.spec.name,
                **evaluation.steps(config),
            )
        )
    return rows


def draw(
    random: np.random.Generator,
    queries: Sequence[BenchmarkQuery],
    readable: Int[np.ndarray, " r"],
    images: int,
    positives: int,
) -> list[tuple[BenchmarkQuery, Int[np.ndarray, " n"]]]:
    """Returns a copy of each query with the positives in its collection, and the image indices of the collection.

    Args:
        random: random generator.
        queries: queries of the benchmark.
        readable: indices of the images that can be searched, ascending.
        images: n, the number of images in a collection; 0: as many as every query can have.
        positives: number of positives of a query without its own picture, at most half of ``images``; 0: all.
    """
    candidates = []
    for query in queries:
        own = {query.image}
        relevant = random.permutation(sorted((query.positives - own) & set(readable.tolist())))
        negatives = random.permutation(sorted(set(readable.tolist()) - query.positives - query.junk - own))
        candidates.append((relevant[: min(positives or len(relevant), images // 2 or len(relevant))], negatives))
    size = images or min(len(relevant) + len(negatives) for relevant, negatives in candidates)
    drawn = []
    for query, (relevant, negatives) in zip(queries, candidates, strict=True):
        collection = np.sort(np.concatenate([relevant, negatives[: size - len(relevant)]])).astype(np.int64)
        drawn.append((dataclasses.replace(query, positives=frozenset(relevant.tolist())), collection))
    return drawn


def rank_collections(
    descriptors: MethodDescriptors,
    config: SearchConfig,
    rerank: Callable[[int], Reranker] | None,
    drawn: Sequence[tuple[BenchmarkQuery, Int[np.ndarray, " n"]]],
) -> evaluation.Rankings:
    """Returns the ranking of each query in its own collection."""

    def reranker_of_query(i: int) -> Reranker:
        assert rerank is not None
        collection = drawn[i][1]
        return lambda rows: dataclasses.replace(rerank(i)(collection[rows]), rows=rows)

    def collection_rows(databases: Iterable[jax.Array]) -> Iterator[jax.Array]:
        return (database[:, collection] for database, (_, collection) in zip(databases, drawn, strict=True))

    rankings = rank_images(
        descriptors.queries,
        collection_rows(descriptors.databases),
        [config],
        query_rows=[NO_ROW] * len(drawn),
        online=None if descriptors.online is None else collection_rows(descriptors.online),
        rerankers=None if rerank is None else reranker_of_query,
    )
    ((_, rows),) = rankings.items()
    return {query.name: collection[order].tolist() for (query, collection), order in zip(drawn, rows, strict=True)}


PROGRAM = driver.program("small_collections", define_flags, measure)

if __name__ == "__main__":
    PROGRAM.main()
