"""Table 1b: what class activation maps add to the cost of a query, as a ratio in one run, and the mAP they buy.

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
from experiments import driver, evaluation, inputs, methods, published, run_flags, tables
from experiments.driver import Outcome, Picture
from experiments.inputs import Inputs


def define_flags(values: FlagValues) -> None:
    """Defines what is measured."""
    run_flags.define_flags(values)
    flags.DEFINE_list("nc", ["1", "8", "32", "64"], "Numbers of CAMs.", flag_values=values)
    flags.DEFINE_integer("npca", 1, "N_pca of the whitening.", lower_bound=1, flag_values=values)
    flags.DEFINE_integer("repeats", 15, "Timings of each setting, taken in turn.", lower_bound=1, flag_values=values)


def measure(values: FlagValues, stack: contextlib.ExitStack, folder: pathlib.Path) -> Outcome:
    """Seconds of the whole encoding of one query, picture in memory to descriptor, raw and with CAMs."""
    given = inputs.prepare(stack, run_flags.from_flags(values))
    counts = [int(nc) for nc in values.nc if int(nc) <= given.model.network.spec.num_labels]
    rows = list(evaluation.evaluate(given, list(methods.raw(given))[1], [SearchConfig()]))
    rows += evaluation.evaluate(given, methods.offline(given, counts, values.npca), [SearchConfig()])
    seconds = interleaved(encoders(given, counts, values.npca), 3 if given.run.smoke else values.repeats)
    raw = np.array(seconds[0])
    lines: list[list[tables.Cell]] = []
    ratios = []
    for count, row in zip([0, *counts], rows, strict=True):
        ratio = np.array(seconds[count]) / raw
        ratios.append((float(np.median(ratio)), float(ratio.min()), float(ratio.max())))
        theirs = published.QUERY_SECONDS.get(count)
        lines.append(
            [
                f"{count} CAMs" if count else "Raw + PCA",
                f"{statistics.median(seconds[count]):.3f}",
                f"{ratios[-1][0]:.3f}",
                f"{ratios[-1][1]:.3f} to {ratios[-1][2]:.3f}",
                None if theirs is None else f"{theirs / published.QUERY_SECONDS[0]:.1f}",
                f"{row.map:.4f}",
            ]
        )
    columns = ["aggregation", "seconds", "ratio to raw", "least to most", "paper's ratio", "mAP"]
    return Outcome(
        title=driver.heading(given, "Table 1b"),
        conditions=driver.conditions(given),
        rows=rows,
        tables=[tables.Table("Cost of a query", columns, lines)],
        pictures=plot([str(line[0]) for line in lines], ratios, folder),
        more={"seconds": {str(count): values for count, values in seconds.items()}},
        left_out=given.left_out,
    )


def encoders(given: Inputs, counts: Sequence[int], npca: int) -> dict[int, Callable[[], object]]:
    """For each number of CAMs what encodes the first query's picture; 0 is raw features, whitened."""
    picture = given.benchmark.query_pictures()[0]
    image, _ = load_image(picture, given.extraction.resize)
    config = given.protocol.whitening_config()
    plain = benchmark.fit_on_raw(given.whitening, config, channel_weighting=False)
    whitening = benchmark.fit_on_classes(given.whitening, config, npca)
    embed = jax.jit(descriptors.whiten_normalized)

    def raw() -> object:
        return embed(encoder.raw_features(given.model, image[None]), plain).block_until_ready()

    def with_cams(count: int) -> Callable[[], object]:
        return lambda: cwcf_jax.encode(
            given.model, image[None], num_classes=count, whitening=whitening
        ).block_until_ready()

    return {0: raw} | {count: with_cams(count) for count in counts}


def interleaved(functions: dict[int, Callable[[], object]], repeats: int) -> dict[int, list[float]]:
    """Seconds of each function, in turn, so that a machine that slows down slows all of them; a warm-up each."""
    seconds: dict[int, list[float]] = {name: [] for name in functions}
    for turn in range(repeats + 1):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            if turn:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def plot(labels: list[str], ratios: list[tuple[float, float, float]], folder: pathlib.Path) -> list[Picture]:
    """timing.png."""
    from experiments import drawing

    medians, low, high = zip(*ratios, strict=True)
    drawing.timing(folder / "timing.png", labels, list(medians), list(low), list(high))
    return [Picture("timing.png", "Seconds of a query's encoding as a ratio to raw features; least, median, most.")]


PROGRAM = driver.program("table1b", define_flags, measure)

if __name__ == "__main__":
    PROGRAM.main()
