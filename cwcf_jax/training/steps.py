"""This module defines a training step and an evaluation step as pure functions."""

import dataclasses

import jax
import jax.numpy as jnp
import optax  # type: ignore[import-untyped]
from jaxtyping import Array, Float, Int, UInt8

from cwcf_jax import networks
from cwcf_jax.arrays import einsum
from cwcf_jax.networks import Network, Params
from cwcf_jax.networks.layers import mean_pool
from cwcf_jax.training.state import TrainState, update_average

Batch = dict[str, Array]
"""See `cwcf_jax.training.pipeline.Batch`."""


@dataclasses.dataclass(frozen=True)
class StepConfig:
    """A `StepConfig` holds the settings that are fixed when a step is compiled.

    Attributes:
        label_smoothing: share of each target that is spread over all classes.
        ema: decay of the averaged parameters; 0: no averaging.
        precision: ``float32`` or ``mixed``.
        log_every: number of steps that the sums for the log run over.
    """

    label_smoothing: float = 0.0
    ema: float = 0.0
    precision: str = "float32"
    log_every: int = 1


def classify(network: Network, params: Params, images: UInt8[Array, "b h w 3"], precision: str) -> Float[Array, "b n"]:
    """Returns the logits of pictures without padding, float32.

    With the precision ``mixed``, the network runs in bfloat16; its CAM maps are pooled and classified again in float32.
    """
    spec = network.spec
    if precision == "float32":
        return apply_network(network, params, images)[0]
    bfloat16_params = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), params)
    _, maps = apply_network(network, bfloat16_params, images)
    assert spec.cam_layer is not None  # `prepare` refuses networks without CAMs
    cam_maps = maps[spec.cam_layer.name].astype(jnp.float32)
    pooled = mean_pool(cam_maps, network.map_sizes(_sizes(images))[spec.cam_layer.name])
    if spec.classifier is None:
        return pooled
    classifier = params[spec.classifier]
    return einsum("bc,cn->bn", pooled, classifier["kernel"]) + classifier["bias"][None, :]


def apply_network(
    network: Network, params: Params, images: UInt8[Array, "b h w 3"]
) -> tuple[Float[Array, "b n"], dict[str, Array]]:
    """Returns the logits and the maps of pictures without padding, in the type of the parameters."""
    sizes = _sizes(images)
    inputs = networks.preprocess(images, sizes, network.spec.preprocessing)
    return network.apply(params, inputs.astype(jax.tree.leaves(params)[0].dtype), sizes)


def _sizes(images: UInt8[Array, "b h w 3"]) -> Int[Array, "b 2"]:
    """Returns the height and width of every image of a batch without padding."""
    return jnp.broadcast_to(jnp.asarray(images.shape[1:3], jnp.int32), (images.shape[0], 2))


def cross_entropy(logits: Float[Array, "b n"], labels: Int[Array, " b"], smoothing: float) -> Float[Array, " b"]:
    """Returns the cross-entropy with smoothed labels (Szegedy et al. 2016).

    The loss is ``-sum_c t_c log p_c`` with targets ``t = (1 - smoothing) onehot + smoothing / n``.
    """
    log_p = jax.nn.log_softmax(logits, axis=-1)
    label_log_p = jnp.take_along_axis(log_p, labels[:, None], axis=1)[:, 0]
    return -(1.0 - smoothing) * label_log_p - smoothing * jnp.mean(log_p, axis=-1)


def ranks(logits: Float[Array, "b n"], labels: Int[Array, " b"]) -> Int[Array, " b"]:
    """Returns how many classes rank before the right one; among equal logits the lower index ranks first."""
    label_logits = jnp.take_along_axis(logits, labels[:, None], axis=1)
    lower_index = jnp.arange(logits.shape[1])[None, :] < labels[:, None]
    return jnp.sum((logits > label_logits) | ((logits == label_logits) & lower_index), axis=1)


def train_step(
    state: TrainState,
    frozen: Params,
    batch: Batch,
    network: Network,
    optimizer: optax.GradientTransformation,
    config: StepConfig,
) -> TrainState:
    """Returns the state after one more batch. No gradient flows into ``frozen``."""

    def loss_and_accuracy(params: Params) -> tuple[Float[Array, ""], Float[Array, ""]]:
        logits = classify(network, params | jax.lax.stop_gradient(frozen), batch["images"], config.precision)
        losses = cross_entropy(logits, batch["labels"], config.label_smoothing)
        correct = (ranks(logits, batch["labels"]) == 0).astype(jnp.float32)
        return jnp.mean(losses), jnp.mean(correct)

    (loss, accuracy), gradients = jax.value_and_grad(loss_and_accuracy, has_aux=True)(state.params)
    with jax.numpy_dtype_promotion("standard"):  # Optax raises floats to integer powers
        updates, optimizer_state = optimizer.update(gradients, state.optimizer, state.params)
    params = optax.apply_updates(state.params, updates)
    ema = update_average(state.ema, params, state.step, config.ema) if config.ema else state.ema
    starts_window = state.step % config.log_every == 0
    step_values = {"loss": loss, "accuracy": accuracy, "steps": jnp.ones((), jnp.float32)}
    window = {name: jnp.where(starts_window, 0.0, state.window[name]) + value for name, value in step_values.items()}
    return TrainState(state.step + 1, params, optimizer_state, ema, window)


def eval_step(params: Params, batch: Batch, network: Network, precision: str) -> dict[str, Float[Array, ""]]:
    """Returns sums over a batch: ``loss`` without smoothing, ``top1``, ``top5``, and the ``count`` of pictures."""
    logits = classify(network, params, batch["images"], precision)
    rank, weights = ranks(logits, batch["labels"]), batch["weights"]
    return {
        "loss": jnp.sum(weights * cross_entropy(logits, batch["labels"], 0.0)),
        "top1": jnp.sum(jnp.where(rank == 0, weights, 0.0)),
        "top5": jnp.sum(jnp.where(rank < 5, weights, 0.0)),
        "count": jnp.sum(weights),
    }
