"""This driver measures what each difference between the paper's text and its authors' code changes in mAP.

    python -m experiments.protocols --dataset=oxford5k --whitening_dataset=paris6k --weights=FILE

The driver starts from --protocol (by default the paper's text) and changes one field at a time to its value in
``authors_code``.
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
from experiments import driver, evaluation, methods, run_flags, tables
from experiments.driver import Outcome
from experiments.inputs import open_maps, prepare
from experiments.results import Row
from experiments.run_flags import RunConfig


def define_flags(values: FlagValues) -> None:
    """Defines the flags of the driver."""
    run_flags.define_flags(values)
    flags.DEFINE_integer("nc", 64, "N_C.", lower_bound=1, flag_values=values)
    flags.DEFINE_integer("npca", 1, "N_pca.", lower_bound=1, flag_values=values)
    flags.DEFINE_integer("qe", 10, "Number of descriptors in the expanded query.", lower_bound=1, flag_values=values)
    flags.DEFINE_integer("rerank", 100, "Images that are re-ranked by regions.", lower_bound=1, flag_values=values)
    text = "Fields to leave out, such as resize, which needs new network passes."
    flags.DEFINE_list("skip", [], text, flag_values=values)


def measure(values: FlagValues, stack: contextlib.ExitStack, folder: pathlib.Path) -> Outcome:
    """Measures OfA and OnA under every variant: as searched, with expansion, and with re-ranking and expansion."""
    del stack, folder  # each variant closes its own stores
    run = run_flags.from_flags(values)
    rows: list[Row] = []
    lines: list[list[tables.Cell]] = []
    base_rows: list[Row] = []
    with contextlib.ExitStack() as variant_stack:
        inputs = prepare(variant_stack, run)
        conditions, title, left_out = driver.conditions(inputs), driver.heading(inputs, "Protocols"), inputs.left_out
    for name, variant in variants(run.protocol, skip=values.skip, smoke=run.smoke):
        with contextlib.ExitStack() as variant_stack:
            variant_rows = evaluate(variant_stack, values, dataclasses.replace(run, protocol=variant))
        rows += variant_rows
        if not base_rows:
            base_rows = variant_rows
            lines.append([name, "", *(f"{row.map:.4f}" for row in variant_rows)])
            continue
        value = str(getattr(variant, name)) if hasattr(variant, name) else ""
        gains = [compare(row.per_query, other.per_query) for row, other in zip(variant_rows, base_rows, strict=True)]
        lines.append([name, value, *(_gain_text(gain) for gain in gains)])
    columns = [
        f"{row.method}{f', R {row.rerank}' if row.rerank else ''}{f', QE {row.qe}' if row.qe else ''}"
        for row in base_rows
    ]
    return Outcome(
        title=title,
        conditions=conditions,
        rows=rows,
        tables=[
            tables.Table("mAP, and its difference with each field of authors_code", ["field", "value", *columns], lines)
        ],
        notes=["A star marks a difference whose 95 % interval, paired over queries, excludes 0."],
        left_out=left_out,
    )


def variants(
    base: ProtocolConfig, *, skip: Sequence[str] = (), smoke: bool = False
) -> list[tuple[str, ProtocolConfig]]:
    """Returns the base protocol, variants with one changed field (a few if ``smoke``), and one with all changes."""
    fields = [field.name for field in dataclasses.fields(ProtocolConfig) if field.name not in ("name", *skip)]
    whitening = ("whitening", "whitening_dim", "shrinkage")  # depend on the data, not on the authors' code
    authors_values = {name: getattr(AUTHORS_CODE, name) for name in fields if name not in whitening}
    if smoke and "resize" in authors_values:
        authors_values["resize"] = "squash160x112"
    differing = {name: value for name, value in authors_values.items() if getattr(base, name) != value}
    single_variants = [(name, base.replace(**{name: value})) for name, value in differing.items()]
    if smoke:
        single_variants = single_variants[::5]  # the last variant runs the code of all others
    return [(str(base), base), *single_variants, ("all of authors_code", base.replace(**differing))]


def evaluate(stack: contextlib.ExitStack, values: FlagValues, run: RunConfig) -> list[Row]:
    """Returns the six rows of a variant, in the order of the table's columns."""
    inputs = prepare(stack, run)
    qe, rerank = (2, 4) if run.smoke else (values.qe, values.rerank)
    configs = [SearchConfig(), SearchConfig(expansion=qe), SearchConfig(rerank=rerank, expansion=qe)]
    maps = open_maps(stack, inputs)
    classes = inputs.model.network.spec.num_labels
    counts, npca = (min(values.nc, classes),), min(values.npca, classes)
    rows = list(evaluation.evaluate(inputs, methods.offline(inputs, counts, npca), configs, maps))
    rows += evaluation.evaluate(inputs, methods.online(inputs, counts, npca), configs, maps)
    return rows


def _gain_text(gain: Comparison) -> str:
    """Returns a difference with its sign, and with a star if its interval excludes 0."""
    low, high, difference = gain.low, gain.high, gain.difference
    significant = low is not None and high is not None and (low > 0 or high < 0)
    return f"{difference:+.4f}{'*' if significant else ''}"


PROGRAM = driver.program("protocols", define_flags, measure)

if __name__ == "__main__":
    PROGRAM.main()
