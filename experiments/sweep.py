"""The sweep over N_C and N_pca: the ablation, Figure 4 and Figure 5b."""

import contextlib
import functools
import pathlib
import sys
import time
from collections.abc import Iterator, Mapping

import numpy as np

from cwcf_jax.evaluation import benchmark
from experiments import driver, evaluation, inputs, methods, published, tables
from experiments.driver import Outcome, Picture
from experiments.inputs import Inputs
from experiments.results import Row
from experiments.run_flags import RunConfig
from experiments.settings import SweepConfig


def run(
    run_config: RunConfig, settings: SweepConfig, title: str, stack: contextlib.ExitStack, folder: pathlib.Path
) -> Outcome:
    """Every row of the settings, as tables and as one plot."""
    start = time.perf_counter()
    given = inputs.prepare(stack, run_config)
    extracted = time.perf_counter()
    rows = list(measure(stack, given, settings))
    timings = {"network": extracted - start, "methods": time.perf_counter() - extracted}
    title = driver.heading(given, f"{title}, mAP,") + settings.expansion()
    return Outcome(
        title=title,
        conditions=driver.conditions(given),
        rows=rows,
        tables=tables.sweeps(rows),
        pictures=plot(rows, title, folder, given),
        left_out=given.left_out,
        more={
            "predefined_classes": predefined_classes(given, settings).tolist(),
            "dropped_class_vectors": benchmark.count_dropped(given.database.images, max(settings.nc)),
            "expansion": {"alpha": settings.alpha, "database_side": settings.augment},
            "timings_s": timings,
        },
    )


def measure(stack: contextlib.ExitStack, given: Inputs, settings: SweepConfig) -> Iterator[Row]:
    """A row for every setting, the baselines first."""
    everything = settings.configs()
    configs = [config for config in everything if not config.online]  # OnA in the second place is OfA's
    plain = [config for config in configs if not config.rerank]
    maps = inputs.open_maps(stack, given) if any(config.rerank for config in everything) else None
    second = len(configs) < len(everything)
    evaluate = functools.partial(evaluation.evaluate, augment=settings.augment, alpha=settings.alpha)
    for described in methods.raw(given):
        yield from evaluate(given, described, plain)
    predefined = predefined_classes(given, settings)
    for npca in settings.npca:
        if "ofa" in settings.aggregations:
            yield from evaluate(given, methods.offline(given, settings.nc, npca, second=second), everything, maps)
        if "ona" in settings.aggregations:
            yield from evaluate(given, methods.online(given, settings.nc, npca), configs, maps)
        if "predefined" in settings.aggregations:
            described = methods.predefined(given, settings.nc, npca, predefined)
            yield from evaluate(given, described, configs, maps)


def predefined_classes(given: Inputs, settings: SweepConfig) -> np.ndarray:
    """The list for --aggregation=predefined."""
    if settings.predefined_classes:
        return np.array(settings.predefined_classes)
    return benchmark.frequent_classes(given.whitening, count=max(settings.nc + settings.npca))


def plot(rows: list[Row], title: str, folder: pathlib.Path, given: Inputs) -> list[Picture]:
    """plot.png, with the paper's points where this is what it ran; without matplotlib a word on that instead."""
    try:
        from experiments import plots

        plots.sweep(rows, title, folder / "plot.png", published=_published(rows, given))
    except ImportError as error:
        print(f"no plot: {error}; pip install -e '.[experiments]'", file=sys.stderr)
        return []
    return [Picture("plot.png", "mAP against the number of class vectors; lines are the baselines of Table 1a.")]


def _published(rows: list[Row], given: Inputs) -> Mapping[tuple[str, int], Mapping[int, float]]:
    if not any(row.paper is not None for row in rows):
        return {}
    name = given.benchmark.name.lower()
    curves = {(method, 1): points for (dataset, method), points in published.CURVES.items() if dataset == name}
    if name == "oxford5k":
        curves |= {("Predefined", npca): points for npca, points in published.PREDEFINED_CURVES.items()}
    return curves
