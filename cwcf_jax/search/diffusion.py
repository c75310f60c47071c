"""Diffusion: similarity to the query flows over the graph of the best images, from neighbour to neighbour.

Source: Iscen, Tolias, Avrithis, Furon & Chum, "Efficient Diffusion on Region Manifolds", CVPR 2017, here for
descriptors of whole images, and limited to the best images of a search, which is that paper's truncation. Yang, Hinami,
Matsui, Ly & Satoh, AAAI 2019, solve the same system, beforehand for every image.
"""

import dataclasses
import functools
from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from cwcf_jax.search.neighbourhood import check, cosines, first_equal, nearest
from cwcf_jax.search.similarity import similarities


@dataclasses.dataclass(frozen=True)
class DiffusionConfig:
    """How similarity flows among the best images; static.

    Attributes:
        images: M, the number of best images that are ranked anew, at least 1.
        neighbours: k, number of nearest other images that an image may be joined to, at least 1. Iscen et al. have 50,
            and .99 for alpha, in whole collections; among a hundred images that joins everything (docs/ranking.md).
        query_neighbours: number of images nearest to the query that similarity starts from, at least 1.
        gamma: exponent that cosines are raised to, above 0.
        alpha: share of the similarity that flows on at each step; 0 or more, at most .999, since beyond it float32 does
            not solve the system well.
    """

    name: ClassVar[str] = "diffusion"
    images: int = 100
    neighbours: int = 10
    query_neighbours: int = 10
    gamma: float = 3.0
    alpha: float = 0.9

    def __post_init__(self) -> None:
        check(self.images, neighbours=self.neighbours, query_neighbours=self.query_neighbours)
        if not self.gamma > 0.0:
            raise ValueError(f"gamma must be above 0, not {self.gamma}")
        if not 0.0 <= self.alpha <= 0.999:
            raise ValueError(f"alpha must lie between 0 and .999, not {self.alpha}")

    def scores(self, query: Float[Array, " d"], rows: Float[Array, "m d"]) -> Float[Array, " m"]:
        """See `diffusion_scores`."""
        return diffusion_scores(query, rows, self)


@functools.partial(jax.jit, static_argnames="config")
def diffusion_scores(
    query: Float[Array, " d"], rows: Float[Array, "m d"], config: DiffusionConfig
) -> Float[Array, " m"]:
    """Score the best rows of a search by the similarity that reaches them over the graph of these rows.

    The graph joins two rows that are among the k nearest of one another, by their cosine to the power of gamma; a
    cosine that is not positive joins nothing. With W its matrix, D its row sums and S = D^-1/2 W D^-1/2, the scores are
    f = (1 - alpha) (I - alpha S)^-1 y, the limit of f <- alpha S f + (1 - alpha) y. y holds the query's own cosines to
    the power of gamma at the rows nearest to it, and 0 elsewhere.

    The system is solved by a Cholesky factor in float32. Its condition is at most (1 + alpha) / (1 - alpha), 199 at
    alpha .99: scores differ from those in float64 by less than 1e-4 of the largest.

    Equal rows get equal scores; an image that no similarity reaches scores 0. Memory is m x m, time m x m x (m + d).

    Args:
        query: descriptor of norm 1, or zero.
        rows: descriptors of norm 1, or zero, of the m best images, at least 1; m may be less than `images` or k.
        config: static; `images` is the caller's to heed.

    Returns:
        At least 0, up to rounding: the higher the nearer.
    """
    count = rows.shape[0]
    same = first_equal(rows)
    similar = cosines(rows, same)
    itself = jnp.eye(count, dtype=bool)
    near = nearest(jnp.where(itself, -jnp.inf, -similar), config.neighbours + 1)
    weights = jnp.where(near & near.T & ~itself, _power(similar, config.gamma), 0.0)
    degrees = jnp.sum(weights, axis=1)
    inverse = jnp.where(degrees > 0, jax.lax.rsqrt(jnp.where(degrees > 0, degrees, 1.0)), 0.0)
    system = jnp.eye(count) - config.alpha * inverse[:, None] * weights * inverse[None, :]
    start = similarities(query, rows)
    chosen = nearest(-start[None, :], config.query_neighbours)[0]
    start = jnp.where(chosen, _power(start, config.gamma), 0.0)
    solved = jax.scipy.linalg.cho_solve(jax.scipy.linalg.cho_factor(system), start)
    return (1.0 - config.alpha) * solved[same]


def _power(similar: Float[Array, "*shape"], gamma: float) -> Float[Array, "*shape"]:
    positive = similar > 0
    return jnp.where(positive, jnp.where(positive, similar, 1.0) ** gamma, 0.0)
