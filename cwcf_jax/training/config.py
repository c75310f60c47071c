"""What a training is asked for: one frozen record, whose fields are the driver's flags."""

import dataclasses
import math
from typing import Any

from cwcf_jax.weights.installed import DEFAULT_NETWORK


def _setting(
    default: Any,
    text: str,
    *,
    choices: tuple[str, ...] = (),
    low: int | float = -math.inf,
    high: int | float = math.inf,
) -> Any:
    """A field with its description and its bounds, which are inclusive."""
    return dataclasses.field(default=default, metadata={"help": text, "choices": choices, "low": low, "high": high})


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """Every setting of a training; the metadata of each field says what it is.

    Raises:
        ValueError: a value out of its bounds, or settings that contradict each other; the message names the flag.
    """

    network: str = _setting(DEFAULT_NETWORK, "CAM network to train; see cwcf_jax.networks.NETWORKS.")
    dataset: str = _setting(
        "", "Training pictures: a folder with a sub-folder a class, one with labels.csv and jpg/, or tfds:NAME[:SPLIT]."
    )
    eval_dataset: str = _setting("", "Held-out pictures, of the same kinds and classes.")
    eval_share: float = _setting(
        0.0, "Share of --dataset that is held out instead, chosen by the hash of file names.", low=0.0, high=0.9
    )
    data_dir: str = _setting("", "Where TFDS keeps its datasets; default: TFDS's own.")
    classes: str = _setting(
        "auto",
        "What the classifier tells apart: the dataset's classes, or the network's own, which labels are then names or "
        "indices of. auto: own for labels.csv, otherwise dataset.",
        choices=("auto", "dataset", "own"),
    )
    trunk: str = _setting("", "Weights for the trunk: any checkpoint that holds it; the head starts anew.")
    weights: str = _setting("", "Whole checkpoint to start from.")
    train: str = _setting("all", "What is trained: all, or the head on a frozen trunk.", choices=("all", "head"))
    steps: int = _setting(0, "Training steps; or give --epochs.", low=0)
    epochs: float = _setting(0.0, "Passes over the training pictures, instead of --steps.", low=0.0)
    batch_size: int = _setting(64, "Pictures in a step, over all devices.", low=1)
    image_size: int = _setting(224, "Side of the squares the network is trained on, in pixels.", low=8, high=4096)
    learning_rate: float = _setting(1e-3, "Peak learning rate of AdamW, reached after the warm-up.", low=1e-12)
    warmup_steps: int = _setting(
        100, "Steps over which the learning rate rises from 0; then it falls as a cosine.", low=0
    )
    weight_decay: float = _setting(1e-4, "Decoupled weight decay of kernels; biases and scales have none.", low=0.0)
    label_smoothing: float = _setting(0.0, "Share of each target that is spread over all classes.", low=0.0, high=0.99)
    ema: float = _setting(0.0, "Decay of the averaged weights that are evaluated and exported; 0: none.", low=0.0)
    clip_norm: float = _setting(1.0, "Largest Euclidean norm of a gradient, all arrays together; 0: any.", low=0.0)
    precision: str = _setting(
        "float32",
        "mixed: the network computes in bfloat16; weights, classifier, loss and all sums stay float32.",
        choices=("float32", "mixed"),
    )
    seed: int = _setting(0, "Of the new layers, the order and the augmentation.", low=0, high=2**31 - 1)
    augment: bool = _setting(True, "Random crops, mirroring and colours.")
    min_scale: float = _setting(0.35, "Smallest area of a random crop, as a share of the picture.", low=0.01, high=1.0)
    max_scale: float = _setting(1.0, "Largest area of a random crop, as a share of the picture.", low=0.01, high=1.0)
    flip: bool = _setting(True, "Mirror half of the pictures left to right.")
    jitter: float = _setting(0.3, "Strength of changes in brightness, contrast, saturation.", low=0.0, high=0.95)
    check: bool = _setting(True, "Decode every picture once before the start and leave out those that cannot be read.")
    output: str = _setting("results/train_cam", "Folder for checkpoints/, metrics.jsonl and export/.")
    checkpoint_every: int = _setting(500, "Steps between checkpoints.", low=1)
    eval_every: int = _setting(500, "Steps between evaluations; the last step always is evaluated.", low=1)
    log_every: int = _setting(20, "Steps between lines in metrics.jsonl.", low=1)
    workers: int = _setting(2, "Threads that decode and augment; 0: none but the main one.", low=0, high=256)
    licence: str = _setting("", "Licence of the exported weights, for their record.")

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            _check(field, getattr(self, field.name))
        if not self.dataset:
            raise ValueError("--dataset is needed: a folder of labelled pictures, or tfds:NAME[:SPLIT]")
        if (self.steps > 0) == (self.epochs > 0):
            raise ValueError("give one of --steps and --epochs, above 0")
        if self.eval_dataset and self.eval_share:
            raise ValueError("give --eval_dataset or --eval_share, not both")
        if self.trunk and self.weights:
            raise ValueError("give --trunk or --weights, not both")
        if self.train == "head" and not (self.trunk or self.weights):
            raise ValueError("--train=head freezes the trunk: say with --trunk or --weights what it is")
        if self.ema >= 1.0:
            raise ValueError(f"--ema: {self.ema} is not below 1")
        if self.min_scale > self.max_scale:
            raise ValueError(f"--min_scale: {self.min_scale} is above --max_scale {self.max_scale}")

    def total_steps(self, examples: int) -> int:
        """Steps of the whole training on so many pictures."""
        return self.steps or math.ceil(self.epochs * examples / self.batch_size)


FREE = ("output", "workers", "check", "checkpoint_every", "eval_every", "log_every", "licence")
"""Fields that may change when a training goes on: the trained parameters do not depend on them."""


def _check(field: "dataclasses.Field[Any]", value: Any) -> None:
    choices, low, high = (field.metadata[key] for key in ("choices", "low", "high"))
    if choices and value not in choices:
        raise ValueError(f"--{field.name}: unknown {value!r}; known: {', '.join(choices)}")
    if isinstance(value, int | float) and not low <= value <= high:
        bounds = f"at least {low:g}" if high == math.inf else f"from {low:g} to {high:g}"
        raise ValueError(f"--{field.name}: {value} must be {bounds}")
