"""This module defines the settings of a training as one frozen record, whose fields are the flags of the driver."""

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
    """Returns a dataclass field with its description, its choices and its inclusive bounds."""
    return dataclasses.field(default=default, metadata={"help": text, "choices": choices, "low": low, "high": high})


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """A `TrainingConfig` holds every setting of a training; the metadata of each field describe the setting.

    Raises:
        ValueError: a value is out of its bounds, or settings contradict each other; the message names the flag.
    """

    network: str = _setting(DEFAULT_NETWORK, "CAM network to train; see cwcf_jax.networks.NETWORKS.")
    dataset: str = _setting(
        "",
        "Training pictures: a folder with a sub-folder for each class, a folder with labels.csv and jpg/, or "
        "tfds:NAME[:SPLIT].",
    )
    eval_dataset: str = _setting("", "Held-out pictures, in a form that --dataset accepts, with the same classes.")
    eval_share: float = _setting(
        0.0, "Share of --dataset that is held out instead, chosen by the hashes of file names.", low=0.0, high=0.9
    )
    data_dir: str = _setting("", "Where TFDS keeps its datasets; default: TFDS's own.")
    classes: str = _setting(
        "auto",
        "Classes of the classifier: those of the dataset, or the network's own. With own, the labels of the dataset "
        "are names or indices of the network's classes. auto: own for labels.csv, otherwise dataset.",
        choices=("auto", "dataset", "own"),
    )
    trunk: str = _setting("", "Weights of the trunk: any checkpoint with these layers. The head starts at random.")
    weights: str = _setting("", "Checkpoint of the whole network to start from.")
    train: str = _setting("all", "Layers to train: all, or only the head, on a frozen trunk.", choices=("all", "head"))
    steps: int = _setting(0, "Number of training steps; alternatively, give --epochs.", low=0)
    epochs: float = _setting(0.0, "Number of passes over the training pictures, instead of --steps.", low=0.0)
    batch_size: int = _setting(64, "Pictures in one step, on all devices together.", low=1)
    image_size: int = _setting(224, "Side of the square training images, in pixels.", low=8, high=4096)
    learning_rate: float = _setting(1e-3, "Peak learning rate of AdamW, reached after the warm-up.", low=1e-12)
    warmup_steps: int = _setting(
        100, "Steps in which the learning rate rises from 0 to its peak; afterwards it falls as a cosine.", low=0
    )
    weight_decay: float = _setting(1e-4, "Decoupled weight decay of kernels, not of biases and scales.", low=0.0)
    label_smoothing: float = _setting(0.0, "Share of each target that is spread over all classes.", low=0.0, high=0.99)
    ema: float = _setting(0.0, "Decay of the averaged weights, which are evaluated and exported; 0: none.", low=0.0)
    clip_norm: float = _setting(1.0, "Largest Euclidean norm of the whole gradient; 0: no limit.", low=0.0)
    precision: str = _setting(
        "float32",
        "mixed: the network computes in bfloat16, but weights, classifier, loss and all sums are float32.",
        choices=("float32", "mixed"),
    )
    seed: int = _setting(0, "Random seed of new layers, picture order and augmentation.", low=0, high=2**31 - 1)
    augment: bool = _setting(True, "Crop, mirror and recolour training pictures at random.")
    min_scale: float = _setting(0.35, "Smallest area of a random crop, as a share of the picture.", low=0.01, high=1.0)
    max_scale: float = _setting(1.0, "Largest area of a random crop, as a share of the picture.", low=0.01, high=1.0)
    flip: bool = _setting(True, "Mirror half of the training pictures left to right.")
    jitter: float = _setting(0.3, "Strength of random changes of brightness, contrast, saturation.", low=0.0, high=0.95)
    check: bool = _setting(True, "Decode every picture once before the start, and leave out unreadable pictures.")
    output: str = _setting("results/train_cam", "Folder that checkpoints/, metrics.jsonl and export/ are written to.")
    checkpoint_every: int = _setting(500, "Steps between checkpoints.", low=1)
    eval_every: int = _setting(500, "Steps between evaluations; the last step is always evaluated.", low=1)
    log_every: int = _setting(20, "Steps between lines of metrics.jsonl.", low=1)
    workers: int = _setting(2, "Threads that decode and augment pictures; 0: the main thread does.", low=0, high=256)
    licence: str = _setting("", "Licence of the exported weights, for their provenance record.")

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            _check(field, getattr(self, field.name))
        if not self.dataset:
            raise ValueError("--dataset is needed: name a folder of labelled pictures, or tfds:NAME[:SPLIT]")
        if (self.steps > 0) == (self.epochs > 0):
            raise ValueError("give one of --steps and --epochs, above 0")
        if self.eval_dataset and self.eval_share:
            raise ValueError("give --eval_dataset or --eval_share, not both")
        if self.trunk and self.weights:
            raise ValueError("give --trunk or --weights, not both")
        if self.train == "head" and not (self.trunk or self.weights):
            raise ValueError("--train=head freezes the trunk: name its weights by --trunk or --weights")
        if self.ema >= 1.0:
            raise ValueError(f"--ema: {self.ema} is not below 1")
        if self.min_scale > self.max_scale:
            raise ValueError(f"--min_scale: {self.min_scale} is above --max_scale {self.max_scale}")

    def total_steps(self, examples: int) -> int:
        """Returns the number of steps of the whole training on ``examples`` pictures."""
        return self.steps or math.ceil(self.epochs * examples / self.batch_size)


CHANGEABLE_FIELDS = ("output", "workers", "check", "checkpoint_every", "eval_every", "log_every", "licence")
"""The fields that may change when a training is resumed: the trained parameters do not depend on them."""


def _check(field: "dataclasses.Field[Any]", value: Any) -> None:
    """Raises a ValueError that names the flag if the value is not one of its choices or is out of its bounds."""
    choices, low, high = (field.metadata[key] for key in ("choices", "low", "high"))
    if choices and value not in choices:
        raise ValueError(f"--{field.name}: unknown {value!r}; known: {', '.join(choices)}")
    if isinstance(value, int | float) and not low <= value <= high:
        bounds = f"at least {low:g}" if high == math.inf else f"from {low:g} to {high:g}"
        raise ValueError(f"--{field.name}: {value} must be {bounds}")
