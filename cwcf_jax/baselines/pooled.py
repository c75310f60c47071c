"""One network pass for SPoC, uCroW, CroW, MAC, GeM and R-MAC, and the search of their descriptors.

MAC and GeM need no module of their own: they are `descriptors.max_pool` and `descriptors.gem_pool`.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from cwcf_jax import descriptors, encoder
from cwcf_jax.arrays import Size, valid_mask
from cwcf_jax.baselines import crow, rmac, spoc
from cwcf_jax.descriptors import Whitening
from cwcf_jax.encoder import Extractor
from cwcf_jax.search import expand_query, rank, similarities


@dataclasses.dataclass(frozen=True)
class PooledMethod:
    """A method: the field of a store that holds its vectors, and how many dimensions its authors keep."""

    field: str
    dim: int


POOLED = {
    "SPoC": PooledMethod("spoc", 256),
    "uCroW": PooledMethod("sum", 256),
    "CroW": PooledMethod("crow", 512),
    "MAC": PooledMethod("max", 512),
    "GeM": PooledMethod("gem", 512),
    "R-MAC": PooledMethod("rmac", 512),
}
"""Babenko & Lempitsky 2015; Kalantidis et al. 2016, twice; maxima; Radenovic et al. 2018; Tolias et al. 2016."""


def pooled_fields(extractor: Extractor) -> dict[str, tuple[int, ...]]:
    """Shape of one row of each field of a store; R-MAC keeps a vector for each region."""
    dim = extractor.dim
    flat = dict.fromkeys(("sum", "max", "gem", "spoc", "crow"), (dim,))
    return flat | {"rmac": (rmac.MAX_REGIONS, dim)}


def pooled_rows(extractor: Extractor, images: np.ndarray, sizes: np.ndarray) -> dict[str, np.ndarray]:
    """One row of every field for each image of a padded batch [b, h, w, 3], ``sizes`` [b, 2] being valid."""
    maps, map_sizes = encoder.layer_maps(extractor, images, jnp.asarray(sizes))
    regions = [rmac.pad_regions(rmac.regions(*size)) for size in np.asarray(map_sizes).tolist()]
    boxes, valid = (jnp.asarray(np.stack(part)) for part in zip(*regions, strict=True))
    return {name: np.asarray(value) for name, value in _pool(maps, map_sizes, boxes, valid).items()}


@jax.jit
def _pool(
    maps: Float[Array, "b h w k"], sizes: Int[Array, "b 2"], boxes: Int[Array, "b r 4"], valid: Bool[Array, "b r"]
) -> dict[str, Array]:
    def one_image(
        features: Float[Array, "h w k"], size: Size, regions: Int[Array, "r 4"], real: Bool[Array, " r"]
    ) -> dict[str, Array]:
        region = valid_mask(size, features.shape[:2])
        return {
            "sum": descriptors.sum_pool(features, region),
            "max": descriptors.max_pool(features, region),
            "gem": descriptors.gem_pool(features, region),
            "spoc": spoc.spoc_pool(features, size),
            "crow": crow.crow_pool(features, region),
            "rmac": rmac.max_over_regions(features, regions, real),
        }

    return jax.vmap(one_image)(maps, sizes, boxes, valid)


def unit_vectors(rows: np.ndarray) -> np.ndarray:
    """[m, k] unit vectors that a whitening is fitted on: one a row, or one a region; zero ones are left out."""
    flat = rows.reshape(-1, rows.shape[-1])
    flat = flat[np.any(flat != 0, axis=1)]
    return flat / np.linalg.norm(flat, axis=1, keepdims=True)


def describe(rows: np.ndarray, whitening: Whitening | None) -> Float[Array, "n d"]:
    """Descriptors of stored rows: l2, whitening, l2; over regions the sum of that, and l2 again."""
    if rows.ndim == 2:
        return _describe_vectors(rows, whitening)
    return _describe_regions(rows, whitening)


@jax.jit
def _describe_vectors(rows: Float[Array, "n k"], whitening: Whitening | None) -> Float[Array, "n d"]:
    return descriptors.whiten_normalized(rows, whitening)


@jax.jit
def _describe_regions(rows: Float[Array, "n r k"], whitening: Whitening | None) -> Float[Array, "n d"]:
    # One image after the other: all regions of all images at once would be as large as the store.
    return jax.lax.map(lambda one: descriptors.aggregate(one, whitening), rows, batch_size=64)


@dataclasses.dataclass(frozen=True)
class PooledSearch:
    """Exhaustive search by cosine.

    Attributes:
        queries: [q, d] descriptors of norm 1, as `describe` makes them.
        database: [n, d], likewise.
    """

    queries: Float[Array, "q d"]
    database: Float[Array, "n d"]

    def ranking(self, query: int, *, expansion: int = 0) -> Int[Array, " n"]:
        """All images, best first, for the query of that number.

        Args:
            query: 0 to q - 1.
            expansion: best images whose descriptors are added to the query's for a second search, as CroW's authors do;
                0: none.
        """
        vector = self.queries[query]
        order = rank(similarities(vector, self.database))
        if not expansion:
            return order
        expanded = expand_query(vector, self.database[order[:expansion]], alpha=0.0, add_query=True)
        return rank(similarities(expanded, self.database))
