"""What each difference between the paper's text and its authors' code costs in mAP, one at a time.

    python -m experiments.protocols --dataset=oxford5k --whitening_dataset=paris6k --weights=FILE

Starts from --protocol (the paper's text, by default) and gives it one field of ``authors_code`` after the other.
"""

import contextlib
import dataclasses
import pathlib
from collections.abc import Sequence

from absl import flags
from absl.flags import FlagValues

from cwcf_jax.evaluation import Comparison, compare
from cwcf_jax.evaluation.protocol import AUTHORS_CODE, ProtocolConfig
from cwcf_jax.search.pipeline import SearchConfig
from experiments import driver, evaluation, inputs, methods, run_flags, tables
from experiments.driver import Outcome
from experiments.results import Row
from experiments.run_flags import RunConfig


def define_flags(values: FlagValues) -> None:
    """Defines what is measured."""
    run_flags.define_flags(values)
    flags.DEFINE_integer("nc", 64, "N_C.", lower_bound=1, flag_values=values)
    flags.DEFINE_integer("npca", 1, "N_pca.", lower_bound=1, flag_values=values)
    flags.DEFINE_integer("qe", 10, "Rows in the expanded query.", lower_bound=1, flag_values=values)
    flags.DEFINE_integer("rerank", 100, "Images that are re-ranked by regions.", lower_bound=1, flag_values=values)
    flags.DEFINE_list("skip", [], "Fields to leave out, such as resize where passes are dear.", flag_values=values)


def measure(values: FlagValues, stack: contextlib.ExitStack, folder: pathlib.Path) -> Outcome:
    """OfA and OnA as searched, with expansion, and with re-ranking and expansion, under every variant."""
    del stack, folder  # each variant closes its own stores
    run = run_flags.from_flags(values)
    rows: list[Row] = []
    lines: list[list[tables.Cell]] = []
    reference: list[Row] = []
    with contextlib.ExitStack() as own:
        first = inputs.prepare(own, run)
        conditions, title, left_out = driver.conditions(first), driver.heading(first, "Protocols"), first.left_out
    for name, variant in variants(run.protocol, skip=values.skip, smoke=run.smoke):
        with contextlib.ExitStack() as own:
            found = evaluate(own, values, dataclasses.replace(run, protocol=variant))
        rows += found
        if not reference:
            reference = found
            lines.append([name, "", *(f"{row.map:.4f}" for row in found)])
            continue
        value = str(getattr(variant, name)) if hasattr(variant, name) else ""
        gains = [compare(row.per_query, other.per_query) for row, other in zip(found, reference, strict=True)]
        lines.append([name, value, *(_signed(gain) for gain in gains)])
    columns = [
        f"{row.method}{f', R {row.rerank}' if row.rerank else ''}{f', QE {row.qe}' if row.qe else ''}"
        for row in reference
    ]
    return Outcome(
        title=title,
        conditions=conditions,
        rows=rows,
        tables=[
            tables.Table("mAP, and what each field of authors_code adds to it", ["field", "value", *columns], lines)
        ],
        notes=["A star marks a difference whose 95 % interval, paired over queries, leaves 0 out."],
        left_out=left_out,
    )


def variants(
    base: ProtocolConfig, *, skip: Sequence[str] = (), smoke: bool = False
) -> list[tuple[str, ProtocolConfig]]:
    """The base, each differing field alone (a few of them where it is to be short), and all of them together."""
    fields = [field.name for field in dataclasses.fields(ProtocolConfig) if field.name not in ("name", *skip)]
    whitening = ("whitening", "whitening_dim", "shrinkage")  # of the data, not of the difference
    theirs = {name: getattr(AUTHORS_CODE, name) for name in fields if name not in whitening}
    if smoke and "resize" in theirs:
        theirs["resize"] = "squash160x112"
    differing = {name: value for name, value in theirs.items() if getattr(base, name) != value}
    singles = [(name, base.replace(**{name: value})) for name, value in differing.items()]
    if smoke:
        singles = singles[::5]  # the last variant runs what the others would
    return [(str(base), base), *singles, ("all of authors_code", base.replace(**differing))]


def evaluate(stack: contextlib.ExitStack, values: FlagValues, run: RunConfig) -> list[Row]:
    """The six rows of a variant, which every row of the table has in this order."""
    given = inputs.prepare(stack, run)
    qe, rerank = (2, 4) if run.smoke else (values.qe, values.rerank)
    steps = [SearchConfig(), SearchConfig(expansion=qe), SearchConfig(rerank=rerank, expansion=qe)]
    maps = inputs.open_maps(stack, given)
    classes = given.model.network.spec.num_labels
    counts, npca = (min(values.nc, classes),), min(values.npca, classes)
    rows = list(evaluation.evaluate(given, methods.offline(given, counts, npca), steps, maps))
    rows += evaluation.evaluate(given, methods.online(given, counts, npca), steps, maps)
    return rows


def _signed(gain: Comparison) -> str:
    low, high, difference = gain.low, gain.high, gain.difference
    certain = low is not None and high is not None and (low > 0 or high < 0)
    return f"{difference:+.4f}{'*' if certain else ''}"


PROGRAM = driver.program("protocols", define_flags, measure)

if __name__ == "__main__":
    PROGRAM.main()
