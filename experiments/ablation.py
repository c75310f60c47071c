"""The paper's ablation: Table 1a's baselines, then OfA, OnA and predefined classes over N_C and N_pca (Figures 4, 5b).

    python -m experiments.ablation --dataset=FOLDER --whitening_dataset=FOLDER,... --weights=FILE --nc=1,8,64

The network sees every picture once; what it leaves is kept under ``--cache`` and a killed run goes on from there.
"""

import contextlib
import dataclasses
import itertools
import pathlib
import sys
import time
from collections.abc import Iterable, Iterator, Sequence

import jax
import numpy as np
from absl import app, flags, logging
from tqdm import tqdm

from cwcf_jax import benchmark, networks, retrieval, store
from cwcf_jax.protocol import PAPER
from experiments import inputs, published, report, results
from experiments.inputs import Inputs
from experiments.results import Row

flags.adopt_module_key_flags(inputs)

AGGREGATIONS = ("ofa", "ona", "predefined")

_NC = flags.DEFINE_list("nc", ["1", "2", "4", "8", "16", "32", "64"], "N_C, numbers of class vectors aggregated.")
_NPCA = flags.DEFINE_list("npca", ["1", "32"], "N_pca, numbers of class vectors an image gives to the whitening.")
_AGGREGATION = flags.DEFINE_list("aggregation", list(AGGREGATIONS), "Any of ofa, ona, predefined.")
_PREDEFINED = flags.DEFINE_list(
    "predefined_classes",
    [],
    "Classes for --aggregation=predefined, most important first: 0-based indices or names; 'paper' for the 16 that "
    "Figure 5 names. Default: those most often in the top 64 of the whitening datasets' queries, or images.",
)
_QE = flags.DEFINE_list("qe", ["0"], "Query expansion: numbers of best rows that make the new query; 0: none.")
_RERANK = flags.DEFINE_integer("rerank", 0, "Images to re-rank by CAM regions; only 0, none, so far.")
_OUTPUT = flags.DEFINE_string("output", "results/ablation", "Folder for results.json, table.txt and plot.png.")
_STRICT = flags.DEFINE_bool("strict", False, "End with exit code 1 if any picture had to be left out.")


@dataclasses.dataclass(frozen=True)
class Settings:
    """What to measure."""

    nc: tuple[int, ...]
    npca: tuple[int, ...]
    qe: tuple[int, ...]
    aggregations: tuple[str, ...]
    predefined_classes: tuple[int, ...]


