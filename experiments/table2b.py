"""This driver measures Table 2b: OfA, OnA and other methods after re-ranking and query expansion.

python -m experiments.table2b --dataset=oxford5k --whitening_dataset=paris6k --weights=FILE
"""

import contextlib
import pathlib

from absl.flags import FlagValues

from cwcf_jax.evaluation import compare
from cwcf_jax.search.pipeline import SearchConfig
from experiments import comparison, driver, evaluation, run_flags, tables
from experiments.driver import Outcome
from experiments.inputs import open_maps, prepare
from experiments.results import Row

CONFIGS = (
    SearchConfig(),
    SearchConfig(expansion=10),
    SearchConfig(rerank=100, expansion=10),
    SearchConfig(rerank=1000, expansion=5),
)
"""R and QE of the table, and the search alone, for comparison."""


def define_flags(values: FlagValues) -> None:
    """Defines the flags of the driver."""
    run_flags.define_flags(values)
    comparison.define_flags(values)


def measure(values: FlagValues, stack: contextlib.ExitStack, folder: pathlib.Path) -> Outcome:
    """Measures the paper's own methods, then the others, each without further steps and with those of its authors."""
    del folder
    config = comparison.from_flags(values)
    inputs = prepare(stack, run_flags.from_flags(values))
    configs = [SearchConfig(expansion=2), SearchConfig(rerank=4, expansion=2)] if inputs.run.smoke else list(CONFIGS)
    maps = open_maps(stack, inputs)
    rows: list[Row] = []
    for descriptors in comparison.paper_methods(inputs, config):
        rows += evaluation.evaluate(inputs, descriptors, configs, maps)
    others = comparison.other_rows(inputs, config, postprocessing=True)
    search_alone = {row.method: row for row in reversed([*rows, *others]) if not row.qe and not row.rerank}
    gains: list[list[tables.Cell]] = []
    for row in [*rows, *others]:
        if row.method in search_alone and row is not search_alone[row.method]:
            gain = compare(row.per_query, search_alone[row.method].per_query)
            line: list[tables.Cell] = [row.method, row.rerank, row.qe, f"{gain.difference:+.4f}"]
            gains.append([*line, tables.interval(gain.low, gain.high)])
    return Outcome(
        title=driver.heading(inputs, "Table 2b"),
        conditions=driver.conditions(inputs),
        rows=[*rows, *others],
        tables=[
            tables.settings("Re-ranking (R) and query expansion (QE)", [*rows, *others]),
            tables.Table(
                "Gain over the search alone, paired over queries", ["method", "R", "QE", "gain in mAP", "95 %"], gains
            ),
        ],
        left_out=inputs.left_out,
    )


PROGRAM = driver.program("table2b", define_flags, measure)

if __name__ == "__main__":
    PROGRAM.main()
