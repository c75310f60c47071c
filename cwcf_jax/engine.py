"""Search, then expansion, for one query."""

import functools

import jax
from jaxtyping import Array, Float, Int

from cwcf_jax import retrieval


@functools.partial(jax.jit, static_argnames="expansion")
def search(query: Float[Array, " d"], database: Float[Array, "n d"], *, expansion: int = 0) -> Int[Array, " n"]:
    """Every row of the database, best first.

    Args:
        query: descriptor of norm 1.
        database: descriptors of norm 1; under OnA those made for this query's classes.
        expansion: how many of the best rows make a new query for a second search; 0: none.
    """
    ranking = retrieval.rank(retrieval.similarities(query, database))
    if expansion == 0:
        return ranking
    expanded = retrieval.average_expansion(database, ranking, expansion)
    return retrieval.rank(retrieval.similarities(expanded, database))
