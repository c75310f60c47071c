"""This module re-ranks as SuperGlobal does: neighbours refine the descriptors of the best images and of the query.

Source: Shao, Chen, Karpur, Cui, Araujo & Cao, "Global Features are All You Need for Image Retrieval and Reranking",
ICCV 2023, and its released code.
"""

import dataclasses
import functools
from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from cwcf_jax.arrays import einsum
from cwcf_jax.search.neighbourhood import check_counts, cosines, first_equal, nearest_mask
from cwcf_jax.search.similarity import similarities


@dataclasses.dataclass(frozen=True)
class RefinementConfig:
    """A `RefinementConfig` holds the parameters of refinement; all are static.

    Attributes:
        images: M, the number of best images that are ranked anew, at least 1.
        neighbours: K, the number of nearest other images that refine an image, at least 1; K + 1 images refine the
            query.
        beta: factor of the cosines that weight the neighbours, at least 0; the image itself has the weight 1.
    """

    name: ClassVar[str] = "refinement"
    images: int = 400
    neighbours: int = 9
    beta: float = 0.15

    def __post_init__(self) -> None:
        check_counts(self.images, neighbours=self.neighbours)
        if not self.beta >= 0.0:
            raise ValueError(f"beta must be 0 or more, not {self.beta}")

    def scores(self, query: Float[Array, " d"], rows: Float[Array, "m d"]) -> Float[Array, " m"]:
        """Returns the `refined_scores` under this config."""
        return refined_scores(query, rows, self)


@functools.partial(jax.jit, static_argnames="config")
def refined_scores(
    query: Float[Array, " d"], rows: Float[Array, "m d"], config: RefinementConfig
) -> Float[Array, " m"]:
    """Computes the scores of the best rows of a search by refined descriptors of these rows and of the query.

    1. A refined row is the weighted mean of the row itself, with weight 1, and of the K nearest other rows, with
       weight beta times their cosine. A cosine that is not positive has weight 0; the released code subtracts it.
    2. The first score is the product of the query and the refined row.
    3. The refined query is the elementwise maximum of the K + 1 refined rows with the best first scores, without the
       query itself. The second score is the product of the refined query and the refined row.
    4. The final score is the mean of the first and the second score.

    As in the released code, refined vectors are not scaled to norm 1. Equal rows get equal scores. Of rows that are
    equally near, either all or none refine a row. Memory is m x (m + d), time m x m x d.

    Args:
        query: descriptor of norm 1, or zero.
        rows: descriptors of norm 1, or zero, of the m best images, at least 1; m may be less than `images` or K.
        config: parameters of refinement; static. The caller passes at most `images` rows.

    Returns:
        Scores of any value: the higher, the nearer.
    """
    count = rows.shape[0]
    same = first_equal(rows)
    similar = cosines(rows, same)
    diagonal = jnp.eye(count, dtype=bool)
    near = nearest_mask(jnp.where(diagonal, -jnp.inf, -similar), config.neighbours + 1)
    weights = jnp.where(diagonal, 1.0, jnp.where(near, config.beta * jnp.maximum(similar, 0.0), 0.0))
    refined = (einsum("nm,md->nd", weights, rows) / jnp.sum(weights, axis=1, keepdims=True))[same]
    first_scores = similarities(query, refined)
    _, best = jax.lax.top_k(first_scores, min(config.neighbours + 1, count))
    second_scores = similarities(jnp.max(refined[best], axis=0), refined)
    return (first_scores + second_scores) / 2.0
