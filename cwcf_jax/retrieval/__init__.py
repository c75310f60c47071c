"""Search, query expansion and metrics: arrays in, rankings out; no network."""

from cwcf_jax.retrieval.expansion import average_expansion
from cwcf_jax.retrieval.metrics import average_precision, mean_average_precision
from cwcf_jax.retrieval.search import rank, similarities

__all__ = ["average_expansion", "average_precision", "mean_average_precision", "rank", "similarities"]
