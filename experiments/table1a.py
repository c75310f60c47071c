"""Table 1a: the baselines without CAMs, and raw features against 64 CAMs for several networks.

python -m experiments.table1a --dataset=oxford5k --whitening_dataset=paris6k --weights=FILE --more_weights=FILE,FILE
"""

import contextlib
import pathlib

from absl import flags
from absl.flags import FlagValues

from cwcf_jax.evaluation import MethodDescriptors
from cwcf_jax.search.pipeline import SearchConfig
from experiments import driver, evaluation, inputs, methods, run_flags, tables
from experiments.driver import Outcome
from experiments.inputs import Inputs
from experiments.results import Row


def define_flags(values: FlagValues) -> None:
    """Defines what is measured."""
    run_flags.define_flags(values)
    flags.DEFINE_list(
        "more_weights",
        [],
        "Weights of further networks for the second block; each says its network.",
        flag_values=values,
    )
    flags.DEFINE_integer("nc", 64, "N_C of the rows with CAMs.", lower_bound=1, flag_values=values)
    flags.DEFINE_integer("npca", 1, "N_pca of the rows with CAMs.", lower_bound=1, flag_values=values)


def measure(values: FlagValues, stack: contextlib.ExitStack, folder: pathlib.Path) -> Outcome:
    """The first block with the network of --weights, the second with all."""
    del folder
    run = run_flags.from_flags(values)
    runs = [run, *map(run.of_weights, values.more_weights)]
    given = [inputs.prepare(stack, one_run) for one_run in runs]
    baselines = [row for described in methods.raw(given[0]) for row in evaluate(given[0], described)]
    networks: list[Row] = []
    for one in given:
        raw = baselines[0] if one is given[0] else next(iter(evaluate(one, next(iter(methods.raw(one))))))
        classes = one.model.network.spec.num_labels
        cams = methods.offline(one, (min(values.nc, classes),), min(values.npca, classes))
        networks += [raw, *evaluate(one, cams)]
    return Outcome(
        title=driver.heading(given[0], "Table 1a"),
        conditions=driver.conditions(given[0])
        | {"weights_sha256": {one.model.network.spec.name: one.weights for one in given}},
        rows=[*baselines, *(row for row in networks if row is not baselines[0])],
        tables=[tables.settings("Baselines without CAMs", baselines), tables.settings("Networks", networks)],
        left_out=tuple(dict.fromkeys(reason for one in given for reason in one.left_out)),
    )


def evaluate(given: Inputs, described: MethodDescriptors) -> list[Row]:
    """Without post-processing."""
    return list(evaluation.evaluate(given, described, [SearchConfig()]))


PROGRAM = driver.program("table1a", define_flags, measure)

if __name__ == "__main__":
    PROGRAM.main()
