"""Bags of visual words (Mohedano et al. 2016): the cells of a small picture's maps, a vocabulary, inverted lists."""

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
    """Unit vectors of the cells: maps doubled in size bilinearly, then l2, whitening, l2 in each cell.

    Args:
        maps: after ReLU, without padding.
        whitening: fitted on such cells after their first l2; None leaves it out.

    Returns:
        [2 h, 2 w, d]; 0 in a cell without activation.
    """
    height, width = maps.shape[:2]
    doubled = 2 * height, 2 * width
    size = jnp.array([height, width], jnp.int32)
    return descriptors.whiten_normalized(descriptors.resize_maps(maps, size, 2 * size, doubled), whitening)


@jax.jit
def assign_cells(local: Float[Array, "h w d"], centroids: Float[Array, "words d"]) -> Int[Array, "h w"]:
    """The assignment map: the word nearest to each cell's vector, int32; -1, no word, where the vector is 0."""
    nearest = kmeans.assign(local.reshape(-1, local.shape[-1]), centroids).reshape(local.shape[:2])
    return jnp.where(jnp.any(local != 0, axis=-1), nearest, -1)


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """Visual words: ``centroids`` [words, d] of local features, and the ``whitening`` these went through."""

    centroids: np.ndarray
    whitening: Whitening

    @property
    def words(self) -> int:
        """The number of words."""
        return len(self.centroids)

    def assign(self, maps: np.ndarray) -> np.ndarray:
        """The word of each cell [2 h, 2 w] of maps [h, w, k] doubled in size; -1 where nothing is active."""
        local = local_features(jnp.asarray(maps), self.whitening)
        return np.asarray(assign_cells(local, jnp.asarray(self.centroids)))


def fit_vocabulary(
    maps: Sequence[np.ndarray], config: WhiteningConfig, *, count: int, sample: int, fitted_on: str, seed: int = 0
) -> Vocabulary:
    """Fits the whitening, then k-means, on local features of a collection.

    Args:
        maps: [h, w, k] of each image.
        config: of the whitening.
        count: words.
        sample: local features that are drawn for both, at most.
        fitted_on: a name for the data.
        seed: of the draw and of k-means.

    Raises:
        ValueError: more words than local features.
    """
    generator = np.random.default_rng(seed)
    share = -(-sample // len(maps))
    drawn = []
    for image_maps in maps:
        local = np.asarray(local_features(jnp.asarray(image_maps), None)).reshape(-1, image_maps.shape[-1])
        local = local[np.any(local != 0, axis=1)]
        drawn.append(local[generator.permutation(len(local))[:share]])
    vectors = generator.permutation(np.concatenate(drawn))[:sample]
    whitening = config.fit(vectors, fitted_on)
    embedded = _embed(jnp.asarray(vectors), whitening)
    return Vocabulary(kmeans.fit(np.asarray(embedded), count, seed=seed), whitening)


_embed = jax.jit(descriptors.whiten_normalized)


class InvertedIndex:
    """l2-normalised word histograms of n images, one list a word of the images that hold it.

    A search reads the lists of the query's words only. Memory is 8 bytes for every word that an image holds, twice
    that while the index is built.
    """

    def __init__(self, assignments: Iterable[Int[np.ndarray, " _"]], words: int) -> None:
        """Counts and inverts.

        Args:
            assignments: the words of each image's cells in any order; negative numbers are no word. Read once.
            words: size of the vocabulary.

        Raises:
            ValueError: a word outside the vocabulary.
        """
        self.words = words
        indices, values, ends = [np.empty(0, np.int32)], [np.empty(0, np.float32)], [0]
        for image, assignment in enumerate(assignments):
            present, counts = np.unique(assignment[assignment >= 0], return_counts=True)
            if len(present) and present[-1] >= words:
                raise ValueError(f"image {image}: word {present[-1]} of a vocabulary of {words}")
            norm = np.sqrt(np.sum(np.square(counts, dtype=np.float64)))
            indices.append(present.astype(np.int32))
            values.append((counts / norm).astype(np.float32))
            ends.append(ends[-1] + len(present))
        index = np.int32 if ends[-1] <= np.iinfo(np.int32).max else np.int64
        parts = (np.concatenate(values), np.concatenate(indices).astype(index, copy=False), np.asarray(ends, index))
        self._lists = scipy.sparse.csr_array(parts, (len(ends) - 1, words)).tocsc()

    @property
    def nbytes(self) -> int:
        """Memory of the lists."""
        return int(self._lists.data.nbytes + self._lists.indices.nbytes + self._lists.indptr.nbytes)

    def search(self, histogram: Float[np.ndarray, " words"]) -> Float[np.ndarray, " n"]:
        """Cosine of a histogram of any scale, an expanded one for instance, with every image; float32.

        A histogram of 0 scores 0 everywhere, an image without words always.
        """
        if len(histogram) != self.words:
            raise ValueError(f"a histogram of {len(histogram)} words against an index of {self.words}")
        present = np.flatnonzero(histogram)
        weights = histogram[present]
        return self._lists[:, present] @ (weights / np.linalg.norm(weights)).astype(np.float32)


class BagOfWordsIndex:
    """A collection's assignment maps and their inverted lists."""

    def __init__(self, words: int, assignments: Sequence[Int[np.ndarray, "_ _"]]) -> None:
        """``assignments`` are `Vocabulary.assign` of each image, ``words`` is the size of that vocabulary."""
        self._words, self._assignments = words, assignments
        self._index = InvertedIndex((cells[cells >= 0] for cells in assignments), words)

    def search(self, histogram: Float[np.ndarray, " words"]) -> np.ndarray:
        """Cosine [n] of every image's histogram with this one."""
        return self._index.search(histogram)

    def histogram(self, assignment: Int[np.ndarray, "h w"], box: Int[np.ndarray, "4"]) -> np.ndarray:
        """[words] counts of a query's box ``x1 y1 x2 y2`` in cells of its assignment map."""
        cut = assignment[box[1] : box[3], box[0] : box[2]]
        return np.bincount(cut[cut >= 0], minlength=self._words).astype(np.float32)

    def search_windows(
        self, assignment: Int[np.ndarray, "h w"], box: Int[np.ndarray, "4"], rows: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Scores [r] of the best windows of the given images, and their histograms [r, words] of norm 1."""
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
        """All images, best first.

        Args:
            assignment: of the query's whole picture.
            box: of the query in its cells.
            rerank: best images that are re-ranked by their best window; 0: none.
            expansion: windows, of those, whose summed histograms make the query of a second search.

        Raises:
            ValueError: one of ``rerank`` and ``expansion`` is 0, the other is not.
        """
        if (rerank == 0) != (expansion == 0):
            raise ValueError(f"bags of words re-rank and expand together, not {rerank} images and {expansion} windows")
        scores = self.search(self.histogram(assignment, box))
        if rerank:
            top = np.argsort(-scores, kind="stable")[:rerank]
            window_scores, histograms = self.search_windows(assignment, box, top)
            scores = self.search(histograms[np.argsort(-window_scores, kind="stable")[:expansion]].sum(axis=0))
        return np.argsort(-scores, kind="stable")
