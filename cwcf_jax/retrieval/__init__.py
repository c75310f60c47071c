"""Search, re-ranking order, query expansion and metrics: arrays in, rankings out; no network."""

from cwcf_jax.retrieval.bootstrap import interval, paired_difference
from cwcf_jax.retrieval.candidates import Compact, Neighbours
from cwcf_jax.retrieval.exact import compact, nearest, nearest_sharded
from cwcf_jax.retrieval.expansion import alpha_expansion, augment_database, average_expansion, mean_vector
from cwcf_jax.retrieval.explanation import class_pairs
from cwcf_jax.retrieval.metrics import (
    average_precision,
    difficulty,
    mean_average_precision,
    precision_at,
    recall_at,
)
from cwcf_jax.retrieval.online import online_nearest_sharded, online_scores
from cwcf_jax.retrieval.reranking import reorder, replace_rows
from cwcf_jax.retrieval.search import rank, similarities

__all__ = [
    "Compact",
    "Neighbours",
    "alpha_expansion",
    "augment_database",
    "average_expansion",
    "average_precision",
    "class_pairs",
    "compact",
    "difficulty",
    "interval",
    "mean_average_precision",
    "mean_vector",
    "nearest",
    "nearest_sharded",
    "online_nearest_sharded",
    "online_scores",
    "paired_difference",
    "precision_at",
    "rank",
    "recall_at",
    "reorder",
    "replace_rows",
    "similarities",
]
