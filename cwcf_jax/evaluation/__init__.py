"""This package measures rankings: protocols, descriptors of benchmarks, rankings, metrics and confidence intervals."""

from cwcf_jax.evaluation.intervals import interval, paired_difference
from cwcf_jax.evaluation.metrics import average_precision, difficulty, mean_average_precision, precision_at, recall_at
from cwcf_jax.evaluation.ranking import MethodDescriptors, rank_images, select_images
from cwcf_jax.evaluation.scores import Comparison, Scores, compare, score

__all__ = [
    "Comparison",
    "MethodDescriptors",
    "Scores",
    "average_precision",
    "compare",
    "difficulty",
    "interval",
    "mean_average_precision",
    "paired_difference",
    "precision_at",
    "rank_images",
    "recall_at",
    "score",
    "select_images",
]
