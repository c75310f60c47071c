"""This module searches with bags of visual words (Mohedano et al. 2016): words of the cells of maps, inverted lists."""

import dataclasses
from collections.abc import Iterable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse  # type: ignore[import-untyped]
from jaxtyping import Array, Float, Int

from cwcf_jax import descriptors
from cwcf_jax.baselines import bag_of_words_windows as windows
from cwcf_jax.baselines import kmeans
from cwcf_jax.descriptors import Whitening, WhiteningConfig


@jax.jit
def local_features(maps: Float[Array, "h w k"], whitening: Whitening | None) -> Float[Array, "h2 w2 d"]:
    """Computes the unit vectors of the cells of maps that are bilinearly resized to twice the size.

    Each cell's vector is normalised, whitened and normalised again.

    Args:
        maps: feature maps after ReLU, without padding.
        whitening: a whitening that was fitted on normalised cells; None: no whitening.

    Returns:
        [2 h, 2 w, d]; 0 in a cell without activation.
    """
    height, width = maps.shape[:2]
    doubled = 2 * height, 2 * width
    size = jnp.array([height, width], jnp.int32)
    return descriptors.whiten_normalized(descriptors.resize_maps(maps, size, 2 * size, doubled), whitening)


@jax.jit
def assign_cells(local: Float[Array, "h w d"], centroids: Float[Array, "words d"]) -> Int[Array, "h w"]:
    """Computes an assignment map: the word nearest to each cell's vector, int32; -1 (no word) for a zero vector."""
    nearest = kmeans.assign(local.reshape(-1, local.shape[-1]), centroids).reshape(local.shape[:2])
    return jnp.where(jnp.any(local != 0, axis=-1), nearest, -1)


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """A `Vocabulary` is a set of visual words.

    Attributes:
        centroids: [words, d], centroids of local features.
        whitening: the whitening of the local features.
    """

    centroids: np.ndarray
    whitening: Whitening

    @property
    def words(self) -> int:
        """Returns the number of words."""
        return len(self.centroids)

    def assign(self, maps: np.ndarray) -> np.ndarray:
        """Computes the assignment map [2 h, 2 w] of feature maps [h, w, k]; -1 in cells without activation."""
        local = local_features(jnp.asarray(maps), self.whitening)
        return np.asarray(assign_cells(local, jnp.asarray(self.centroids)))


