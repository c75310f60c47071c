"""This module measures the sweep over N_C and N_pca: the ablation, Figure 4 and Figure 5b."""

import contextlib
import functools
import pathlib
import sys
import time
from collections.abc import Iterator, Mapping

import numpy as np

from cwcf_jax.evaluation import benchmark
from experiments import driver, evaluation, methods, published, tables
from experiments.driver import Outcome, Picture
from experiments.inputs import Inputs, open_maps, prepare
from experiments.results import Row
from experiments.run_flags import RunConfig
from experiments.settings import SweepConfig


def run(
    run_config: RunConfig, config: SweepConfig, title: str, stack: contextlib.ExitStack, folder: pathlib.Path
) -> Outcome:
    """Measures every setting, and returns the rows, tables and one plot."""
    start_s = time.perf_counter()
    inputs = prepare(stack, run_config)
    extracted_s = time.perf_counter()
    rows = list(measure(stack, inputs, config))
    timings = {"network": extracted_s - start_s, "methods": time.perf_counter() - extracted_s}
    title = driver.heading(inputs, f"{title}, mAP,") + config.expansion()
    return Outcome(
        title=title,
        conditions=driver.conditions(inputs),
        rows=rows,
        tables=tables.sweeps(rows),
        pictures=plot(rows, title, folder, inputs),
        left_out=inputs.left_out,
        extra={
            "predefined_classes": predefined_classes(inputs, config).tolist(),
            "dropped_class_vectors": benchmark.count_dropped(inputs.database.images, max(config.nc)),
            "expansion": {"alpha": config.alpha, "database_side": config.augment},
            "timings_s": timings,
        },
    )


def measure(stack: contextlib.ExitStack, inputs: Inputs, config: SweepConfig) -> Iterator[Row]:
    """Yields a row for every setting, the baselines first."""
    all_configs = config.configs()
    # Only OfA has a second look by OnA.
    configs = [search_config for search_config in all_configs if not search_config.online]
    baseline_configs = [search_config for search_config in configs if not search_config.rerank]
    maps = open_maps(stack, inputs) if any(search_config.rerank for search_config in all_configs) else None
    with_online = len(configs) < len(all_configs)
    evaluate = functools.partial(evaluation.evaluate, augment=config.augment, alpha=config.alpha)
    for descriptors in methods.raw(inputs):
        yield from evaluate(inputs, descriptors, baseline_configs)
    classes = predefined_classes(inputs, config)
    for npca in config.npca:
        if "ofa" in config.aggregations:
            descriptors = methods.offline(inputs, config.nc, npca, with_online=with_online)
            yield from evaluate(inputs, descriptors, all_configs, maps)
        if "ona" in config.aggregations:
            yield from evaluate(inputs, methods.online(inputs, config.nc, npca), configs, maps)
        if "predefined" in config.aggregations:
            descriptors = methods.predefined(inputs, config.nc, npca, classes)
            yield from evaluate(inputs, descriptors, configs, maps)


def predefined_classes(inputs: Inputs, config: SweepConfig) -> np.ndarray:
    """Returns the classes of --aggregation=predefined."""
    if config.predefined_classes:
        return np.array(config.predefined_classes)
    return benchmark.frequent_classes(inputs.whitening, count=max(config.nc + config.npca))


def plot(rows: list[Row], title: str, folder: pathlib.Path, inputs: Inputs) -> list[Picture]:
    """Draws plot.png, with the paper's values if the paper has some; without matplotlib it prints a message instead."""
    try:
        from experiments import plots

        plots.sweep(rows, title, folder / "plot.png", published=_published_curves(rows, inputs))
    except ImportError as error:
        print(f"no plot: {error}; run pip install -e '.[experiments]'", file=sys.stderr)
        return []
    return [Picture("plot.png", "mAP against the number of class vectors; lines are the baselines of Table 1a.")]


def _published_curves(rows: list[Row], inputs: Inputs) -> Mapping[tuple[str, int], Mapping[int, float]]:
    """Returns the paper's curves, if the paper has a value for any of the rows."""
    if not any(row.paper is not None for row in rows):
        return {}
    name = inputs.benchmark.name.lower()
    curves = {(method, 1): points for (dataset, method), points in published.CURVES.items() if dataset == name}
    if name == "oxford5k":
        curves |= {("Predefined", npca): points for npca, points in published.PREDEFINED_CURVES.items()}
    return curves
