"""This driver measures Table 1b: the cost that CAMs add to a query, as a ratio within one run, and the gain in mAP.

python -m experiments.table1b --dataset=oxford5k --whitening_dataset=paris6k --weights=FILE
"""

import contextlib
import pathlib
import statistics
import time
from collections.abc import Callable, Sequence

import jax
import numpy as np
from absl import flags
from absl.flags import FlagValues

import cwcf_jax
from cwcf_jax import descriptors, encoder
from cwcf_jax.evaluation import benchmark
from cwcf_jax.images import load_image
from cwcf_jax.search.pipeline import SearchConfig
from experiments import driver, evaluation, methods, published, run_flags, tables
from experiments.driver import Outcome, Picture
from experiments.inputs import Inputs, prepare


def define_flags(values: FlagValues) -> None:
    """Defines the flags of the driver."""
    run_flags.define_flags(values)
    flags.DEFINE_list("nc", ["1", "8", "32", "64"], "Numbers of CAMs.", flag_values=values)
    flags.DEFINE_integer("npca", 1, "N_pca of the whitening.", lower_bound=1, flag_values=values)
    flags.DEFINE_integer(
        "repeats", 15, "Timings of each setting; settings take turns.", lower_bound=1, flag_values=values
    )


def measure(values: FlagValues, stack: contextlib.ExitStack, folder: pathlib.Path) -> Outcome:
    """Measures the seconds to encode one query, from the picture in memory to the descriptor, raw and with CAMs."""
    inputs = prepare(stack, run_flags.from_flags(values))
    counts = [int(nc) for nc in values.nc if int(nc) <= inputs.model.network.spec.num_labels]
    rows = list(evaluation.evaluate(inputs, list(methods.raw(inputs))[1], [SearchConfig()]))
    rows += evaluation.evaluate(inputs, methods.offline(inputs, counts, values.npca), [SearchConfig()])
    seconds = interleaved(encoders(inputs, counts, values.npca), 3 if inputs.run.smoke else values.repeats)
    raw = np.array(seconds[0])
    lines: list[list[tables.Cell]] = []
    ratios = []
    for count, row in zip([0, *counts], rows, strict=True):
        ratio = np.array(seconds[count]) / raw
        ratios.append((float(np.median(ratio)), float(ratio.min()), float(ratio.max())))
        paper_seconds = published.QUERY_SECONDS.get(count)
        lines.append(
            [
                f"{count} CAMs" if count else "Raw + PCA",
                f"{statistics.median(seconds[count]):.3f}",
                f"{ratios[-1][0]:.3f}",
                f"{ratios[-1][1]:.3f} to {ratios[-1][2]:.3f}",
                None if paper_seconds is None else f"{paper_seconds / published.QUERY_SECONDS[0]:.1f}",
                f"{row.map:.4f}",
            ]
        )
    columns = ["aggregation", "seconds", "ratio to raw", "lowest to highest", "paper's ratio", "mAP"]
    return Outcome(
        title=driver.heading(inputs, "Table 1b"),
        conditions=driver.conditions(inputs),
        rows=rows,
        tables=[tables.Table("Cost of a query", columns, lines)],
        pictures=plot([str(line[0]) for line in lines], ratios, folder),
        extra={"seconds": {str(count): values for count, values in seconds.items()}},
        left_out=inputs.left_out,
    )


def encoders(inputs: Inputs, counts: Sequence[int], npca: int) -> dict[int, Callable[[], object]]:
    """Returns functions that encode the first query's picture, by number of CAMs; 0 is for raw features, whitened."""
    picture = inputs.benchmark.query_pictures()[0]
    image, _ = load_image(picture, inputs.extraction.resize)
    config = inputs.protocol.whitening_config()
    raw_whitening = benchmark.fit_on_raw(inputs.whitening, config, channel_weighting=False)
    whitening = benchmark.fit_on_classes(inputs.whitening, config, npca)
    embed = jax.jit(descriptors.whiten_normalized)

    def raw() -> object:
        return embed(encoder.raw_features(inputs.model, image[None]), raw_whitening).block_until_ready()

    def with_cams(count: int) -> Callable[[], object]:
        return lambda: cwcf_jax.encode(
            inputs.model, image[None], num_classes=count, whitening=whitening
        ).block_until_ready()

    return {0: raw} | {count: with_cams(count) for count in counts}


def interleaved(functions: dict[int, Callable[[], object]], repeats: int) -> dict[int, list[float]]:
    """Returns the seconds of each function, after a warm-up; functions take turns, so that load slows all of them."""
    seconds: dict[int, list[float]] = {name: [] for name in functions}
    for turn in range(repeats + 1):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            if turn:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def plot(labels: list[str], ratios: list[tuple[float, float, float]], folder: pathlib.Path) -> list[Picture]:
    """Draws timing.png."""
    from experiments import drawing

    medians, low, high = zip(*ratios, strict=True)
    drawing.timing(folder / "timing.png", labels, list(medians), list(low), list(high))
    return [Picture("timing.png", "Seconds to encode a query, relative to raw features: lowest, median, highest.")]


PROGRAM = driver.program("table1b", define_flags, measure)

if __name__ == "__main__":
    PROGRAM.main()
