"""This module runs a training: it steps over batches, saves checkpoints, writes a log and exports the weights."""

import functools
import pathlib
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from cwcf_jax import files, networks
from cwcf_jax.datasets.labelled import LabelledImages
from cwcf_jax.networks import Params, Provenance
from cwcf_jax.training import pipeline
from cwcf_jax.training.augment import AugmentationConfig
from cwcf_jax.training.calibration import calibrate
from cwcf_jax.training.checkpoints import Checkpoints
from cwcf_jax.training.config import TrainingConfig
from cwcf_jax.training.prepare import TrainingSetup
from cwcf_jax.training.records import MetricsLog, ResumeError, claim, identity, read_metrics
from cwcf_jax.training.state import TrainState, initial_state, learning_rate, make_optimizer
from cwcf_jax.training.steps import StepConfig, eval_step, train_step

Report = Callable[[dict[str, Any]], None]
"""A function that is called with every line of the log, as a dictionary."""


class Trainer:
    """A `Trainer` holds the compiled steps of one training, which run data parallel over devices.

    The arrays of a batch are split over the devices along their first axis. All other arrays are on every device.
    """

    def __init__(self, config: TrainingConfig, setup: TrainingSetup, devices: "list[jax.Device] | None" = None):
        """Prepares the steps for ``devices``, by default all local ones.

        Raises:
            ValueError: a batch cannot be divided equally among the devices.
        """
        devices = devices or jax.local_devices()
        if config.batch_size % len(devices):
            raise ValueError(f"--batch_size: {config.batch_size} is not a multiple of the {len(devices)} devices")
        mesh = jax.make_mesh((len(devices),), ("batch",), axis_types=(AxisType.Auto,), devices=devices)
        self.config, self.setup = config, setup
        self.batch_sharding = NamedSharding(mesh, PartitionSpec("batch"))  # type: ignore[no-untyped-call]
        self.replicated = NamedSharding(mesh, PartitionSpec())  # type: ignore[no-untyped-call]
        self.steps = config.total_steps(len(setup.train))
        self.schedule = learning_rate(config, self.steps)
        self.optimizer = make_optimizer(config, self.steps)
        self.frozen = jax.device_put(setup.frozen, self.replicated)
        step_config = StepConfig(config.label_smoothing, config.ema, config.precision, config.log_every)
        step = functools.partial(train_step, network=setup.network, optimizer=self.optimizer, config=step_config)
        evaluate = functools.partial(eval_step, network=setup.network, precision=config.precision)
        self.train_step = jax.jit(step, donate_argnums=0, out_shardings=self.replicated)
        self.eval_step = jax.jit(evaluate, out_shardings=self.replicated)

    def initial(self, params: Params | None = None) -> TrainState:
        """Returns the state at step 0 with ``params``, by default those of the setup."""
        state = initial_state(params or self.setup.params, self.optimizer, ema=self.config.ema)
        return jax.device_put(state, self.replicated)

    def step(self, state: TrainState, batch: pipeline.Batch) -> TrainState:
        """Returns the state after one more step; the memory of ``state`` is reused."""
        return self.train_step(state, self.frozen, jax.device_put(batch, self.batch_sharding))

    def dataset(self) -> Any:
        """Returns the training batches; see `pipeline.training_dataset`."""
        config = self.config
        augmentation = AugmentationConfig(
            config.image_size, (config.min_scale, config.max_scale), flip=config.flip, jitter=config.jitter
        )
        return pipeline.training_dataset(
            self.setup.train,
            batch_size=config.batch_size,
            seed=config.seed,
            augmentation=augmentation if config.augment else None,
            size=config.image_size,
        )

    def params(self, state: TrainState) -> Params:
        """Returns all parameters as they are evaluated and exported: averaged if the training averages them."""
        return (state.ema if self.config.ema else state.params) | self.frozen

    def evaluate(self, state: TrainState, held_out: LabelledImages) -> dict[str, float]:
        """Evaluates the parameters on held-out pictures.

        Returns:
            ``eval_loss``, the cross-entropy without smoothing; ``eval_top1`` and ``eval_top5``, the shares of pictures
            whose class is the most probable one, or among the five most probable ones.
        """
        config, params = self.config, self.params(state)
        dataset = pipeline.evaluation_dataset(held_out, batch_size=config.batch_size, size=config.image_size)
        sums: dict[str, float] = dict.fromkeys(("loss", "top1", "top5", "count"), 0.0)
        with pipeline.batches(dataset, start=0, workers=config.workers) as batches:
            for batch in batches:
                batch_sums = self.eval_step(params, jax.device_put(batch, self.batch_sharding))
                sums = {name: sums[name] + float(batch_sums[name]) for name in sums}
        return {f"eval_{name}": sums[name] / sums["count"] for name in ("loss", "top1", "top5")}


