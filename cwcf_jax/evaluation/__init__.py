"""How good a ranking is: protocols, descriptors of whole benchmarks, metrics and their confidence intervals."""

from cwcf_jax.evaluation.intervals import interval, paired_difference
from cwcf_jax.evaluation.metrics import average_precision, difficulty, mean_average_precision, precision_at, recall_at

__all__ = [
    "average_precision",
    "difficulty",
    "interval",
    "mean_average_precision",
    "paired_difference",
    "precision_at",
    "recall_at",
]
