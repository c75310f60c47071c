"""This driver measures Table 1a: the baselines without CAMs, and raw features against 64 CAMs for several networks.

python -m experiments.table1a --dataset=oxford5k --whitening_dataset=paris6k --weights=FILE --more_weights=FILE,FILE
"""

import contextlib
import pathlib

from absl import flags
from absl.flags import FlagValues

from cwcf_jax.evaluation import MethodDescriptors
from cwcf_jax.search.pipeline import SearchConfig
from experiments import driver, evaluation, methods, run_flags, tables
from experiments.driver import Outcome
from experiments.inputs import Inputs, prepare
from experiments.results import Row


def define_flags(values: FlagValues) -> None:
    """Defines the flags of the driver."""
    run_flags.define_flags(values)
    flags.DEFINE_list(
        "more_weights",
        [],
        "Weights of further networks for the second block; each file must say its network.",
        flag_values=values,
    )
    flags.DEFINE_integer("nc", 64, "N_C of the rows with CAMs.", lower_bound=1, flag_values=values)
    flags.DEFINE_integer("npca", 1, "N_pca of the rows with CAMs.", lower_bound=1, flag_values=values)


def measure(values: FlagValues, stack: contextlib.ExitStack, folder: pathlib.Path) -> Outcome:
    """Measures the first block of the table with the network of --weights, and the second block with all networks."""
    del folder
    run = run_flags.from_flags(values)
    runs = [run, *map(run.of_weights, values.more_weights)]
    all_inputs = [prepare(stack, network_run) for network_run in runs]
    main = all_inputs[0]
    baselines = [row for descriptors in methods.raw(main) for row in evaluate(main, descriptors)]
    networks: list[Row] = []
    for inputs in all_inputs:
        raw = baselines[0] if inputs is main else next(iter(evaluate(inputs, next(iter(methods.raw(inputs))))))
        classes = inputs.model.network.spec.num_labels
        cams = methods.offline(inputs, (min(values.nc, classes),), min(values.npca, classes))
        networks += [raw, *evaluate(inputs, cams)]
    return Outcome(
        title=driver.heading(main, "Table 1a"),
        conditions=driver.conditions(main)
        | {"weights_sha256": {inputs.model.network.spec.name: inputs.weights_sha256 for inputs in all_inputs}},
        rows=[*baselines, *(row for row in networks if row is not baselines[0])],
        tables=[tables.settings("Baselines without CAMs", baselines), tables.settings("Networks", networks)],
        left_out=tuple(dict.fromkeys(reason for inputs in all_inputs for reason in inputs.left_out)),
    )


def evaluate(inputs: Inputs, descriptors: MethodDescriptors) -> list[Row]:
    """Returns the rows of a search without further steps."""
    return list(evaluation.evaluate(inputs, descriptors, [SearchConfig()]))


PROGRAM = driver.program("table1a", define_flags, measure)

if __name__ == "__main__":
    PROGRAM.main()
