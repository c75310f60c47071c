"""The paper's ablation: Table 1a's baselines, then OfA, OnA and predefined classes over N_C and N_pca (Figures 4, 5b).

    python -m experiments.ablation --dataset=FOLDER --whitening_dataset=FOLDER,... --weights=FILE --nc=1,8,64

The network sees every picture once; what it leaves is kept under ``--cache`` and a killed run goes on from there.
"""

from collections.abc import Sequence

from absl import app, flags

from experiments import driver, inputs, settings, sweep

for _module in (driver, inputs, settings):
    flags.adopt_module_key_flags(_module)


def main(argv: Sequence[str]) -> None:
    """Flags in, results out."""
    driver.run(argv, "ablation", lambda stack, folder: sweep.run(stack, folder, settings.from_flags(), "Ablation"))


if __name__ == "__main__":
    app.run(main)
