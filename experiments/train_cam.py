"""Training of a CAM network: its head on a given trunk, as the paper's VGG-16-CAM was made, or all of it.

    python -m experiments.train_cam --network=googlenet_cam --trunk=FILE --train=head --dataset=FOLDER --epochs=10

FOLDER has a sub-folder of pictures a class. ``--network`` is any network with a CAM head, EfficientNet-Lite2 where none
is named; ``--trunk`` is a checkpoint of its layers below the head, such as `cwcf weights convert` writes.

The same command goes on where a killed run stood, to the same weights bit for bit. `cwcf_jax.load` and the other
drivers' ``--weights`` take ``OUTPUT/export/NETWORK.npz``.
"""

import dataclasses
import sys
from collections.abc import Sequence
from typing import Any

from absl import flags, logging
from absl.flags import FlagValues

from cwcf_jax import training
from cwcf_jax.training import TrainingConfig
from experiments import results
from experiments.program import Program


def define_flags(values: FlagValues) -> None:
    """Defines a flag for each field of `TrainingConfig`."""
    for field in dataclasses.fields(TrainingConfig):
        _define(field, values)


def _define(field: "dataclasses.Field[Any]", values: FlagValues) -> None:
    name, default, text = field.name, field.default, field.metadata["help"]
    if field.metadata["choices"]:
        flags.DEFINE_enum(name, str(default), field.metadata["choices"], text, flag_values=values)
    elif isinstance(default, bool):
        flags.DEFINE_bool(name, default, text, flag_values=values)
    elif isinstance(default, int):
        flags.DEFINE_integer(name, default, text, flag_values=values)
    elif isinstance(default, float):
        flags.DEFINE_float(name, default, text, flag_values=values)
    else:
        flags.DEFINE_string(name, str(default), text, flag_values=values)


def run(values: FlagValues, arguments: Sequence[str]) -> None:
    """Trains and writes the weights; an error ends the program with one line."""
    try:
        fields: dict[str, Any] = {field.name: values[field.name].value for field in dataclasses.fields(TrainingConfig)}
        config = TrainingConfig(**fields)
        prepared = training.prepare(config)
        for reason in prepared.left_out:
            print(f"left out: {reason}", file=sys.stderr)
        print(describe(config, prepared), flush=True)
        environment = results.environment(["experiments.train_cam", *arguments])
        path = training.train(config, prepared, report=show, notes={"environment": environment})
        print(f"written to {path}")
    except (ValueError, OSError) as error:
        logging.info("where it happened", exc_info=True)
        sys.exit(f"train_cam: {error}")
    except KeyboardInterrupt:
        sys.exit("train_cam: interrupted; the same command goes on from the last checkpoint")


def describe(config: TrainingConfig, prepared: training.TrainingSetup) -> str:
    """One line on what is about to be trained."""
    spec, held = prepared.network.spec, prepared.held
    return (
        f"{spec.name}, {spec.num_labels} classes: {len(prepared.train)} training pictures, "
        f"{0 if held is None else len(held)} held out, {config.total_steps(len(prepared.train))} steps of "
        f"{config.batch_size}; trained: {', '.join(sorted(prepared.params))}"
    )


def show(line: dict[str, Any]) -> None:
    """A line of the log, for people."""
    numbers = {name: value for name, value in line.items() if name not in ("step", "time")}
    print(f"step {line['step']}: " + ", ".join(f"{name} {value:.4g}" for name, value in numbers.items()), flush=True)


PROGRAM = Program("train_cam", define_flags, run)

if __name__ == "__main__":
    PROGRAM.main()
