"""Table 2a: the paper's two strategies beside SPoC, uCroW, CroW, R-MAC, bags of words and patch search.

python -m experiments.table2a --dataset=oxford5k --whitening_dataset=paris6k --weights=FILE
"""

import contextlib
import pathlib
from collections.abc import Sequence

from absl import app, flags

from cwcf_jax.evaluation import compare
from cwcf_jax.search.pipeline import SearchConfig
from experiments import comparison, driver, evaluation, inputs, tables
from experiments.driver import Outcome

for _module in (driver, inputs, comparison):
    flags.adopt_module_key_flags(_module)


def main(argv: Sequence[str]) -> None:
    """Flags in, results out."""
    driver.run(argv, "table2a", measure)


def measure(stack: contextlib.ExitStack, folder: pathlib.Path) -> Outcome:
    """The others first, as the table has them."""
    del folder
    given = inputs.from_flags(stack)
    rows = comparison.others(given, postprocessing=False)
    for described in comparison.own(given):
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


if __name__ == "__main__":
    app.run(main)
