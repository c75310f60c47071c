"""This package trains CAM networks: a new head on the trunk of another network, or all layers.

`cwcf_jax` itself does not import this package: Grain, Optax and Orbax take seconds to import.
"""

from cwcf_jax.training.augment import AugmentationConfig, augment, center_crop
from cwcf_jax.training.config import TrainingConfig
from cwcf_jax.training.loop import Trainer, export, train
from cwcf_jax.training.prepare import TrainingSetup, prepare
from cwcf_jax.training.records import ResumeError, read_metrics
from cwcf_jax.training.state import TrainState

__all__ = [
    "AugmentationConfig",
    "ResumeError",
    "TrainState",
    "Trainer",
    "TrainingConfig",
    "TrainingSetup",
    "augment",
    "center_crop",
    "export",
    "prepare",
    "read_metrics",
    "train",
]
