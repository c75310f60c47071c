"""Figure 4: mAP of OfA and OnA against N_C, for several N_pca.

python -m experiments.figure4 --dataset=oxford5k --whitening_dataset=paris6k --weights=FILE
"""

from collections.abc import Sequence

from absl import app, flags

from experiments import driver, inputs, settings, sweep

for _module in (driver, inputs, settings):
    flags.adopt_module_key_flags(_module)
flags.FLAGS.set_default("aggregation", "ofa,ona")


def main(argv: Sequence[str]) -> None:
    """Flags in, results out."""
    driver.run(argv, "figure4", lambda stack, folder: sweep.run(stack, folder, settings.from_flags(), "Figure 4"))


if __name__ == "__main__":
    app.run(main)
