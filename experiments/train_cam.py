"""This driver trains a CAM network: only its head, on the trunk of another network, as in the paper, or all layers.

    python -m experiments.train_cam --network=googlenet_cam --trunk=FILE --train=head --dataset=FOLDER --epochs=10

FOLDER has a sub-folder of pictures for each class. ``--network`` is a network with a CAM head; the default is
EfficientNet-Lite2. ``--trunk`` is a checkpoint with the layers below the head, such as one that `cwcf weights convert`
writes.

After an interruption, the same command resumes the training and ends with the same weights, bit for bit.
`cwcf_jax.load` and the ``--weights`` of other drivers read ``OUTPUT/export/NETWORK.npz``.
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
    """Defines the flag of one field."""
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
        setup = training.prepare(config)
        for reason in setup.left_out:
            print(f"left out: {reason}", file=sys.stderr)
        print(describe(config, setup), flush=True)
        environment = results.environment(["experiments.train_cam", *arguments])
        path = training.train(config, setup, report=show, notes={"environment": environment})
        print(f"written to {path}")
    except (ValueError, OSError) as error:
        logging.info("train_cam failed", exc_info=True)
        sys.exit(f"train_cam: {error}")
    except KeyboardInterrupt:
        sys.exit("train_cam: interrupted; run the same command again to go on from the last checkpoint")


def describe(config: TrainingConfig, setup: training.TrainingSetup) -> str:
    """Returns one line that describes the training."""
    spec, held_out = setup.network.spec, setup.held_out
    return (
        f"{spec.name}, {spec.num_labels} classes: {len(setup.train)} training pictures, "
        f"{0 if held_out is None else len(held_out)} held out, {config.total_steps(len(setup.train))} steps of "
        f"{config.batch_size}; trained: {', '.join(sorted(setup.params))}"
    )


def show(line: dict[str, Any]) -> None:
    """Prints a line of the log for people."""
    numbers = {name: value for name, value in line.items() if name not in ("step", "time")}
    print(f"step {line['step']}: " + ", ".join(f"{name} {value:.4g}" for name, value in numbers.items()), flush=True)


PROGRAM = Program("train_cam", define_flags, run)

if __name__ == "__main__":
    PROGRAM.main()
