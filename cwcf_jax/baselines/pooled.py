"""This module computes SPoC, uCroW, CroW, MAC, GeM and R-MAC in one run of the network, and searches their descriptors.

MAC and GeM need no module of their own: MAC is `descriptors.max_pool`, and GeM is `descriptors.gem_pool`.
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
    """A `PooledMethod` is a method that pools feature maps to one vector, or to one vector for each region.

    Attributes:
        field: the field of a row store with the method's vectors.
        dim: the number of dimensions that the method's authors keep.
    """

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
"""The methods by name.

Sources: Babenko & Lempitsky 2015 (SPoC), Kalantidis et al. 2016 (uCroW, CroW), Razavian et al. 2014 (MAC), Radenovic et
al. 2018 (GeM), Tolias et al. 2016 (R-MAC).
"""


def pooled_fields(extractor: Extractor) -> dict[str, tuple[int, ...]]:
    """Returns the shape of one row of each field of a row store; R-MAC has one vector for each region."""
    dim = extractor.dim
    flat = dict.fromkeys(("sum", "max", "gem", "spoc", "crow"), (dim,))
    return flat | {"rmac": (rmac.MAX_REGIONS, dim)}


def pooled_rows(extractor: Extractor, images: np.ndarray, sizes: np.ndarray) -> dict[str, np.ndarray]:
    """Computes one row of each field for each image of a padded batch [b, h, w, 3] with valid ``sizes`` [b, 2]."""
    maps, map_sizes = encoder.layer_maps(extractor, images, jnp.asarray(sizes))
    regions = [rmac.pad_regions(rmac.regions(*size)) for size in np.asarray(map_sizes).tolist()]
    boxes, valid = (jnp.asarray(np.stack(part)) for part in zip(*regions, strict=True))
    return {name: np.asarray(value) for name, value in _pool(maps, map_sizes, boxes, valid).items()}


@jax.jit
def _pool(
    maps: Float[Array, "b h w k"], sizes: Int[Array, "b 2"], boxes: Int[Array, "b r 4"], valid: Bool[Array, "b r"]
) -> dict[str, Array]:
    def pool_image(
        features: Float[Array, "h w k"], size: Size, regions: Int[Array, "r 4"], valid_regions: Bool[Array, " r"]
    ) -> dict[str, Array]:
        region = valid_mask(size, features.shape[:2])
        return {
            "sum": descriptors.sum_pool(features, region),
            "max": descriptors.max_pool(features, region),
            "gem": descriptors.gem_pool(features, region),
            "spoc": spoc.spoc_pool(features, size),
            "crow": crow.crow_pool(features, region),
            "rmac": rmac.max_over_regions(features, regions, valid_regions),
        }

    return jax.vmap(pool_image)(maps, sizes, boxes, valid)


def unit_vectors(rows: np.ndarray) -> np.ndarray:
    """Returns the unit vectors [m, k] of rows or regions, to fit a whitening on; zero vectors are left out."""
    flat = rows.reshape(-1, rows.shape[-1])
    flat = flat[np.any(flat != 0, axis=1)]
    return flat / np.linalg.norm(flat, axis=1, keepdims=True)


def describe(rows: np.ndarray, whitening: Whitening | None) -> Float[Array, "n d"]:
    """Computes descriptors from rows [n, k] or [n, r, k]: normalised, whitened, normalised.

    The vectors of r regions are then summed, and the sum is normalised.
    """
    if rows.ndim == 2:
        return _describe_vectors(rows, whitening)
    return _describe_regions(rows, whitening)


@jax.jit
def _describe_vectors(rows: Float[Array, "n k"], whitening: Whitening | None) -> Float[Array, "n d"]:
    return descriptors.whiten_normalized(rows, whitening)


@jax.jit
def _describe_regions(rows: Float[Array, "n r k"], whitening: Whitening | None) -> Float[Array, "n d"]:
    # Batches, because the whitened regions of all images at once would be as large as the store.
    return jax.lax.map(lambda regions: descriptors.aggregate(regions, whitening), rows, batch_size=64)


@dataclasses.dataclass(frozen=True)
class PooledSearch:
    """A `PooledSearch` ranks a database exhaustively by cosine.

    Attributes:
        queries: [q, d], the queries' descriptors from `describe`, of norm 1.
        database: [n, d], the images' descriptors from `describe`, of norm 1.
    """

    queries: Float[Array, "q d"]
    database: Float[Array, "n d"]

    def ranking(self, query: int, *, expansion: int = 0) -> Int[Array, " n"]:
        """Ranks all images for a query, the best first.

        Args:
            query: the query's row in ``queries``.
            expansion: the number of best images with descriptors that are added to the query's descriptor for a second
                search, as CroW's authors do; 0: no query expansion.
        """
        vector = self.queries[query]
        order = rank(similarities(vector, self.database))
        if not expansion:
            return order
        expanded = expand_query(vector, self.database[order[:expansion]], alpha=0.0, add_query=True)
        return rank(similarities(expanded, self.database))