def fit_vocabulary(
    maps: Sequence[np.ndarray], config: WhiteningConfig, *, count: int, sample: int, fitted_on: str, seed: int = 0
) -> Vocabulary:
    """Fits the whitening, then k-means, on local features of a set of images.

    Args:
        maps: feature maps [h, w, k] of each image.
        config: how to fit the whitening.
        count: the number of words.
        sample: the largest number of local features to fit on, drawn at random.
        fitted_on: the name of the images.
        seed: the seed of the sample and of k-means.

    Raises:
        ValueError: there are more words than local features.
    """
    generator = np.random.default_rng(seed)
    image_sample = -(-sample // len(maps))
    samples = []
    for image_maps in maps:
        local = np.asarray(local_features(jnp.asarray(image_maps), None)).reshape(-1, image_maps.shape[-1])
        local = local[np.any(local != 0, axis=1)]
        samples.append(local[generator.permutation(len(local))[:image_sample]])
    vectors = generator.permutation(np.concatenate(samples))[:sample]
    whitening = config.fit(vectors, fitted_on)
    whitened = _whiten_normalized(jnp.asarray(vectors), whitening)
    return Vocabulary(kmeans.fit(np.asarray(whitened), count, seed=seed), whitening)


_whiten_normalized = jax.jit(descriptors.whiten_normalized)


class InvertedIndex:
    """An `InvertedIndex` holds the l2-normalised word histograms of n images, as one list of images for each word.

    A search reads only the lists of the query's words. The index needs 8 bytes for each different word of each image,
    and twice that memory while it is built.
    """

    def __init__(self, assignments: Iterable[Int[np.ndarray, " _"]], words: int) -> None:
        """Counts the words of each image, and inverts the counts.

        Args:
            assignments: the words of each image's cells in any order; negative numbers are no word. Iterated once.
            words: the size of the vocabulary.

        Raises:
            ValueError: a word is outside the vocabulary.
        """
        self.words = words
        indices, values, ends = [np.empty(0, np.int32)], [np.empty(0, np.float32)], [0]
        for image, assignment in enumerate(assignments):
            present, counts = np.unique(assignment[assignment >= 0], return_counts=True)
            if len(present) and present[-1] >= words:
                raise ValueError(f"image {image}: word {present[-1]} is outside the vocabulary of {words} words")
            norm = np.sqrt(np.sum(np.square(counts, dtype=np.float64)))
            indices.append(present.astype(np.int32))
            values.append((counts / norm).astype(np.float32))
            ends.append(ends[-1] + len(present))
        dtype = np.int32 if ends[-1] <= np.iinfo(np.int32).max else np.int64
        parts = (np.concatenate(values), np.concatenate(indices).astype(dtype, copy=False), np.asarray(ends, dtype))
        self._lists = scipy.sparse.csr_array(parts, (len(ends) - 1, words)).tocsc()

    @property
    def nbytes(self) -> int:
        """Returns the memory of the lists, in bytes."""
        return int(self._lists.data.nbytes + self._lists.indices.nbytes + self._lists.indptr.nbytes)

    def search(self, histogram: Float[np.ndarray, " words"]) -> Float[np.ndarray, " n"]:
        """Computes the cosine of a histogram with each image's histogram, float32; the histogram's scale is irrelevant.

        The cosine is 0 for a zero histogram and for images without words.
        """
        if len(histogram) != self.words:
            raise ValueError(f"the histogram has {len(histogram)} words, but the index has {self.words}")
        present = np.flatnonzero(histogram)
        weights = histogram[present]
        return self._lists[:, present] @ (weights / np.linalg.norm(weights)).astype(np.float32)


class BagOfWordsIndex:
    """A `BagOfWordsIndex` holds the assignment maps of n images and their inverted lists."""

    def __init__(self, words: int, assignments: Sequence[Int[np.ndarray, "_ _"]]) -> None:
        """Inverts ``assignments``, the `Vocabulary.assign` of each image; ``words`` is the vocabulary's size."""
        self._words, self._assignments = words, assignments
        self._index = InvertedIndex((cells[cells >= 0] for cells in assignments), words)

    def search(self, histogram: Float[np.ndarray, " words"]) -> np.ndarray:
        """Computes the cosines [n] of a histogram with each image's histogram."""
        return self._index.search(histogram)

    def histogram(self, assignment: Int[np.ndarray, "h w"], box: Int[np.ndarray, "4"]) -> np.ndarray:
        """Counts the words [words] in a box ``x1 y1 x2 y2``, in cells of the query's assignment map."""
        cells = assignment[box[1] : box[3], box[0] : box[2]]
        return np.bincount(cells[cells >= 0], minlength=self._words).astype(np.float32)

    def search_windows(
        self, assignment: Int[np.ndarray, "h w"], box: Int[np.ndarray, "4"], rows: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Computes the scores [r] of the best windows of images ``rows``, and the windows' histograms [r, words]."""
        query = windows.describe(assignment, box)
        aspect = float((box[2] - box[0]) / (box[3] - box[1]))
        best = []
        for row in rows.tolist():
            candidate = self._assignments[row]
            grid = windows.sliding_windows(*candidate.shape, aspect=aspect)
            best.append(windows.locate(candidate, grid, query, self._words))
        return np.array([window.score for window in best], np.float32), np.stack([window.histogram for window in best])

    def ranking(
        self, assignment: Int[np.ndarray, "h w"], box: Int[np.ndarray, "4"], *, rerank: int = 0, expansion: int = 0
    ) -> Int[np.ndarray, " n"]:
        """Ranks all images, the best first.

        Args:
            assignment: the assignment map of the query's whole image.
            box: the query's box ``x1 y1 x2 y2`` in cells of ``assignment``.
            rerank: the number of best images that are re-ranked by their best window; 0: no re-ranking.
            expansion: the number of best windows with histograms that are summed to the query of a second search.

        Raises:
            ValueError: one of ``rerank`` and ``expansion`` is 0, and the other is not.
        """
        if (rerank == 0) != (expansion == 0):
            raise ValueError(
                f"bags of words need re-ranking and expansion together, not {rerank} images and {expansion} windows"
            )
        scores = self.search(self.histogram(assignment, box))
        if rerank:
            top = np.argsort(-scores, kind="stable")[:rerank]
            window_scores, histograms = self.search_windows(assignment, box, top)
            scores = self.search(histograms[np.argsort(-window_scores, kind="stable")[:expansion]].sum(axis=0))
        return np.argsort(-scores, kind="stable")
