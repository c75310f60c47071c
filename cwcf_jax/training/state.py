"""What a training step changes: parameters, optimizer, averages."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax  # type: ignore[import-untyped]
from jaxtyping import Array, Int

from cwcf_jax.networks import Network, Params
from cwcf_jax.training.config import TrainingConfig


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
    """A pytree; all that a checkpoint holds. Leaves have no types: JAX and Orbax put others in their places.

    Attributes:
        step: steps taken, [] int32.
        params: the parameters that are trained, float32.
        optimizer: optax's state of them.
        ema: their running average; empty where there is none.
        window: sums since the last line of the log: ``loss`` and ``accuracy`` of ``steps`` steps, [] float32.
    """

    step: Any
    params: Params
    optimizer: Any
    ema: Params
    window: dict[str, Any]


def split_params(network: Network, params: Params, train: str) -> tuple[Params, Params]:
    """Trained and frozen parameters: everything is trained, or the head is."""
    head = set(params) if train == "all" else set(network.spec.head)
    return {k: v for k, v in params.items() if k in head}, {k: v for k, v in params.items() if k not in head}


def learning_rate(config: TrainingConfig, steps: int) -> optax.Schedule:
    """Linear from 0 over the warm-up, then half a cosine to 0 at ``steps``; ValueError if there is nothing left."""
    if config.warmup_steps >= steps:
        raise ValueError(f"--warmup_steps: {config.warmup_steps} leave none of the {steps} steps for training")
    if config.warmup_steps == 0:
        return optax.cosine_decay_schedule(config.learning_rate, steps)
    return optax.warmup_cosine_decay_schedule(0.0, config.learning_rate, config.warmup_steps, steps)


def make_optimizer(config: TrainingConfig, steps: int) -> optax.GradientTransformation:
    """AdamW (Loshchilov & Hutter 2019) behind a bound on the gradient's norm."""
    adamw = optax.adamw(learning_rate(config, steps), weight_decay=config.weight_decay, mask=decayed)
    return optax.chain(optax.clip_by_global_norm(config.clip_norm), adamw) if config.clip_norm else adamw


def decayed(params: Params) -> Any:
    """True for the kernels: biases and scales are not decayed."""
    return jax.tree_util.tree_map_with_path(lambda path, _: path[-1].key == "kernel", params)


def initial_state(params: Params, optimizer: optax.GradientTransformation, *, ema: float) -> TrainState:
    """At step 0; ``params`` are those to be trained. Arrays are copied: a step may give up the state's memory."""
    copied = jax.tree.map(jnp.copy, params)
    average = jax.tree.map(jnp.copy, params) if ema else {}
    window = {name: jnp.zeros((), jnp.float32) for name in ("loss", "accuracy", "steps")}
    return TrainState(jnp.zeros((), jnp.int32), copied, optimizer.init(copied), average, window)


def averaged(ema: Params, params: Params, step: Int[Array, ""], decay: float) -> Params:
    """``d * ema + (1 - d) * params`` with ``d = min(decay, (1 + step) / (10 + step))``.

    The smaller decay of the first steps, TensorFlow's, forgets the start sooner. ``step`` counts the steps before.
    """
    now = step.astype(jnp.float32)
    d = jnp.minimum(jnp.float32(decay), (1.0 + now) / (10.0 + now))
    return jax.tree.map(lambda old, new: d * old + (1.0 - d) * new, ema, params)
