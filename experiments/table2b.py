"""Table 2b: re-ranking by CAM regions and query expansion for OfA and OnA, beside what others do to their methods.

python -m experiments.table2b --dataset=oxford5k --whitening_dataset=paris6k --weights=FILE
"""

import contextlib
import pathlib
from collections.abc import Sequence

from absl import app, flags

from cwcf_jax.evaluation import compare
from cwcf_jax.search.pipeline import SearchConfig
from experiments import comparison, driver, evaluation, inputs, tables
from experiments.driver import Outcome
from experiments.results import Row

for _module in (driver, inputs, comparison):
    flags.adopt_module_key_flags(_module)

STEPS = (
    SearchConfig(),
    SearchConfig(expansion=10),
    SearchConfig(rerank=100, expansion=10),
    SearchConfig(rerank=1000, expansion=5),
)
"""R and QE of the table, and the search alone, which is what they are compared with."""


def main(argv: Sequence[str]) -> None:
    """Flags in, results out."""
    driver.run(argv, "table2b", measure)


def measure(stack: contextlib.ExitStack, folder: pathlib.Path) -> Outcome:
    """The paper's own methods, then the others, each as searched and after what its authors do."""
    del folder
    given = inputs.from_flags(stack)
    steps = [SearchConfig(expansion=2), SearchConfig(rerank=4, expansion=2)] if inputs.smoke() else list(STEPS)
    maps = inputs.open_maps(stack, given)
    rows: list[Row] = []
    for described in comparison.own(given):
        rows += evaluation.evaluate(given, described, steps, maps)
    others = comparison.others(given, postprocessing=True)
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


if __name__ == "__main__":
    app.run(main)
