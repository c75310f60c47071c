"""The pictures of an index at one moment, ready to be ranked: what a search needs, and this process doing it."""

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

LEAST = 64
"""Number of pictures that a search by OfA finds at least; more are found in powers of two, a compilation for each."""


class RankedEntries(NamedTuple):
    """Pictures and their scores [n], in [-1, 1], best first; of equal ones the earlier path."""

    entries: tuple[TableEntry, ...]
    scores: np.ndarray


def merge(parts: Sequence[RankedEntries], count: int | None = None) -> RankedEntries:
    """The best of several rankings of different pictures, at most ``count``."""
    entries = [entry for part in parts for entry in part.entries]
    scores = np.concatenate([np.zeros(0, np.float32), *(part.scores for part in parts)])
    order = sorted(range(len(entries)), key=lambda i: (-scores[i], entries[i].path))[:count]
    return RankedEntries(tuple(entries[i] for i in order), scores[order])


@runtime_checkable
class EntryRanker(Protocol):
    """What a search needs of an index's pictures. ``class_ids``: the query's classes for OnA, None for OfA."""

    def __len__(self) -> int:
        """How many there are."""

    def current(self) -> bool:
        """Whether nothing changed since."""

    def best(self, query: Float[Array, " d"], class_ids: np.ndarray | None, count: int) -> RankedEntries:
        """The best pictures for a query, at most ``count``."""

    def vectors(self, entries: Sequence[TableEntry], class_ids: np.ndarray | None) -> Float[np.ndarray, "n d"]:
        """What pictures are ranked by."""

    def regions(self, entries: Sequence[TableEntry]) -> Float[np.ndarray, "n t d"]:
        """Descriptors of pictures' regions, which a compact index keeps, of norm 1."""

    def entry(self, path: str) -> TableEntry:
        """KeyError if there is no such picture."""

    def sides(self) -> collections.Counter[tuple[int, int]]:
        """How many pictures have a height and a width."""


class LocalRanker:
    """`EntryRanker` in this process's memory, all or those whose class vectors are in some rows."""

    def __init__(self, places: GenerationPaths, rows: range | None = None, *, resident: bool | None = None) -> None:
        """Reads them.

        Args:
            places: of their generation.
            rows: of the class-vector store; None: all pictures.
            resident: see `OnlineSearch`.
        """
        self._table = open_table(places)
        self.snapshot: Snapshot = self._table.snapshot(rows)
        self._first = rows.start if rows else 0
        self._open: Callable[[], OnlineSearch] = lambda: OnlineSearch(
            ClassVectorStore(places.vectors), rows=rows, resident=resident
        )
        self._database = jnp.asarray(self.snapshot.descriptors)
        self._rows = np.array([entry.row for entry in self.snapshot.entries], np.int64)

    def __len__(self) -> int:
        return len(self.snapshot.entries)

    def current(self) -> bool:
        """See `EntryRanker`."""
        return self._table.version() == self.snapshot.version

    def best(self, query: Float[Array, " d"], class_ids: np.ndarray | None, count: int) -> RankedEntries:
        """See `EntryRanker`."""
        if class_ids is not None:
            scores, rows = best(self._online.scores(query, class_ids)[self._rows - self._first], count)
        elif len(self):
            rounded = max(LEAST, 1 << (count - 1).bit_length())
            scores, rows = (np.asarray(part)[0, :count] for part in nearest(query[None], self._database, rounded))
        else:
            scores, rows = np.zeros(0, np.float32), np.zeros(0, np.int32)
        return RankedEntries(tuple(self.snapshot.entries[row] for row in rows.tolist()), np.asarray(scores))

    def vectors(self, entries: Sequence[TableEntry], class_ids: np.ndarray | None) -> Float[np.ndarray, "n d"]:
        """See `EntryRanker`."""
        if class_ids is None:
            return self.snapshot.descriptors[[self._places[entry.path] for entry in entries]]
        store = self._online.store
        runs = store.vectors(np.array([entry.row for entry in entries], np.int64), store.positions(class_ids))
        vectors = jnp.asarray(dequantize(runs.values, runs.scales))
        return np.asarray(l2_normalize(jnp.sum(vectors, axis=0)))

    def regions(self, entries: Sequence[TableEntry]) -> Float[np.ndarray, "n t d"]:
        """See `EntryRanker`."""
        store = self._online.store
        rows, everything = np.array([entry.row for entry in entries], np.int64), np.arange(len(store.layout.classes))
        runs = store.vectors(rows, everything.astype(np.int32))
        vectors = l2_normalize(jnp.asarray(dequantize(runs.values, runs.scales)))  # rounded, they have no norm of 1
        return np.asarray(vectors).swapaxes(0, 1)

    def entry(self, path: str) -> TableEntry:
        """See `EntryRanker`."""
        return self.snapshot.entries[self._places[path]]

    def sides(self) -> collections.Counter[tuple[int, int]]:
        """See `EntryRanker`."""
        return collections.Counter((entry.height, entry.width) for entry in self.snapshot.entries)

    @functools.cached_property
    def _places(self) -> dict[str, int]:
        return {entry.path: i for i, entry in enumerate(self.snapshot.entries)}

    @functools.cached_property
    def _online(self) -> OnlineSearch:
        return self._open()
