"""k-reciprocal re-ranking: images are alike whose neighbours are the same ones.

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
from cwcf_jax.search.neighbourhood import check, cosines, first_equal, nearest


@dataclasses.dataclass(frozen=True)
class ReciprocalConfig:
    """How the best images are ranked by their neighbours; static.

    Attributes:
        images: M, the number of best images that are ranked anew, at least 1.
        k1: number of nearest images, of which those that are near each other both ways describe an image; at least 1.
            About as many as a query has positives.
        k2: number of nearest images, itself among them, whose descriptions are averaged into an image's own (local
            query expansion); at least 1, which leaves the descriptions as they are.
        original_weight: lambda, the share of the original distance in the final one; 0 to 1.
    """

    name: ClassVar[str] = "reciprocal"
    images: int = 100
    k1: int = 20
    k2: int = 6
    original_weight: float = 0.3

    def __post_init__(self) -> None:
        check(self.images, k1=self.k1, k2=self.k2)
        if not 0.0 <= self.original_weight <= 1.0:
            raise ValueError(f"original_weight must lie between 0 and 1, not {self.original_weight}")

    def scores(self, query: Float[Array, " d"], rows: Float[Array, "m d"]) -> Float[Array, " m"]:
        """See `reciprocal_scores`."""
        return reciprocal_scores(query, rows, self)


@functools.partial(jax.jit, static_argnames="config")
def reciprocal_scores(
    query: Float[Array, " d"], rows: Float[Array, "m d"], config: ReciprocalConfig
) -> Float[Array, " m"]:
    """Score the best rows of a search by the neighbours that they share with the query.

    The universe is the query and these m rows: neighbours are looked for among them alone, and the query is one of
    them. Distances are 2 - 2 cos, 0 between equal rows, divided by the largest one from the same image. In the order
    of the paper:

    1. R(i, k): the images among the k + 1 nearest of i, itself included, that have i among theirs (Eq. 3).
    2. R*(i): R(i, k1), and R(j, k1 / 2) of every j of it if more than 2/3 of that is in R(i, k1) (Eq. 4, which says "at
       least 2/3"; this is the released code's). k1 / 2 is rounded, halves to the even number.
    3. V(i): exp(-distance) from i over R*(i), 0 elsewhere, scaled to sum 1. The paper does not scale (Eq. 7), the
       released code does.
    4. V(i) becomes the mean of V over the k2 nearest images of i, itself included (Eq. 11).
    5. Jaccard distance of the query and each row: 1 - s / (2 - s), s the sum of the smaller of the two V (Eq. 10).
    6. (1 - lambda) Jaccard + lambda distance from the query (Eq. 12).

    Equal rows get equal scores. Where different images are equally far, all of them are neighbours if one is. Memory is
    m x m, time m x m x (m + d).

    Args:
        query: descriptor of norm 1, or zero.
        rows: descriptors of norm 1, or zero, of the m best images; m may be less than `images`, k1 or k2.
        config: static; `images` is the caller's to heed.

    Returns:
        1 - the final distance, in [0, 1]: the higher the nearer.
    """
    nodes = jnp.concatenate([query[None], rows])
    same = first_equal(nodes)
    distances = jnp.where(same[:, None] == same[None, :], 0.0, 2.0 - 2.0 * cosines(nodes, same))
    largest = jnp.max(distances, axis=1, keepdims=True)
    distances = distances / jnp.where(largest > 0, largest, 1.0)
    members = _expand(_mutual(distances, config.k1), _mutual(distances, round(config.k1 / 2)))
    encoding = _shares(members, jnp.exp(-distances))
    near = nearest(distances, config.k2)
    encoding = einsum("ij,jk->ik", _shares(near, jnp.ones_like(distances)), encoding)
    common = jnp.sum(jnp.minimum(encoding[:1], encoding), axis=1)
    jaccard = 1.0 - common / (2.0 - common)
    final = (1.0 - config.original_weight) * jaccard + config.original_weight * distances[0]
    return jnp.clip(1.0 - final, 0.0, 1.0)[same][1:]


def _mutual(distances: Float[Array, "n n"], k: int) -> Bool[Array, "n n"]:
    near = nearest(distances, k + 1)
    return near & near.T


def _expand(wide: Bool[Array, "n n"], narrow: Bool[Array, "n n"]) -> Bool[Array, "n n"]:
    """Add to each row of ``wide`` the rows of ``narrow`` of its members that lie in it by more than 2/3."""
    whole = narrow.astype(jnp.float32)
    shared = einsum("ik,jk->ij", wide.astype(jnp.float32), whole)  # counts, and so exact
    joins = wide & (3.0 * shared > 2.0 * jnp.sum(whole, axis=1)[None, :])
    return wide | (einsum("ij,jk->ik", joins.astype(jnp.float32), whole) > 0)


def _shares(members: Bool[Array, "n n"], weights: Float[Array, "n n"]) -> Float[Array, "n n"]:
    """Scale the positive weights of each row's members to sum 1; every row has a member."""
    kept = jnp.where(members, weights, 0.0)
    return kept / jnp.sum(kept, axis=1, keepdims=True)