def main(argv: Sequence[str]) -> None:
    """Flags in, results out."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected argument {argv[1]!r}; every setting is a --flag=value")
    if not flags.FLAGS["verbosity"].present:
        logging.set_verbosity(logging.WARNING)  # JAX tells at INFO of every accelerator that is not there
    start = time.perf_counter()
    output = pathlib.Path(_OUTPUT.value)
    try:
        with contextlib.ExitStack() as stack:
            settings = settings_from_flags()
            output.mkdir(parents=True, exist_ok=True)  # now, and not after the work is done
            given = inputs.from_flags(stack)
            extracted = time.perf_counter()
            rows = list(measure(given, settings))
            timings = {"network": extracted - start, "methods": time.perf_counter() - extracted}
            write(rows, given, settings, timings, output)
    except (ValueError, OSError, store.StoreBusyError) as error:
        logging.info("where it happened", exc_info=True)
        sys.exit(f"ablation: {error}")
    except KeyboardInterrupt:
        sys.exit("ablation: interrupted; the same command goes on from here")
    if _STRICT.value and given.left_out:
        sys.exit(1)


def settings_from_flags() -> Settings:
    """Checked settings; ValueError names the flag."""
    spec = inputs.network_from_flags().spec
    settings = Settings(
        nc=_integers("nc", _NC.value, 1, spec.num_classes),
        npca=_integers("npca", _NPCA.value, 1, spec.num_classes),
        qe=_integers("qe", _QE.value, 0, None),
        aggregations=tuple(dict.fromkeys(_AGGREGATION.value)),
        predefined_classes=_classes(spec, _PREDEFINED.value),
    )
    unknown = set(settings.aggregations) - set(AGGREGATIONS)
    if unknown:
        raise ValueError(f"--aggregation: unknown {', '.join(sorted(unknown))}; known: {', '.join(AGGREGATIONS)}")
    listed = len(settings.predefined_classes)
    if "predefined" in settings.aggregations and 0 < listed < max(settings.nc + settings.npca):
        raise ValueError(f"--predefined_classes lists {listed} classes; --nc and --npca must not ask for more")
    if _RERANK.value != 0:
        raise ValueError("--rerank: re-ranking is not implemented yet; leave it at 0")
    return settings


def measure(given: Inputs, settings: Settings) -> Iterator[Row]:
    """A row for every setting, the baselines first."""
    config = given.protocol.whitening_config()
    for weighted, whitened in itertools.product((False, True), (False, True)):
        method = "Raw" + "+CroW" * weighted + "+PCA" * whitened
        whitening = benchmark.fit_on_raw(given.whitening, config, channel_weighting=weighted) if whitened else None
        images = benchmark.describe_raw(given.database.images, whitening, channel_weighting=weighted)
        queries = benchmark.describe_raw(_queries(given), whitening, channel_weighting=weighted)
        yield from _rows(given, method, (None,), None, settings.qe, [images[None]] * len(queries), queries[None])
    predefined = predefined_classes(given, settings)
    for npca in settings.npca:
        if "ofa" in settings.aggregations or "ona" in settings.aggregations:
            whitening = benchmark.fit_on_classes(given.whitening, config, npca)
            # A query is described by its own most probable classes under both strategies.
            queries = benchmark.describe(_queries(given), whitening, settings.nc)
        if "ofa" in settings.aggregations:
            images = benchmark.describe(given.database.images, whitening, settings.nc)
            yield from _rows(given, "OfA", settings.nc, npca, settings.qe, [images] * queries.shape[1], queries)
        if "ona" in settings.aggregations:
            classes = benchmark.top_classes(_queries(given), max(settings.nc))
            adapted = tqdm(
                benchmark.describe_online(given.database.images, whitening, settings.nc, classes),
                total=len(classes),
                desc=f"OnA, N_pca {npca}",
                unit="query",
                disable=None,
            )
            yield from _rows(given, "OnA", settings.nc, npca, settings.qe, adapted, queries)
        if "predefined" in settings.aggregations:
            whitening = benchmark.fit_on_classes(given.whitening, config, npca, predefined)
            images = benchmark.describe(given.database.images, whitening, settings.nc, predefined)
            queries = benchmark.describe(_queries(given), whitening, settings.nc, predefined)
            yield from _rows(given, "Predefined", settings.nc, npca, settings.qe, [images] * queries.shape[1], queries)


def predefined_classes(given: Inputs, settings: Settings) -> np.ndarray:
    """The list for --aggregation=predefined."""
    if settings.predefined_classes:
        return np.array(settings.predefined_classes)
    return benchmark.frequent_classes(given.whitening, count=max(settings.nc + settings.npca))


def write(
    rows: Sequence[Row], given: Inputs, settings: Settings, timings: dict[str, float], folder: pathlib.Path
) -> None:
    """results.json, table.txt and plot.png; the table also goes to standard output."""
    spec = given.model.network.spec
    content = results.environment() | {
        "network": spec.name,
        "feature_layer": given.model.config.feature_layer,
        "weights_sha256": given.weights,
        "data": given.data,
        "protocol": dataclasses.asdict(given.protocol),
        "predefined_classes": predefined_classes(given, settings).tolist(),
        "dropped_class_vectors": benchmark.count_dropped(given.database.images, max(settings.nc)),
        "left_out": given.left_out,
        "timings_s": timings,
        "rows": [dataclasses.asdict(row) for row in rows],
    }
    results.write_json(folder / "results.json", content)
    title = f"{given.benchmark.name}: {spec.name} {given.model.config.feature_layer}, protocol {given.protocol}"
    text = f"{title}, mAP\n\n{report.table(rows)}\n"
    print(text)
    (folder / "table.txt").write_text(text, encoding="utf-8")
    print(f"{timings['network']:.1f} s network, {timings['methods']:.1f} s methods; written to {folder}")
    try:
        report.plot(rows, title, folder / "plot.png")
    except ImportError as error:
        print(f"no plot: {error}; pip install -e '.[experiments]'", file=sys.stderr)


def _rows(
    given: Inputs,
    method: str,
    counts: Sequence[int | None],
    npca: int | None,
    expansions: Sequence[int],
    databases: Iterable[jax.Array],
    queries: jax.Array,
) -> Iterator[Row]:
    """One row for each N_C and expansion; ``databases`` gives [m, n, d] for each query, ``queries`` is [m, q, d]."""
    readable = np.flatnonzero(given.database.images.done)
    found: dict[tuple[int, int], dict[str, float]] = {}
    for i, (truth, database) in enumerate(zip(given.benchmark.queries, databases, strict=True)):
        if len(readable) < len(given.benchmark):
            database = database[:, readable]
        for qe in expansions:
            rankings = np.asarray(benchmark.rankings(queries[:, i], database, expansion=qe))
            for m, ranking in enumerate(readable[rankings].tolist()):
                ap = retrieval.average_precision(ranking, truth.positives, truth.junk)
                found.setdefault((m, qe), {})[truth.name] = ap
    for (m, qe), per_query in found.items():
        mean = retrieval.mean_average_precision(list(per_query.values()))
        paper = _published(given, method, counts[m], npca, qe)
        yield Row(method, counts[m], npca, qe, 0, mean, per_query, paper)


def _published(given: Inputs, method: str, nc: int | None, npca: int | None, qe: int) -> float | None:
    """The paper's value, if this run is what the paper ran."""
    spec = given.model.network.spec
    if given.protocol != PAPER or given.model.config.feature_layer != spec.feature_layer:
        return None
    return published.mean_average_precision(given.benchmark.name, spec.name, method, nc=nc, npca=npca, qe=qe)


def _queries(given: Inputs) -> store.PooledStore:
    assert given.database.queries is not None  # inputs.from_flags refuses a dataset without
    return given.database.queries


def _integers(flag: str, texts: Sequence[str], low: int, high: int | None) -> tuple[int, ...]:
    values = []
    for text in texts:
        if not text.strip().isdecimal() or int(text) < low or (high is not None and int(text) > high):
            bound = f"{low} to {high}" if high is not None else f"at least {low}"
            raise ValueError(f"--{flag}: {text!r} is not a whole number, {bound}")
        values.append(int(text))
    if not values:
        raise ValueError(f"--{flag} needs at least one number")
    return tuple(sorted(set(values)))


def _classes(spec: networks.NetworkSpec, texts: Sequence[str]) -> tuple[int, ...]:
    if texts == ["paper"]:
        if spec.class_names != "imagenet":
            raise ValueError(f"--predefined_classes=paper are ImageNet's; {spec.name} knows other classes")
        return published.PREDEFINED_CLASSES
    return tuple(dict.fromkeys(networks.class_index(spec, text) for text in texts))


if __name__ == "__main__":
    app.run(main)
