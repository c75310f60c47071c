"""This module ranks images by k-reciprocal re-ranking: images with the same neighbours are alike.

Source: Zhong, Zheng, Cao & Li, "Re-ranking Person Re-identification with k-reciprocal Encoding", CVPR 2017, and its
released code.
"""

import dataclasses
import functools
from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from cwcf_jax.arrays import einsum
from cwcf_jax.search.neighbourhood import check_counts, cosines, first_equal, nearest_mask


@dataclasses.dataclass(frozen=True)
class ReciprocalConfig:
    """A `ReciprocalConfig` holds the parameters of k-reciprocal re-ranking; all are static.

    Attributes:
        images: M, the number of best images that are ranked anew, at least 1.
        k1: number of nearest images from which the mutual neighbours of an image are chosen, at least 1; about the
            number of positives of a query.
        k2: number of nearest images, the image itself included, over which encodings are averaged (local query
            expansion), at least 1; 1 leaves the encodings as they are.
        original_weight: lambda, the share of the original distance in the final distance, 0 to 1.
    """

    name: ClassVar[str] = "reciprocal"
    images: int = 100
    k1: int = 20
    k2: int = 6
    original_weight: float = 0.3

    def __post_init__(self) -> None:
        check_counts(self.images, k1=self.k1, k2=self.k2)
        if not 0.0 <= self.original_weight <= 1.0:
            raise ValueError(f"original_weight must lie between 0 and 1, not {self.original_weight}")

    def scores(self, query: Float[Array, " d"], rows: Float[Array, "m d"]) -> Float[Array, " m"]:
        """Returns the `reciprocal_scores` under this config."""
        return reciprocal_scores(query, rows, self)


@functools.partial(jax.jit, static_argnames="config")
def reciprocal_scores(
    query: Float[Array, " d"], rows: Float[Array, "m d"], config: ReciprocalConfig
) -> Float[Array, " m"]:
    """Computes the scores of the best rows of a search by the neighbours that the rows share with the query.

    Neighbours are searched for only among the query and these m rows. The distance of two images is 2 - 2 cos, 0 for
    equal rows, divided by the largest distance from the first image. The steps, in the order of the paper:

    1. R(i, k): the images j such that i and j are among the k + 1 nearest images of each other, the image itself
       included (Eq. 3).
    2. R*(i): R(i, k1), joined with R(j, k1 / 2) for every j in R(i, k1) if more than 2/3 of R(j, k1 / 2) is in R(i, k1)
       (Eq. 4). The paper says "at least 2/3"; "more than" is from the released code. k1 / 2 is rounded, halves to the
       even number.
    3. V(i): exp(-distance) from i over R*(i), 0 elsewhere, scaled to sum 1. The scaling is not in the paper (Eq. 7),
       but in the released code.
    4. V(i) is replaced by the mean of V over the k2 nearest images of i, i included (Eq. 11).
    5. The Jaccard distance of the query and a row is 1 - s / (2 - s), where s is the sum of the elementwise minimum of
       their V (Eq. 10).
    6. The final distance is (1 - lambda) Jaccard + lambda distance from the query (Eq. 12).

    Equal rows get equal scores. Of images that are equally far away, either all or none are neighbours. Memory is
    m x m, time m x m x (m + d).

    Args:
        query: descriptor of norm 1, or zero.
        rows: descriptors of norm 1, or zero, of the m best images; m may be less than `images`, k1 or k2.
        config: parameters of re-ranking; static. The caller passes at most `images` rows.

    Returns:
        1 - the final distance, in [0, 1]: the higher, the nearer.
    """
    nodes = jnp.concatenate([query[None], rows])
    same = first_equal(nodes)
    distances = jnp.where(same[:, None] == same[None, :], 0.0, 2.0 - 2.0 * cosines(nodes, same))
    largest = jnp.max(distances, axis=1, keepdims=True)
    distances = distances / jnp.where(largest > 0, largest, 1.0)
    members = _expand(_mutual(distances, config.k1), _mutual(distances, round(config.k1 / 2)))
    encoding = _shares(members, jnp.exp(-distances))
    near = nearest_mask(distances, config.k2)
    encoding = einsum("ij,jk->ik", _shares(near, jnp.ones_like(distances)), encoding)
    common = jnp.sum(jnp.minimum(encoding[:1], encoding), axis=1)
    jaccard = 1.0 - common / (2.0 - common)
    final = (1.0 - config.original_weight) * jaccard + config.original_weight * distances[0]
    return jnp.clip(1.0 - final, 0.0, 1.0)[same][1:]


def _mutual(distances: Float[Array, "n n"], k: int) -> Bool[Array, "n n"]:
    near = nearest_mask(distances, k + 1)
    return near & near.T


def _expand(wide: Bool[Array, "n n"], narrow: Bool[Array, "n n"]) -> Bool[Array, "n n"]:
    """Adds to each set i of ``wide`` the set j of ``narrow`` of each member j, if set i has more than 2/3 of set j."""
    members = narrow.astype(jnp.float32)
    shared = einsum("ik,jk->ij", wide.astype(jnp.float32), members)  # counts are exact in float32
    joins = wide & (3.0 * shared > 2.0 * jnp.sum(members, axis=1)[None, :])
    return wide | (einsum("ij,jk->ik", joins.astype(jnp.float32), members) > 0)


def _shares(members: Bool[Array, "n n"], weights: Float[Array, "n n"]) -> Float[Array, "n n"]:
    """Scales the positive weights of each row's members to sum 1; every row has a member."""
    kept = jnp.where(members, weights, 0.0)
    return kept / jnp.sum(kept, axis=1, keepdims=True)
