"""What follows a search by OfA in small collections, and for queries with few positives.

    python -m experiments.small_collections --flagfile=experiments/development.flags --nc=8 --npca=32 --reciprocal=0,100

Each query gets a collection of its own: some of its positives, and other pictures of the benchmark that are neither its
positives nor its junk, drawn at random. The query's own picture is none of them. Every configuration that the flags
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
from cwcf_jax.search.pipeline import NOWHERE, Reranker, SearchConfig
from experiments import driver, evaluation, inputs, methods, run_flags, settings, tables
from experiments.driver import Outcome
from experiments.inputs import Inputs
from experiments.numbers import integers
from experiments.results import Row
from experiments.weights import weights_of


def define_flags(values: FlagValues) -> None:
    """Defines what is measured."""
    run_flags.define_flags(values)
    settings.define_flags(values)
    values.set_default("nc", "8")
    values.set_default("npca", "32")
    values.set_default("aggregation", "ofa")
    flags.DEFINE_list("images", ["10", "20", "50", "0"], "Sizes of the collections; 0: all.", flag_values=values)
    flags.DEFINE_list(
        "positives", ["1", "3", "0"], "Positives of a query in them, at most half of them; 0: all.", flag_values=values
    )
    flags.DEFINE_integer("samples", 5, "Random collections of each kind.", lower_bound=1, flag_values=values)


def measure(values: FlagValues, stack: contextlib.ExitStack, folder: pathlib.Path) -> Outcome:
    """Every configuration in collections of every kind."""
    del folder
    run = run_flags.from_flags(values)
    chosen = settings.from_flags(values, weights_of(run.weights, run.network).network.spec, smoke=run.smoke)
    if chosen.aggregations != ("ofa",) or len(chosen.nc) != 1 or len(chosen.npca) != 1 or chosen.augment:
        raise ValueError("small collections are searched by --aggregation=ofa, one --nc and one --npca, no --augment")
    given = inputs.prepare(stack, run)
    configs = chosen.configs()
    described = described_once(given, chosen.nc, chosen.npca[0], online=any(chosen.online))
    rerank = None
    if any(chosen.rerank):
        everything = np.arange(len(given.benchmark))
        rerank = evaluation.rerankers(given, described.whitening, inputs.open_maps(stack, given), everything)
    rows: list[Row] = []
    lines: list[list[tables.Cell]] = []
    for images in integers("images", values.images, 0, len(given.benchmark)):
        for positives in integers("positives", values.positives, 0, None):
            found = measure_kind(given, described, configs, rerank, images, positives, values.samples)
            rows += found
            gains = [compare(row.per_query, found[0].per_query) for row in found]
            for row, gain in zip(found, gains, strict=True):
                spread = "" if gain.low is None else f"{gain.difference:+.4f} ({gain.low:+.3f} to {gain.high:+.3f})"
                lines.append([images or "all", positives or "all", row.steps() or "-", f"{row.map:.4f}", spread])
    columns = ["images", "positives", "after OfA", "mAP", "gain over the first (95 %)"]
    return Outcome(
        title=driver.heading(given, "Small collections"),
        conditions=driver.conditions(given),
        rows=rows,
        tables=[tables.Table(f"Means over {values.samples} random collections a query", columns, lines)],
        left_out=given.left_out,
        more={"samples": values.samples},
    )


def described_once(given: Inputs, counts: Sequence[int], npca: int, *, online: bool) -> MethodDescriptors:
    """OfA, with what is made query after query kept for many rankings."""
    described = methods.offline(given, counts, npca, second=online)
    return described if described.online is None else dataclasses.replace(described, online=list(described.online))


def measure_kind(
    given: Inputs,
    described: MethodDescriptors,
    configs: Sequence[SearchConfig],
    rerank: Callable[[int], Reranker] | None,
    images: int,
    positives: int,
    samples: int,
) -> list[Row]:
    """A row for each configuration: the mean of a query's average precisions over its random collections."""
    readable = np.flatnonzero(given.database.images.done)
    found: dict[SearchConfig, list[dict[str, float]]] = {}
    for seed in range(samples):
        drawn = draw(np.random.default_rng(seed), given.benchmark.queries, readable, images, positives)
        for config in configs:
            ranked = rank_collections(described, config, rerank, drawn)
            found.setdefault(config, []).append(score(ranked, [query for query, _ in drawn], revisited=False).per_query)
    method = f"OfA, {images or 'all'} images, {positives or 'all'} positives"
    rows = []
    for config, samples_found in found.items():
        per_query = {name: float(np.mean([one[name] for one in samples_found])) for name in samples_found[0]}
        low, high = interval(list(per_query.values()))
        rows.append(
            Row(
                method,
                described.counts[0],
                described.npca,
                map=float(np.mean(list(per_query.values()))),
                per_query=per_query,
                paper=None,
                low=low,
                high=high,
                network=given.model.network.spec.name,
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
    """A collection for each query, and the query with the positives that are in it.

    Args:
        random: draws.
        queries: of the benchmark.
        readable: its images that can be searched, ascending.
        images: n, number of images; 0: as many as every query can have.
        positives: of a query, other than its own picture, at most half of ``images``; 0: all.
    """
    parts = []
    for query in queries:
        own = {query.image}
        wanted = random.permutation(sorted((query.positives - own) & set(readable.tolist())))
        others = random.permutation(sorted(set(readable.tolist()) - query.positives - query.junk - own))
        parts.append((wanted[: min(positives or len(wanted), images // 2 or len(wanted))], others))
    size = images or min(len(wanted) + len(others) for wanted, others in parts)
    drawn = []
    for query, (wanted, others) in zip(queries, parts, strict=True):
        collection = np.sort(np.concatenate([wanted, others[: size - len(wanted)]])).astype(np.int64)
        drawn.append((dataclasses.replace(query, positives=frozenset(wanted.tolist())), collection))
    return drawn


def rank_collections(
    described: MethodDescriptors,
    config: SearchConfig,
    rerank: Callable[[int], Reranker] | None,
    drawn: Sequence[tuple[BenchmarkQuery, Int[np.ndarray, " n"]]],
) -> evaluation.Ranked:
    """Each query's own collection, best first."""

    def of_query(i: int) -> Reranker:
        assert rerank is not None
        place = drawn[i][1]
        return lambda rows: dataclasses.replace(rerank(i)(place[rows]), rows=rows)

    def parts(databases: Iterable[jax.Array]) -> Iterator[jax.Array]:
        return (database[:, place] for database, (_, place) in zip(databases, drawn, strict=True))

    rankings = rank_images(
        described.queries,
        parts(described.databases),
        [config],
        query_rows=[NOWHERE] * len(drawn),
        online=None if described.online is None else parts(described.online),
        rerankers=None if rerank is None else of_query,
    )
    ((_, rows),) = rankings.items()
    return {query.name: place[order].tolist() for (query, place), order in zip(drawn, rows, strict=True)}


PROGRAM = driver.program("small_collections", define_flags, measure)

if __name__ == "__main__":
    PROGRAM.main()
