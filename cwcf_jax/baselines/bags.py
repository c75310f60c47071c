"""Bags of visual words (Mohedano et al. 2016): local features of a small input, a vocabulary, inverted lists."""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from cwcf_jax import descriptors
from cwcf_jax.arrays import Size
from cwcf_jax.baselines import inverted, window_scores
from cwcf_jax.descriptors import Whitening, WhiteningConfig, kmeans, words


@dataclasses.dataclass(frozen=True)
class BagOfWords:
    """A vocabulary: ``centroids`` [words, d] of local features, and the ``whitening`` these went through."""

    centroids: np.ndarray
    whitening: Whitening

    @property
    def words(self) -> int:
        """How many there are."""
        return len(self.centroids)

    def assign(self, maps: np.ndarray) -> np.ndarray:
        """The word of each cell [2 h, 2 w] of maps [h, w, k] doubled in size; -1 where nothing is active."""
        local = _local(maps, self.whitening)
        return np.asarray(words.assign_cells(local, jnp.asarray(self.centroids)))


def fit_vocabulary(
    maps: Sequence[np.ndarray], config: WhiteningConfig, *, count: int, sample: int, fitted_on: str, seed: int = 0
) -> BagOfWords:
    """Whitening, then k-means, of the local features of a collection.

    Args:
        maps: [h, w, k] of each image.
        config: of the whitening.
        count: words.
        sample: local features that are drawn for it, at most.
        fitted_on: a name for the data.
        seed: of the draw and of k-means.

    Raises:
        ValueError: more words than local features.
    """
    generator = np.random.default_rng(seed)
    share = -(-sample // len(maps))
    drawn = []
    for one in maps:
        local = np.asarray(_local(one, None)).reshape(-1, one.shape[-1])
        local = local[np.any(local != 0, axis=1)]
        drawn.append(local[generator.permutation(len(local))[:share]])
    vectors = generator.permutation(np.concatenate(drawn))[:sample]
    whitening = config.fit(vectors, fitted_on)
    centroids = kmeans.fit(np.asarray(_embed(vectors, whitening)), count, seed=seed)
    return BagOfWords(centroids, whitening)


@jax.jit
def _local(maps: Float[Array, "h w k"], whitening: Whitening | None) -> Float[Array, "h2 w2 d"]:
    height, width = 2 * maps.shape[0], 2 * maps.shape[1]
    size: Size = jnp.array(maps.shape[:2], jnp.int32)
    return words.local_features(maps, size, 2 * size, (height, width), whitening)


@jax.jit
def _embed(vectors: Float[Array, "n k"], whitening: Whitening) -> Float[Array, "n d"]:
    return descriptors.embed(vectors, whitening)


class Bags:
    """A collection's assignment maps and their inverted lists."""

    def __init__(self, bag: BagOfWords, assignments: Sequence[Int[np.ndarray, "_ _"]]) -> None:
        """``assignments`` are `BagOfWords.assign` of each image."""
        self._bag, self._assignments = bag, assignments
        self._index = inverted.InvertedIndex([one[one >= 0] for one in assignments], bag.words)

    def search(self, histogram: Float[np.ndarray, " words"]) -> np.ndarray:
        """Cosine [n] of every image's histogram with this one."""
        return self._index.search(histogram)

    def histogram(self, assignment: Int[np.ndarray, "h w"], box: Int[np.ndarray, "4"]) -> np.ndarray:
        """[words] counts of a query's box ``x1 y1 x2 y2`` in cells of its assignment map."""
        cut = assignment[box[1] : box[3], box[0] : box[2]]
        return np.bincount(cut[cut >= 0], minlength=self._bag.words).astype(np.float32)

    def search_windows(
        self, assignment: Int[np.ndarray, "h w"], box: Int[np.ndarray, "4"], rows: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Scores [r] of the best windows of the given images, and their histograms [r, words] of norm 1."""
        query = window_scores.describe(assignment, box)
        aspect = float((box[2] - box[0]) / (box[3] - box[1]))
        found = []
        for row in rows.tolist():
            candidate = self._assignments[row]
            grid = window_scores.sliding_windows(*candidate.shape, aspect=aspect)
            found.append(window_scores.locate(candidate, grid, query, self._bag.words))
        return np.array([one.score for one in found], np.float32), np.stack([one.histogram for one in found])
