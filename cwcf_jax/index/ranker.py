"""This module ranks the pictures of an index: a protocol for rankers, and the ranker in this process."""

import collections
import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from cwcf_jax.arrays import dequantize, l2_normalize
from cwcf_jax.index.reader import GenerationPaths, open_table
from cwcf_jax.index.table import Snapshot, TableEntry
from cwcf_jax.search import nearest
from cwcf_jax.search.online import OnlineSearch, best
from cwcf_jax.store import ClassVectorStore

MIN_COMPILED_COUNT = 64
"""The smallest number of pictures that the compiled OfA search returns.

Larger numbers are rounded up to powers of two, to save compilations.
"""


class RankedEntries(NamedTuple):
    """A `RankedEntries` is a ranking of pictures, best first; equal scores are ordered by path.

    Attributes:
        entries: the pictures.
        scores: shape [n]; cosines, -1 to 1.
    """

    entries: tuple[TableEntry, ...]
    scores: np.ndarray


def merge(rankings: Sequence[RankedEntries], count: int | None = None) -> RankedEntries:
    """Merges rankings of different pictures; returns the ``count`` best pictures, or all if ``count`` is None."""
    entries = [entry for ranking in rankings for entry in ranking.entries]
    scores = np.concatenate([np.zeros(0, np.float32), *(ranking.scores for ranking in rankings)])
    order = sorted(range(len(entries)), key=lambda i: (-scores[i], entries[i].path))[:count]
    return RankedEntries(tuple(entries[i] for i in order), scores[order])


@runtime_checkable
class EntryRanker(Protocol):
    """An `EntryRanker` ranks the pictures of an index at one moment.

    In all methods, ``class_ids`` are the classes of the query for OnA, or None for OfA.
    """

    def __len__(self) -> int:
        """Returns the number of pictures."""

    def is_current(self) -> bool:
        """Returns whether the index has not changed since the ranker was opened."""

    def best(self, query: Float[Array, " d"], class_ids: np.ndarray | None, count: int) -> RankedEntries:
        """Returns the ``count`` best pictures for a query."""

    def vectors(self, entries: Sequence[TableEntry], class_ids: np.ndarray | None) -> Float[np.ndarray, "n d"]:
        """Returns the descriptors by which pictures are ranked."""

    def regions(self, entries: Sequence[TableEntry]) -> Float[np.ndarray, "n t d"]:
        """Returns the descriptors, of norm 1, of the regions of pictures in a compact index."""

    def entry(self, path: str) -> TableEntry:
        """Returns the entry of a picture; raises KeyError if the picture is not in the index."""

    def picture_sizes(self) -> collections.Counter[tuple[int, int]]:
        """Returns the number of pictures of each size, (height, width) in pixels."""


class LocalRanker:
    """A `LocalRanker` is an `EntryRanker` in the memory of this process.

    Attributes:
        snapshot: the ranked pictures and their descriptors.
    """

    def __init__(self, paths: GenerationPaths, rows: range | None = None, *, resident: bool | None = None) -> None:
        """Reads the pictures and their descriptors.

        Args:
            paths: paths of the generation.
            rows: rows of the class-vector store, to rank the pictures in these rows only; None: all pictures.
            resident: whether class vectors are kept on the device, see `OnlineSearch`.
        """
        self._table = open_table(paths)
        self.snapshot: Snapshot = self._table.snapshot(rows)
        self._first_row = rows.start if rows else 0
        self._open_online: Callable[[], OnlineSearch] = lambda: OnlineSearch(
            ClassVectorStore(paths.vectors), rows=rows, resident=resident
        )
        self._database = jnp.asarray(self.snapshot.descriptors)
        self._rows = np.array([entry.row for entry in self.snapshot.entries], np.int64)

    def __len__(self) -> int:
        return len(self.snapshot.entries)

    def is_current(self) -> bool:
        """Implements `EntryRanker`."""
        return self._table.version() == self.snapshot.version

    def best(self, query: Float[Array, " d"], class_ids: np.ndarray | None, count: int) -> RankedEntries:
        """Implements `EntryRanker`."""
        if class_ids is not None:
            scores, rows = best(self._online.scores(query, class_ids)[self._rows - self._first_row], count)
        elif len(self):
            compiled_count = max(MIN_COMPILED_COUNT, 1 << (count - 1).bit_length())
            ranking = nearest(query[None], self._database, compiled_count)
            scores, rows = (np.asarray(array)[0, :count] for array in ranking)
        else:
            scores, rows = np.zeros(0, np.float32), np.zeros(0, np.int32)
        return RankedEntries(tuple(self.snapshot.entries[row] for row in rows.tolist()), np.asarray(scores))

    def vectors(self, entries: Sequence[TableEntry], class_ids: np.ndarray | None) -> Float[np.ndarray, "n d"]:
        """Implements `EntryRanker`."""
        if class_ids is None:
            return self.snapshot.descriptors[[self._positions[entry.path] for entry in entries]]
        store = self._online.store
        runs = store.vectors(np.array([entry.row for entry in entries], np.int64), store.positions(class_ids))
        vectors = jnp.asarray(dequantize(runs.values, runs.scales))
        return np.asarray(l2_normalize(jnp.sum(vectors, axis=0)))

    def regions(self, entries: Sequence[TableEntry]) -> Float[np.ndarray, "n t d"]:
        """Implements `EntryRanker`."""
        store = self._online.store
        rows, regions = np.array([entry.row for entry in entries], np.int64), np.arange(len(store.layout.classes))
        runs = store.vectors(rows, regions.astype(np.int32))
        vectors = l2_normalize(jnp.asarray(dequantize(runs.values, runs.scales)))  # rounding changed the norms
        return np.asarray(vectors).swapaxes(0, 1)

    def entry(self, path: str) -> TableEntry:
        """Implements `EntryRanker`."""
        return self.snapshot.entries[self._positions[path]]

    def picture_sizes(self) -> collections.Counter[tuple[int, int]]:
        """Implements `EntryRanker`."""
        return collections.Counter((entry.height, entry.width) for entry in self.snapshot.entries)

    @functools.cached_property
    def _positions(self) -> dict[str, int]:
        return {entry.path: i for i, entry in enumerate(self.snapshot.entries)}

    @functools.cached_property
    def _online(self) -> OnlineSearch:
        return self._open_online()
