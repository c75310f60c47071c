"""Table 2a: the paper's two strategies beside SPoC, uCroW, CroW, R-MAC, bags of words and patch search.

python -m experiments.table2a --dataset=oxford5k --whitening_dataset=paris6k --weights=FILE
"""

import contextlib
import pathlib

from absl.flags import FlagValues

from cwcf_jax.evaluation import compare
from cwcf_jax.search.pipeline import SearchConfig
from experiments import comparison, driver, evaluation, inputs, run_flags, tables
from experiments.driver import Outcome


def define_flags(values: FlagValues) -> None:
    """Defines what is measured."""
    run_flags.define_flags(values)
    comparison.define_flags(values)


def measure(values: FlagValues, stack: contextlib.ExitStack, folder: pathlib.Path) -> Outcome:
    """The others first, as the table has them."""
    del folder
    config = comparison.from_flags(values)
    given = inputs.prepare(stack, run_flags.from_flags(values))
    rows = comparison.others(given, config, postprocessing=False)
    for described in comparison.own(given, config):
        rows += evaluation.evaluate(given, described, [SearchConfig()])
    own = rows[-1]
    against: list[list[tables.Cell]] = []
    for row in rows[:-1]:
        found = compare(own.per_query, row.per_query)
        against.append([row.method, f"{found.difference:+.4f}", tables.interval(found.low, found.high)])
    found_tables = [tables.settings("Search alone", rows)]
    if against:
        title = f"{own.method} less the others, paired over queries"
        found_tables.append(tables.Table(title, ["method", "mAP", "95 %"], against))
    return Outcome(
        title=driver.heading(given, "Table 2a"),
        conditions=driver.conditions(given),
        rows=rows,
        tables=found_tables,
        left_out=given.left_out,
    )


PROGRAM = driver.program("table2a", define_flags, measure)

if __name__ == "__main__":
    PROGRAM.main()
