"""k-means: the vocabulary that local features are quantised with, and the quantisation."""

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse  # type: ignore[import-untyped]
from jaxtyping import Array, Float, Int

from cwcf_jax.arrays import einsum

BLOCK = 1 << 24
"""Distances held at once on the device: 64 MiB of float32, whatever the number of vectors and words."""

CHUNK = 1 << 16
"""Vectors that travel to the device together."""


def fit(
    vectors: Float[np.ndarray, "n d"], words: int, *, iterations: int = 10, seed: int = 0
) -> Float[np.ndarray, "words d"]:
    """Lloyd's algorithm from ``words`` different rows drawn at random; stops early when no vector changes its word.

    A word that no vector is nearest to is moved onto a vector, the one farthest from its own word first. Distances
    are computed on the device, means on the host in float64, so that their order of summation is always the same.

    Args:
        vectors: finite; float32 is used as it lies, memory-mapped too.
        words: centroids to fit, at most n.
        iterations: at most; 0 returns the rows drawn.
        seed: of the draw; the same seed gives the same centroids.

    Returns:
        Centroids, float32.

    Raises:
        ValueError: fewer vectors than words, fewer words than 1, or vectors that are not finite.
    """
    if not 1 <= words <= len(vectors):
        raise ValueError(f"k-means cannot make {words} words of {len(vectors)} vectors")
    data = np.asarray(vectors, np.float32)
    drawn = np.random.default_rng(seed).choice(len(data), words, replace=False)
    centroids = data[np.sort(drawn)]
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
    """Index of the nearest centroid (Euclidean) of each vector, int32; of equally near ones the first."""
    return _nearest(vectors, centroids)[0]


def _nearest(
    vectors: Float[Array, "n d"], centroids: Float[Array, "words d"]
) -> tuple[Int[Array, " n"], Float[Array, " n"]]:
    """Nearest centroids and squared distances, the latter from ``|v|^2 + 2 min(|c|^2 / 2 - v c)``."""
    halves = 0.5 * jnp.sum(jnp.square(centroids), axis=1)

    def nearest(vector: Float[Array, " d"]) -> tuple[Int[Array, ""], Float[Array, ""]]:
        scores = halves - einsum("wd,d->w", centroids, vector)
        return jnp.argmin(scores).astype(jnp.int32), jnp.min(scores)

    indices, scores = jax.lax.map(nearest, vectors, batch_size=max(1, BLOCK // len(centroids)))
    return indices, jnp.maximum(jnp.sum(jnp.square(vectors), axis=1) + 2.0 * scores, 0.0)


_nearest_jit = jax.jit(_nearest)


def _assign_chunks(data: np.ndarray, centroids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    on_device = jnp.asarray(centroids)
    parts = [
        jax.device_get(_nearest_jit(jnp.asarray(data[start : start + CHUNK]), on_device))
        for start in range(0, len(data), CHUNK)
    ]
    return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])


def _means(data: np.ndarray, assignment: np.ndarray, distances: np.ndarray, words: int) -> np.ndarray:
    counts = np.bincount(assignment, minlength=words)
    sums = np.zeros((words, data.shape[1]))
    for start in range(0, len(data), CHUNK):
        part = assignment[start : start + CHUNK]
        members = scipy.sparse.csr_array((np.ones(len(part)), (part, np.arange(len(part)))), (words, len(part)))
        sums += members @ data[start : start + CHUNK]
    centroids = (sums / np.maximum(counts, 1)[:, None]).astype(np.float32)
    empty = np.flatnonzero(counts == 0)
    if len(empty):
        centroids[empty] = data[np.argsort(-distances, kind="stable")[: len(empty)]]
    return centroids
