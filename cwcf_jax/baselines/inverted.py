"""Inverted lists: the images that hold a word, for bags of words too sparse to be kept as rows."""

from collections.abc import Iterable

import numpy as np
import scipy.sparse  # type: ignore[import-untyped]
from jaxtyping import Float, Int


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
            try:
                found, weights = _histogram(assignment, words)
            except ValueError as error:
                raise ValueError(f"image {image}: {error}") from error
            indices.append(found)
            values.append(weights)
            ends.append(ends[-1] + len(found))
        index = np.int32 if ends[-1] <= np.iinfo(np.int32).max else np.int64
        parts = (np.concatenate(values), np.concatenate(indices).astype(index, copy=False), np.asarray(ends, index))
        self._lists = scipy.sparse.csr_array(parts, (len(ends) - 1, words)).tocsc()

    def __len__(self) -> int:
        return int(self._lists.shape[0])

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
        found = np.flatnonzero(histogram)
        return self._scores(found, histogram[found])

    def search_words(self, assignment: Int[np.ndarray, " cells"]) -> Float[np.ndarray, " n"]:
        """`search` for the words of a query's cells; negative numbers are no word."""
        return self._scores(*_histogram(assignment, self.words))

    def _scores(self, found: np.ndarray, weights: np.ndarray) -> np.ndarray:
        unit = (weights / np.linalg.norm(weights)).astype(np.float32)
        return self._lists[:, found] @ unit


def _histogram(assignment: np.ndarray, words: int) -> tuple[np.ndarray, np.ndarray]:
    """Words that occur, ascending, and their l2-normalised counts."""
    found, counts = np.unique(assignment[assignment >= 0], return_counts=True)
    if len(found) and found[-1] >= words:
        raise ValueError(f"word {found[-1]} of a vocabulary of {words}")
    square = np.sum(np.square(counts, dtype=np.float64))
    return found.astype(np.int32), (counts / np.sqrt(square)).astype(np.float32)
