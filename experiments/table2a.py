"""This driver measures Table 2a: OnA and OfA beside SPoC, uCroW, CroW, R-MAC, bags of words and patch search.

python -m experiments.table2a --dataset=oxford5k --whitening_dataset=paris6k --weights=FILE
"""

import contextlib
import pathlib

from absl.flags import FlagValues

from cwcf_jax.evaluation import compare
from cwcf_jax.search.pipeline import SearchConfig
from experiments import comparison, driver, evaluation, run_flags, tables
from experiments.driver import Outcome
from experiments.inputs import prepare


def define_flags(values: FlagValues) -> None:
    """Defines the flags of the driver."""
    run_flags.define_flags(values)
    comparison.define_flags(values)


def measure(values: FlagValues, stack: contextlib.ExitStack, folder: pathlib.Path) -> Outcome:
    """Measures the other methods first, in the order of the table, and then OnA and OfA."""
    del folder
    config = comparison.from_flags(values)
    inputs = prepare(stack, run_flags.from_flags(values))
    rows = comparison.other_rows(inputs, config, postprocessing=False)
    for descriptors in comparison.paper_methods(inputs, config):
        rows += evaluation.evaluate(inputs, descriptors, [SearchConfig()])
    last_row = rows[-1]
    gains: list[list[tables.Cell]] = []
    for row in rows[:-1]:
        gain = compare(last_row.per_query, row.per_query)
        gains.append([row.method, f"{gain.difference:+.4f}", tables.interval(gain.low, gain.high)])
    result_tables = [tables.settings("Search alone", rows)]
    if gains:
        title = f"mAP of {last_row.method} minus that of other methods, paired over queries"
        result_tables.append(tables.Table(title, ["method", "difference", "95 %"], gains))
    return Outcome(
        title=driver.heading(inputs, "Table 2a"),
        conditions=driver.conditions(inputs),
        rows=rows,
        tables=result_tables,
        left_out=inputs.left_out,
    )


PROGRAM = driver.program("table2a", define_flags, measure)

if __name__ == "__main__":
    PROGRAM.main()
