"""Online aggregation (OnA) over a class-vector store: a query's classes read, summed, normalised and scored at once.

The paper gives OnA up at 100,000 images. Here a query reads its own N_C classes and nothing else, fragment by fragment,
and no more than a fragment is worked on at a time; on an accelerator the store stays in its memory where it fits.
"""

from collections.abc import Iterator
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, Int

from cwcf_jax.search import online_scores
from cwcf_jax.store import ClassVectorStore, Runs

SHARE = 0.8
"""Of an accelerator's memory that a resident store may take."""


class Hits(NamedTuple):
    """The best images, best first; of equal scores the earlier row. ``rows`` [k], ``scores`` [k] in [-1, 1]."""

    rows: np.ndarray
    scores: np.ndarray


class OnlineSearch:
    """Scores every image of a store under each query's own classes."""

    def __init__(self, store: ClassVectorStore, *, rows: range | None = None, resident: bool | None = None) -> None:
        """What it reads of the store.

        Args:
            store: whitened class vectors.
            rows: of the images that are searched, from the first of a fragment to the last of one; None: all.
            resident: whether all of it is copied to the device first; None: on an accelerator whose memory it fits.
        """
        self.store = store
        self._fragments = range(len(store.fragments()))
        if rows is not None:
            self._fragments = self._fragments[
                rows.start // store.layout.fragment : -(-rows.stop // store.layout.fragment)
            ]
        keep = _fits(store, len(self._fragments)) if resident is None else resident
        everything = store.read(_everything(store), self._fragments)
        self._resident = [(images, jax.device_put(runs)) for images, runs in everything] if keep else None

    def scores(self, query: Float[Array, " d"], class_ids: Int[np.ndarray, " n"]) -> Float[np.ndarray, " images"]:
        """Cosine of the query with each image's descriptor under the query's classes, of all ``rows`` in their order.

        Args:
            query: descriptor of norm 1, made from the same classes with the store's whitening.
            class_ids: the query's classes, distinct. With fewer classes in the store, see `available`.

        Raises:
            ValueError: the store lacks a class, or holds vectors of another length.
        """
        dim = self.store.layout.dim
        if query.shape != (dim,):
            raise ValueError(f"the store holds vectors of {dim} numbers, the query has shape {query.shape}")
        pending = [
            (images.stop - images.start, online_scores(*runs, query))
            for images, runs in self._read(self.store.positions(class_ids))
        ]
        return np.concatenate([np.zeros(0, np.float32), *(np.asarray(scores)[:count] for count, scores in pending)])

    def search(self, query: Float[Array, " d"], class_ids: Int[np.ndarray, " n"], count: int) -> Hits:
        """The ``count`` best images of all; arguments and errors as in `scores`."""
        return best(self.scores(query, class_ids), count)

    def rescore(
        self, query: Float[Array, " d"], class_ids: Int[np.ndarray, " n"], rows: Int[np.ndarray, " r"]
    ) -> Float[np.ndarray, " r"]:
        """`scores` of a few images, such as the best of a search by OfA: only theirs are read."""
        runs = self.store.vectors(rows, self.store.positions(class_ids))
        return np.asarray(online_scores(*runs, query))

    def search_among(
        self, query: Float[Array, " d"], class_ids: Int[np.ndarray, " n"], rows: Int[np.ndarray, " r"], count: int
    ) -> Hits:
        """The best of a few images: the second stage after a search by OfA (`search.nearest`), exact for these.

        Args:
            query: as in `scores`.
            class_ids: the query's classes.
            rows: distinct, such as the best 1,000 of the first stage.
            count: how many to find.
        """
        ordered = np.sort(rows)  # so that of equal scores the earlier row comes first
        found = best(self.rescore(query, class_ids, ordered), count)
        return Hits(ordered[found.rows], found.scores)

    def available(self, class_ids: Int[np.ndarray, " n"], count: int) -> Int[np.ndarray, " m"]:
        """The first ``count`` of a query's classes, most probable first, that the store holds."""
        return class_ids[np.isin(class_ids, self.store.layout.classes)][:count]

    def _read(self, positions: np.ndarray) -> Iterator[tuple[slice, Runs]]:
        if self._resident is None:
            yield from self.store.read(positions, self._fragments)
            return
        for images, runs in self._resident:
            yield images, runs._replace(positions=positions)


def best(scores: Float[np.ndarray, " n"], count: int) -> Hits:
    """The ``count`` highest scores in order; of equal ones the earlier row first."""
    if count < 1:
        raise ValueError(f"a search finds at least 1 image, not {count}")
    rows = np.arange(len(scores))
    if count < len(scores):
        least = np.partition(scores, len(scores) - count)[len(scores) - count]
        rows = np.flatnonzero(scores >= least)
    rows = rows[np.argsort(-scores[rows], kind="stable")][:count]
    return Hits(rows, scores[rows])


def _everything(store: ClassVectorStore) -> np.ndarray:
    return np.arange(len(store.layout.classes), dtype=np.int32)


def _fits(store: ClassVectorStore, fragments: int) -> bool:
    if jax.default_backend() == "cpu":
        return False
    limit = (jax.devices()[0].memory_stats() or {}).get("bytes_limit", 0)
    return store.layout.image_bytes * store.layout.fragment * fragments < SHARE * limit
