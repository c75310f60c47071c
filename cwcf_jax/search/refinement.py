"""SuperGlobal's re-ranking: descriptors of the best images, and of the query, are refined by their neighbours.

Source: Shao, Chen, Karpur, Cui, Araujo & Cao, "Global Features are All You Need for Image Retrieval and Reranking",
ICCV 2023, as its released code has it.
"""

import dataclasses
import functools
from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from cwcf_jax.arrays import einsum
from cwcf_jax.search.neighbourhood import check, cosines, first_equal, nearest
from cwcf_jax.search.similarity import similarities


@dataclasses.dataclass(frozen=True)
class RefinementConfig:
    """How descriptors of the best images are refined; static.

    Attributes:
        images: M, the number of best images that are ranked anew, at least 1.
        neighbours: K, number of nearest other images that refine an image, at least 1; the query is refined by K + 1.
        beta: what the cosines of neighbours are multiplied by, beside the weight 1 of the image itself; at least 0.
    """

    name: ClassVar[str] = "refinement"
    images: int = 400
    neighbours: int = 9
    beta: float = 0.15

    def __post_init__(self) -> None:
        check(self.images, neighbours=self.neighbours)
        if not self.beta >= 0.0:
            raise ValueError(f"beta must be 0 or more, not {self.beta}")

    def scores(self, query: Float[Array, " d"], rows: Float[Array, "m d"]) -> Float[Array, " m"]:
        """See `refined_scores`."""
        return refined_scores(query, rows, self)


@functools.partial(jax.jit, static_argnames="config")
def refined_scores(
    query: Float[Array, " d"], rows: Float[Array, "m d"], config: RefinementConfig
) -> Float[Array, " m"]:
    """Score the best rows of a search by refined descriptors of these rows and of the query.

    1. A row becomes the weighted mean of itself, by 1, and of its K nearest others among the rows, by beta times their
       cosine. A cosine that is not positive weighs 0; the released code lets it subtract.
    2. The first score is the product of the query and the refined row.
    3. The refined query is the maximum, dimension by dimension, of the K + 1 refined rows of the best first score; the
       query itself is not part of it. The second score is its product with the refined row.
    4. The final score is the mean of both.

    As in the released code nothing is scaled to norm 1 again. Equal rows get equal scores; where different rows are
    equally near, all of them refine if one does. Memory is m x (m + d), time m x m x d.

    Args:
        query: descriptor of norm 1, or zero.
        rows: descriptors of norm 1, or zero, of the m best images, at least 1; m may be less than `images` or K.
        config: static; `images` is the caller's to heed.

    Returns:
        Any number: the higher the nearer.
    """
    count = rows.shape[0]
    same = first_equal(rows)
    similar = cosines(rows, same)
    itself = jnp.eye(count, dtype=bool)
    near = nearest(jnp.where(itself, -jnp.inf, -similar), config.neighbours + 1)
    weights = jnp.where(itself, 1.0, jnp.where(near, config.beta * jnp.maximum(similar, 0.0), 0.0))
    refined = (einsum("nm,md->nd", weights, rows) / jnp.sum(weights, axis=1, keepdims=True))[same]
    first = similarities(query, refined)
    _, best = jax.lax.top_k(first, min(config.neighbours + 1, count))
    second = similarities(jnp.max(refined[best], axis=0), refined)
    return (first + second) / 2.0
