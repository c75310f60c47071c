"""This module fits a vocabulary of visual words by k-means, and assigns local features to words."""

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse  # type: ignore[import-untyped]
from jaxtyping import Array, Float, Int

from cwcf_jax.arrays import einsum

BLOCK_DISTANCES = 1 << 24
"""The largest number of distances on the device at once: 64 MiB of float32, for any number of vectors and words."""

CHUNK_VECTORS = 1 << 16
"""The number of vectors that are copied to the device together."""


def fit(
    vectors: Float[np.ndarray, "n d"], words: int, *, iterations: int = 10, seed: int = 0
) -> Float[np.ndarray, "words d"]:
    """Fits centroids by Lloyd's algorithm, from ``words`` different rows of ``vectors`` that are drawn at random.

    The algorithm stops early when no vector changes its word. A word without vectors is moved onto a vector, in the
    order of decreasing distances of vectors from their words. Distances are computed on the device. Means are computed
    on the host in float64, because there the order of summation is always the same.

    Args:
        vectors: finite vectors; float32 arrays are not copied, and may be memory-mapped.
        words: the number of centroids, at most n.
        iterations: the largest number of iterations; 0 returns the random rows.
        seed: the seed of the random rows; equal seeds give equal centroids.

    Returns:
        Centroids, float32.

    Raises:
        ValueError: there are fewer vectors than words, ``words`` is below 1, or vectors are not finite.
    """
    if not 1 <= words <= len(vectors):
        raise ValueError(f"k-means cannot make {words} words of {len(vectors)} vectors")
    data = np.asarray(vectors, np.float32)
    rows = np.random.default_rng(seed).choice(len(data), words, replace=False)
    centroids = data[np.sort(rows)]
    previous = None
    for _ in range(iterations):
        assignment, distances = _assign_chunks(data, centroids)
        if not np.isfinite(distances).all():
            raise ValueError("k-means cannot be fitted on vectors that are not finite")
        if previous is not None and np.array_equal(assignment, previous):
            break
        centroids = _means(data, assignment, distances, words)
        previous = assignment
    return centroids


@jax.jit
def assign(vectors: Float[Array, "n d"], centroids: Float[Array, "words d"]) -> Int[Array, " n"]:
    """Returns the index of each vector's nearest centroid (Euclidean), int32; the first of equally near centroids."""
    return _nearest(vectors, centroids)[0]


def _nearest(
    vectors: Float[Array, "n d"], centroids: Float[Array, "words d"]
) -> tuple[Int[Array, " n"], Float[Array, " n"]]:
    """Computes the nearest centroids and their squared distances, ``|v|^2 + 2 min(|c|^2 / 2 - v c)``."""
    halves = 0.5 * jnp.sum(jnp.square(centroids), axis=1)

    def nearest(vector: Float[Array, " d"]) -> tuple[Int[Array, ""], Float[Array, ""]]:
        scores = halves - einsum("wd,d->w", centroids, vector)
        return jnp.argmin(scores).astype(jnp.int32), jnp.min(scores)

    indices, scores = jax.lax.map(nearest, vectors, batch_size=max(1, BLOCK_DISTANCES // len(centroids)))
    return indices, jnp.maximum(jnp.sum(jnp.square(vectors), axis=1) + 2.0 * scores, 0.0)


_nearest_jit = jax.jit(_nearest)


def _assign_chunks(data: np.ndarray, centroids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    on_device = jnp.asarray(centroids)
    parts = [
        jax.device_get(_nearest_jit(jnp.asarray(data[start : start + CHUNK_VECTORS]), on_device))
        for start in range(0, len(data), CHUNK_VECTORS)
    ]
    return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])


def _means(data: np.ndarray, assignment: np.ndarray, distances: np.ndarray, words: int) -> np.ndarray:
    counts = np.bincount(assignment, minlength=words)
    sums = np.zeros((words, data.shape[1]))
    for start in range(0, len(data), CHUNK_VECTORS):
        part = assignment[start : start + CHUNK_VECTORS]
        members = scipy.sparse.csr_array((np.ones(len(part)), (part, np.arange(len(part)))), (words, len(part)))
        sums += members @ data[start : start + CHUNK_VECTORS]
    centroids = (sums / np.maximum(counts, 1)[:, None]).astype(np.float32)
    empty = np.flatnonzero(counts == 0)
    if len(empty):
        centroids[empty] = data[np.argsort(-distances, kind="stable")[: len(empty)]]
    return centroids