def train(
    config: TrainingConfig,
    setup: TrainingSetup,
    *,
    report: Report | None = None,
    notes: dict[str, Any] | None = None,
) -> pathlib.Path:
    """Trains from the newest checkpoint in ``config.output`` to the last step, and exports the weights.

    Args:
        config: the settings.
        setup: the result of `prepare`.
        report: function that is called with every line of the log.
        notes: further entries of the provenance record of the exported weights.

    Returns:
        The path of the exported weights.

    Raises:
        ResumeError: ``config.output`` holds another training, or another process is training in it.
        ImageError: a picture has become unreadable since `prepare`.
    """
    folder = pathlib.Path(config.output)
    trainer = Trainer(config, setup)
    with files.lock(folder / files.LOCK, folder, ResumeError):
        claim(folder, identity(config, setup.facts | {"steps": trainer.steps}))
        with Checkpoints(folder / "checkpoints") as checkpoints:
            if checkpoints.latest() is None:
                state = trainer.initial(calibrate(config, setup))
            else:
                state = checkpoints.restore(trainer.initial())
            log = MetricsLog(folder, after=int(state.step))
            state = _run(trainer, state, checkpoints, log, report or _ignore_line)
        last_line = read_metrics(folder)[-1]
        return export(trainer, state, folder / "export", (notes or {}) | {"result": last_line})


def _ignore_line(line: dict[str, Any]) -> None:
    del line


def _run(trainer: Trainer, state: TrainState, checkpoints: Checkpoints, log: MetricsLog, report: Report) -> TrainState:
    """Runs all remaining steps, and evaluates, logs and saves in between."""
    config, held_out = trainer.config, trainer.setup.held_out
    start = int(state.step)
    if start == trainer.steps:
        return state
    with pipeline.batches(trainer.dataset(), start=start, workers=config.workers) as batches:
        last_step, last_s = start, time.perf_counter()
        for step in range(start + 1, trainer.steps + 1):
            state = trainer.step(state, next(batches))
            is_last = step == trainer.steps
            is_evaluated = held_out is not None and (is_last or step % config.eval_every == 0)
            is_saved = is_last or step % config.checkpoint_every == 0
            is_logged = is_evaluated or is_last or step % config.log_every == 0
            if not (is_logged or is_saved):
                continue
            line = _log_line(trainer, state, step)
            line |= {"images_per_s": (step - last_step) * config.batch_size / (time.perf_counter() - last_s)}
            if is_evaluated and held_out is not None:
                line |= trainer.evaluate(state, held_out)
            if is_logged:
                log.write(line)
                report(line)
            if is_saved:
                checkpoints.save(state)
            last_step, last_s = step, time.perf_counter()
    return state


def _log_line(trainer: Trainer, state: TrainState, step: int) -> dict[str, Any]:
    """Returns the line of the log for a step, without evaluation; raises a ValueError if the loss is not finite."""
    sums = {name: float(value) for name, value in state.window.items()}  # float() waits for the step to end
    if not np.isfinite(sums["loss"]):
        raise ValueError(f"the loss is {sums['loss']} at step {step}; lower --learning_rate, or raise --warmup_steps")
    return {
        "step": step,
        "loss": sums["loss"] / sums["steps"],
        "accuracy": sums["accuracy"] / sums["steps"],
        "learning_rate": float(trainer.schedule(step - 1)),
        "time": round(time.time(), 3),
    }


def export(trainer: Trainer, state: TrainState, folder: pathlib.Path, notes: dict[str, Any]) -> pathlib.Path:
    """Writes the trained network as one file that `cwcf_jax.load` reads, unless it exists already; returns the path."""
    config, spec = trainer.config, trainer.setup.network.spec
    path = folder / f"{spec.name}.npz"
    if path.exists():
        return path
    record = Provenance(
        network=spec.name,
        source=f"trained by experiments.train_cam on {trainer.setup.train.name}",
        sha256="",
        licence=config.licence,
        preprocessing=spec.preprocessing,
        num_classes=spec.num_labels,
        class_names=spec.class_names,
        notes=notes | identity(config, trainer.setup.facts),
    )
    networks.save_params(jax.device_get(trainer.params(state)), path, record)
    return path
