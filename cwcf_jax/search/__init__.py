"""This package ranks images: exact and online search, re-ranking, query expansion, and the pipeline of these steps."""

from cwcf_jax.search.candidates import CompactDatabase
from cwcf_jax.search.exact import compact, nearest
from cwcf_jax.search.expansion import augment_database, expand_query, mean_vector
from cwcf_jax.search.online import online_scores
from cwcf_jax.search.similarity import Ranking, class_pairs, rank, similarities

__all__ = [
    "CompactDatabase",
    "Ranking",
    "augment_database",
    "class_pairs",
    "compact",
    "expand_query",
    "mean_vector",
    "nearest",
    "online_scores",
    "rank",
    "similarities",
]
