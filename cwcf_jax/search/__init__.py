"""Search: exact and online, re-ranking by regions, query expansion, and what a score is made of."""

from cwcf_jax.search.candidates import Compact, Neighbours
from cwcf_jax.search.exact import compact, nearest, nearest_sharded
from cwcf_jax.search.expansion import alpha_expansion, augment_database, average_expansion, mean_vector
from cwcf_jax.search.explanation import class_pairs
from cwcf_jax.search.online_scores import online_nearest_sharded, online_scores
from cwcf_jax.search.reordering import reorder, replace_rows
from cwcf_jax.search.similarity import rank, similarities

__all__ = [
    "Compact",
    "Neighbours",
    "alpha_expansion",
    "augment_database",
    "average_expansion",
    "class_pairs",
    "compact",
    "mean_vector",
    "nearest",
    "nearest_sharded",
    "online_nearest_sharded",
    "online_scores",
    "rank",
    "reorder",
    "replace_rows",
    "similarities",
]
