"""Table 2b: re-ranking by CAM regions and query expansion for OfA and OnA, beside what others do to their methods.

python -m experiments.table2b --dataset=oxford5k --whitening_dataset=paris6k --weights=FILE
"""

import contextlib
import pathlib

from absl.flags import FlagValues

from cwcf_jax.evaluation import compare
from cwcf_jax.search.pipeline import SearchConfig
from experiments import comparison, driver, evaluation, inputs, run_flags, tables
from experiments.driver import Outcome
from experiments.results import Row

STEPS = (
    SearchConfig(),
    SearchConfig(expansion=10),
    SearchConfig(rerank=100, expansion=10),
    SearchConfig(rerank=1000, expansion=5),
)
"""R and QE of the table, and the search alone, which is what they are compared with."""


def define_flags(values: FlagValues) -> None:
    """Defines what is measured."""
    run_flags.define_flags(values)
    comparison.define_flags(values)


def measure(values: FlagValues, stack: contextlib.ExitStack, folder: pathlib.Path) -> Outcome:
    """The paper's own methods, then the others, each as searched and after what its authors do."""
    del folder
    config = comparison.from_flags(values)
    given = inputs.prepare(stack, run_flags.from_flags(values))
    steps = [SearchConfig(expansion=2), SearchConfig(rerank=4, expansion=2)] if given.run.smoke else list(STEPS)
    maps = inputs.open_maps(stack, given)
    rows: list[Row] = []
    for described in comparison.own(given, config):
        rows += evaluation.evaluate(given, described, steps, maps)
    others = comparison.others(given, config, postprocessing=True)
    first = {row.method: row for row in reversed([*rows, *others]) if not row.qe and not row.rerank}
    gains: list[list[tables.Cell]] = []
    for row in [*rows, *others]:
        if row.method in first and row is not first[row.method]:
            gain = compare(row.per_query, first[row.method].per_query)
            line: list[tables.Cell] = [row.method, row.rerank, row.qe, f"{gain.difference:+.4f}"]
            gains.append([*line, tables.interval(gain.low, gain.high)])
    return Outcome(
        title=driver.heading(given, "Table 2b"),
        conditions=driver.conditions(given),
        rows=[*rows, *others],
        tables=[
            tables.settings("Re-ranking (R) and query expansion (QE)", [*rows, *others]),
            tables.Table(
                "Gain over the search alone, paired over queries", ["method", "R", "QE", "mAP", "95 %"], gains
            ),
        ],
        left_out=given.left_out,
    )


PROGRAM = driver.program("table2b", define_flags, measure)

if __name__ == "__main__":
    PROGRAM.main()
