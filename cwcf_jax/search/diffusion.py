"""This module ranks images by diffusion: similarity flows over the graph of the best images, between neighbours.

Source: Iscen, Tolias, Avrithis, Furon & Chum, "Efficient Diffusion on Region Manifolds", CVPR 2017, here for
descriptors of whole images, and limited to the best images of a search, as in the truncation of that paper. Yang,
Hinami, Matsui, Ly & Satoh, AAAI 2019, solve the same system for every image in advance.
"""

import dataclasses
import functools
from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from cwcf_jax.search.neighbourhood import check_counts, cosines, first_equal, nearest_mask
from cwcf_jax.search.similarity import similarities


@dataclasses.dataclass(frozen=True)
class DiffusionConfig:
    """A `DiffusionConfig` holds the parameters of diffusion; all are static.

    Attributes:
        images: M, the number of best images that are ranked anew, at least 1.
        neighbours: k, the number of nearest other images that an image may be joined to, at least 1. Iscen et al. use
            k 50 and alpha .99 in whole collections; among a hundred images, k 50 joins all images (docs/ranking.md).
        query_neighbours: number of images nearest to the query where similarity starts, at least 1.
        gamma: exponent of the cosines, above 0.
        alpha: share of the similarity that flows on at each step, 0 to .999; above .999, float32 does not solve the
            system well.
    """

    name: ClassVar[str] = "diffusion"
    images: int = 100
    neighbours: int = 10
    query_neighbours: int = 10
    gamma: float = 3.0
    alpha: float = 0.9

    def __post_init__(self) -> None:
        check_counts(self.images, neighbours=self.neighbours, query_neighbours=self.query_neighbours)
        if not self.gamma > 0.0:
            raise ValueError(f"gamma must be above 0, not {self.gamma}")
        if not 0.0 <= self.alpha <= 0.999:
            raise ValueError(f"alpha must lie between 0 and .999, not {self.alpha}")

    def scores(self, query: Float[Array, " d"], rows: Float[Array, "m d"]) -> Float[Array, " m"]:
        """Returns the `diffusion_scores` under this config."""
        return diffusion_scores(query, rows, self)


@functools.partial(jax.jit, static_argnames="config")
def diffusion_scores(
    query: Float[Array, " d"], rows: Float[Array, "m d"], config: DiffusionConfig
) -> Float[Array, " m"]:
    """Computes the scores of the best rows of a search by diffusion over the graph of these rows.

    The graph joins two rows that are among the k nearest rows of each other. The weight of an edge is the rows' cosine
    to the power of gamma; a cosine that is not positive gives no edge. With W the matrix of the graph, D the row sums
    of W and S = D^-1/2 W D^-1/2, the scores are f = (1 - alpha) (I - alpha S)^-1 y, the limit of
    f <- alpha S f + (1 - alpha) y. At the rows nearest to the query, y is their cosine with the query to the power of
    gamma; y is 0 elsewhere.

    The system is solved by a Cholesky factor in float32. Its condition is at most (1 + alpha) / (1 - alpha), 199 at
    alpha .99: the error against float64 is less than 1e-4 of the largest score.

    Equal rows get equal scores; an image that no similarity reaches scores 0. Memory is m x m, time m x m x (m + d).

    Args:
        query: descriptor of norm 1, or zero.
        rows: descriptors of norm 1, or zero, of the m best images, at least 1; m may be less than `images` or k.
        config: parameters of diffusion; static. The caller passes at most `images` rows.

    Returns:
        Scores of at least 0, up to rounding: the higher, the nearer.
    """
    count = rows.shape[0]
    same = first_equal(rows)
    similar = cosines(rows, same)
    diagonal = jnp.eye(count, dtype=bool)
    near = nearest_mask(jnp.where(diagonal, -jnp.inf, -similar), config.neighbours + 1)
    weights = jnp.where(near & near.T & ~diagonal, _power(similar, config.gamma), 0.0)
    degrees = jnp.sum(weights, axis=1)
    inverse = jnp.where(degrees > 0, jax.lax.rsqrt(jnp.where(degrees > 0, degrees, 1.0)), 0.0)
    system = jnp.eye(count) - config.alpha * inverse[:, None] * weights * inverse[None, :]
    start = similarities(query, rows)
    query_near = nearest_mask(-start[None, :], config.query_neighbours)[0]
    start = jnp.where(query_near, _power(start, config.gamma), 0.0)
    solved = jax.scipy.linalg.cho_solve(jax.scipy.linalg.cho_factor(system), start)
    return (1.0 - config.alpha) * solved[same]


def _power(similar: Float[Array, "*shape"], gamma: float) -> Float[Array, "*shape"]:
    positive = similar > 0
    return jnp.where(positive, jnp.where(positive, similar, 1.0) ** gamma, 0.0)
