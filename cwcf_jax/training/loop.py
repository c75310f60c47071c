"""The training itself: batches in, checkpoints, a log and exported weights out."""

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
"""Is handed every line of the log, as a dictionary."""


class Trainer:
    """Compiled steps for one configuration, data parallel over devices.

    Arrays of a batch are split over the devices along their first axis, everything else is on each of them.
    """

    def __init__(self, config: TrainingConfig, prepared: TrainingSetup, devices: "list[jax.Device] | None" = None):
        """ValueError if the batch cannot be divided among ``devices``, by default all local ones."""
        devices = devices or jax.local_devices()
        if config.batch_size % len(devices):
            raise ValueError(f"--batch_size: {config.batch_size} is not a multiple of the {len(devices)} devices")
        mesh = jax.make_mesh((len(devices),), ("batch",), axis_types=(AxisType.Auto,), devices=devices)
        self.config, self.prepared = config, prepared
        self.split = NamedSharding(mesh, PartitionSpec("batch"))  # type: ignore[no-untyped-call]
        self.everywhere = NamedSharding(mesh, PartitionSpec())  # type: ignore[no-untyped-call]
        self.steps = config.total_steps(len(prepared.train))
        self.schedule = learning_rate(config, self.steps)
        self.optimizer = make_optimizer(config, self.steps)
        self.frozen = jax.device_put(prepared.frozen, self.everywhere)
        settings = StepConfig(config.label_smoothing, config.ema, config.precision, config.log_every)
        step = functools.partial(train_step, network=prepared.network, optimizer=self.optimizer, settings=settings)
        evaluate = functools.partial(eval_step, network=prepared.network, precision=config.precision)
        self.train_step = jax.jit(step, donate_argnums=0, out_shardings=self.everywhere)
        self.eval_step = jax.jit(evaluate, out_shardings=self.everywhere)

    def initial(self, params: Params | None = None) -> TrainState:
        """The state at step 0, of ``params`` or else of the prepared ones."""
        state = initial_state(params or self.prepared.params, self.optimizer, ema=self.config.ema)
        return jax.device_put(state, self.everywhere)

    def step(self, state: TrainState, batch: pipeline.Batch) -> TrainState:
        """One step; ``state`` is given up."""
        return self.train_step(state, self.frozen, jax.device_put(batch, self.split))

    def dataset(self) -> Any:
        """The training batches; see `pipeline.training_dataset`."""
        config = self.config
        varied = AugmentationConfig(
            config.image_size, (config.min_scale, config.max_scale), flip=config.flip, jitter=config.jitter
        )
        return pipeline.training_dataset(
            self.prepared.train,
            batch_size=config.batch_size,
            seed=config.seed,
            augmentation=varied if config.augment else None,
            size=config.image_size,
        )

    def params(self, state: TrainState) -> Params:
        """All parameters as they are evaluated and exported: averaged where there is an average."""
        return (state.ema if self.config.ema else state.params) | self.frozen

    def evaluate(self, state: TrainState, held: LabelledImages) -> dict[str, float]:
        """Cross-entropy without smoothing, and the shares of pictures whose class is first, or among the first five."""
        config, params = self.config, self.params(state)
        dataset = pipeline.evaluation_dataset(held, batch_size=config.batch_size, size=config.image_size)
        sums: dict[str, float] = dict.fromkeys(("loss", "top1", "top5", "count"), 0.0)
        with pipeline.batches(dataset, start=0, workers=config.workers) as batches:
            for batch in batches:
                found = self.eval_step(params, jax.device_put(batch, self.split))
                sums = {name: sums[name] + float(found[name]) for name in sums}
        return {f"eval_{name}": sums[name] / sums["count"] for name in ("loss", "top1", "top5")}


def train(
    config: TrainingConfig,
    prepared: TrainingSetup,
    *,
    report: Report | None = None,
    notes: dict[str, Any] | None = None,
) -> pathlib.Path:
    """Trains to the end, from where ``config.output`` stands, and exports; the path of the exported weights.

    Args:
        config: the settings.
        prepared: from `prepare`.
        report: is told every line of the log.
        notes: what else goes into the exported weights' record.

    Raises:
        ResumeError: ``config.output`` holds another training, or one that is running.
        ImageError: a picture became unreadable in the meantime.
    """
    folder = pathlib.Path(config.output)
    trainer = Trainer(config, prepared)
    with files.lock(folder / files.LOCK, folder, ResumeError):
        claim(folder, identity(config, prepared.facts | {"steps": trainer.steps}))
        with Checkpoints(folder / "checkpoints") as checkpoints:
            if checkpoints.latest() is None:
                state = trainer.initial(calibrate(config, prepared))
            else:
                state = checkpoints.restore(trainer.initial())
            log = MetricsLog(folder, after=int(state.step))
            state = _run(trainer, state, checkpoints, log, report or _silent)
        last = read_metrics(folder)[-1]
        return export(trainer, state, folder / "export", (notes or {}) | {"result": last})


def _silent(line: dict[str, Any]) -> None:
    del line


def _run(trainer: Trainer, state: TrainState, checkpoints: Checkpoints, log: MetricsLog, report: Report) -> TrainState:
    """Steps until the last, with everything that happens between them."""
    config, held = trainer.config, trainer.prepared.held
    start = int(state.step)
    if start == trainer.steps:
        return state
    with pipeline.batches(trainer.dataset(), start=start, workers=config.workers) as batches:
        since, begun = start, time.perf_counter()
        for step in range(start + 1, trainer.steps + 1):
            state = trainer.step(state, next(batches))
            last = step == trainer.steps
            evaluated = held is not None and (last or step % config.eval_every == 0)
            saved = last or step % config.checkpoint_every == 0
            logged = evaluated or last or step % config.log_every == 0
            if not (logged or saved):
                continue
            line = _line(trainer, state, step)
            line |= {"images_per_s": (step - since) * config.batch_size / (time.perf_counter() - begun)}
            if evaluated and held is not None:
                line |= trainer.evaluate(state, held)
            if logged:
                log.write(line)
                report(line)
            if saved:
                checkpoints.save(state)
            since, begun = step, time.perf_counter()
    return state


def _line(trainer: Trainer, state: TrainState, step: int) -> dict[str, Any]:
    sums = {name: float(value) for name, value in state.window.items()}  # waits for the step
    if not np.isfinite(sums["loss"]):
        raise ValueError(f"the loss is {sums['loss']} at step {step}; lower --learning_rate, or warm up longer")
    return {
        "step": step,
        "loss": sums["loss"] / sums["steps"],
        "accuracy": sums["accuracy"] / sums["steps"],
        "learning_rate": float(trainer.schedule(step - 1)),
        "time": round(time.time(), 3),
    }


def export(trainer: Trainer, state: TrainState, folder: pathlib.Path, notes: dict[str, Any]) -> pathlib.Path:
    """Writes the trained network as one file that `cwcf_jax.load` takes; a file that is there already is left alone."""
    config, spec = trainer.config, trainer.prepared.network.spec
    path = folder / f"{spec.name}.npz"
    if path.exists():
        return path
    record = Provenance(
        network=spec.name,
        source=f"trained by experiments.train_cam on {trainer.prepared.train.name}",
        sha256="",
        licence=config.licence,
        preprocessing=spec.preprocessing,
        num_classes=spec.num_labels,
        class_names=spec.class_names,
        notes=notes | identity(config, trainer.prepared.facts),
    )
    networks.save_params(jax.device_get(trainer.params(state)), path, record)
    return path
