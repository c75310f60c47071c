"""This module defines the state of a training, which every step changes: parameters, optimizer state, averages."""

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
    """A `TrainState` is a pytree with everything that a checkpoint stores.

    The leaves have no types, because JAX and Orbax put placeholders of other types in their places.

    Attributes:
        step: number of finished steps, [] int32.
        params: trained parameters, float32.
        optimizer: state of the Optax optimizer.
        ema: exponential moving average of the parameters; empty if the training does not average.
        window: sums over the steps since the last line of the log: ``loss``, ``accuracy`` and the number of ``steps``,
            each [] float32.
    """

    step: Any
    params: Params
    optimizer: Any
    ema: Params
    window: dict[str, Any]


def split_params(network: Network, params: Params, train: str) -> tuple[Params, Params]:
    """Returns the trained and the frozen parameters; ``train`` is ``all`` or ``head``."""
    trained = set(params) if train == "all" else set(network.spec.head)
    return {k: v for k, v in params.items() if k in trained}, {k: v for k, v in params.items() if k not in trained}


def learning_rate(config: TrainingConfig, steps: int) -> optax.Schedule:
    """Returns the learning rate of each step: linear from 0 during the warm-up, then half a cosine to 0 at ``steps``.

    Raises:
        ValueError: the warm-up is as long as the training.
    """
    if config.warmup_steps >= steps:
        raise ValueError(
            f"--warmup_steps: {config.warmup_steps} leave none of the {steps} steps for training; use fewer"
        )
    if config.warmup_steps == 0:
        return optax.cosine_decay_schedule(config.learning_rate, steps)
    return optax.warmup_cosine_decay_schedule(0.0, config.learning_rate, config.warmup_steps, steps)


def make_optimizer(config: TrainingConfig, steps: int) -> optax.GradientTransformation:
    """Returns AdamW (Loshchilov & Hutter 2019), with a limit on the norm of the gradient."""
    adamw = optax.adamw(learning_rate(config, steps), weight_decay=config.weight_decay, mask=decay_mask)
    return optax.chain(optax.clip_by_global_norm(config.clip_norm), adamw) if config.clip_norm else adamw


def decay_mask(params: Params) -> Any:
    """Returns True for the kernels, which are decayed, and False for biases and scales."""
    return jax.tree_util.tree_map_with_path(lambda path, _: path[-1].key == "kernel", params)


def initial_state(params: Params, optimizer: optax.GradientTransformation, *, ema: float) -> TrainState:
    """Returns the state at step 0.

    Args:
        params: parameters to train; they are copied, because a step may reuse the memory of the state.
        optimizer: optimizer of the parameters.
        ema: decay of the averaged parameters; 0: no averaging.
    """
    copied = jax.tree.map(jnp.copy, params)
    ema_params = jax.tree.map(jnp.copy, params) if ema else {}
    window = {name: jnp.zeros((), jnp.float32) for name in ("loss", "accuracy", "steps")}
    return TrainState(jnp.zeros((), jnp.int32), copied, optimizer.init(copied), ema_params, window)


def update_average(ema: Params, params: Params, step: Int[Array, ""], decay: float) -> Params:
    """Returns ``d * ema + (1 - d) * params`` with ``d = min(decay, (1 + step) / (10 + step))``.

    The smaller decay in the first steps, as in TensorFlow, forgets the starting values sooner. ``step`` is the number
    of earlier steps.
    """
    step_count = step.astype(jnp.float32)
    d = jnp.minimum(jnp.float32(decay), (1.0 + step_count) / (10.0 + step_count))
    return jax.tree.map(lambda old, new: d * old + (1.0 - d) * new, ema, params)
