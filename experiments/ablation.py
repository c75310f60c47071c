"""This driver measures the ablation: OfA, OnA and predefined classes at every N_C and N_pca, and the baselines.

    python -m experiments.ablation --nc=64

Without flags, the driver renders the synthetic benchmark and uses EfficientNet-Lite2, whose weights are installed by
pip. Figures 4 and 5b are this driver with ``--flagfile=experiments/figure4.flags`` and
``--flagfile=experiments/figure5b.flags``.
"""

import contextlib
import pathlib

from absl import flags
from absl.flags import FlagValues

from experiments import driver, run_flags, settings, sweep
from experiments.driver import Outcome
from experiments.weights import weights_of


def define_flags(values: FlagValues) -> None:
    """Defines the flags of the driver."""
    run_flags.define_flags(values)
    settings.define_flags(values)
    flags.DEFINE_string("name", "ablation", "Name of the run, in results/ and in results.json.", flag_values=values)
    flags.DEFINE_string("title", "Ablation", "First words of the titles of tables and plots.", flag_values=values)


def measure(values: FlagValues, stack: contextlib.ExitStack, folder: pathlib.Path) -> Outcome:
    """Measures every setting that the flags name."""
    run = run_flags.from_flags(values)
    spec = weights_of(run.weights, run.network).network.spec
    return sweep.run(run, settings.from_flags(values, spec, smoke=run.smoke), values.title, stack, folder)


PROGRAM = driver.program("ablation", define_flags, measure)

if __name__ == "__main__":
    PROGRAM.main()
