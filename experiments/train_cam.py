"""Training of a CAM network: its head on a given trunk, as the paper's VGG-16-CAM was made, or all of it.

    python -m experiments.train_cam --network=googlenet_cam --trunk=FILE --train=head --dataset=FOLDER --epochs=10

The same command goes on where a killed run stood, to the same weights bit for bit. `cwcf_jax.load` and the other
drivers' ``--weights`` take ``OUTPUT/export/NETWORK.npz``.
"""

import dataclasses
import os
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

from absl import flags, logging
from absl.flags import FlagValues
from tqdm import tqdm

from cwcf_jax import training
from cwcf_jax.training import TrainingConfig
from experiments import results, synthetic
from experiments.program import Program

SYNTHETIC = "synthetic"
OBJECTS = dict(seed=0, per_class=160, size=96)
"""Arguments of `synthetic.render_objects` for --dataset=synthetic."""
RENDERED = pathlib.Path("results/cache/synthetic_objects")


def define_flags(values: FlagValues) -> None:
    """Defines a flag for each field of `TrainingConfig`."""
    for field in dataclasses.fields(TrainingConfig):
        _define(field, values)


def _define(field: "dataclasses.Field[Any]", values: FlagValues) -> None:
    name, default, text = field.name, field.default, field.metadata["help"]
    if name == "dataset":
        text += f" Or {SYNTHETIC}: {OBJECTS['per_class']} pictures of each synthetic class, kept in {RENDERED}."
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
        if fields["dataset"] == SYNTHETIC:
            fields["dataset"] = render()
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


def render() -> str:
    """The folder of the synthetic object classes, rendered if it is not there yet."""
    total = OBJECTS["per_class"] * len(synthetic.OBJECT_CLASSES)
    with tqdm(total=total, desc="rendering", unit="image", disable=None) as bar:
        synthetic.render_objects(RENDERED, **OBJECTS, workers=os.cpu_count() or 1, progress=bar.update)
    return str(RENDERED)


def describe(config: TrainingConfig, prepared: training.Prepared) -> str:
    """One line on what is about to be trained."""
    spec, held = prepared.network.spec, prepared.held
    return (
        f"{spec.name}, {spec.num_classes} classes: {len(prepared.train)} training pictures, "
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
