"""`EntryRanker` on a Ray cluster: each actor owns some fragments of the class-vector store and the pictures in them.

A query goes to all actors, each finds its own best exactly, and the best of these are the best of all. Ray starts a
lost actor anew, which reads its fragments again: the query is answered late, or fails at its deadline, but never wrong.
"""

import collections
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import jax.numpy as jnp
import numpy as np
import ray
from jaxtyping import Float
from ray import exceptions

from cwcf_jax import compilation_cache
from cwcf_jax.extraction import cluster
from cwcf_jax.index.ranker import LocalRanker, RankedEntries, merge
from cwcf_jax.index.reader import GenerationPaths, open_table
from cwcf_jax.index.table import TableEntry
from cwcf_jax.store import ClassVectorStore

Answer = TypeVar("Answer")


@dataclasses.dataclass(frozen=True)
class RankingShare:
    """What an actor holds: the pictures of a version of the table whose class vectors are in some rows."""

    places: GenerationPaths
    version: int
    rows: range


class ChangedError(RuntimeError):
    """The index is of a later version than was asked for."""


class RankingActor:
    """One actor. Whatever it is asked, it is told what it holds, so that one that was started anew knows."""

    def __init__(self) -> None:
        compilation_cache.enable()
        self._held: tuple[RankingShare, LocalRanker] | None = None

    def best(self, share: RankingShare, query: np.ndarray, class_ids: np.ndarray | None, count: int) -> RankedEntries:
        """See `EntryRanker`."""
        return self._hold(share).best(jnp.asarray(query), class_ids, count)

    def vectors(
        self, share: RankingShare, entries: Sequence[TableEntry], class_ids: np.ndarray | None
    ) -> dict[str, np.ndarray]:
        """By path, of those that are here; see `EntryRanker`."""
        own = [entry for entry in entries if entry.row in share.rows]
        if not own:
            return {}
        found = self._hold(share).vectors(own, class_ids)
        return {entry.path: vector for entry, vector in zip(own, found, strict=True)}

    def regions(self, share: RankingShare, entries: Sequence[TableEntry]) -> dict[str, np.ndarray]:
        """By path, of those that are here; see `EntryRanker`."""
        own = [entry for entry in entries if entry.row in share.rows]
        if not own:
            return {}
        found = self._hold(share).regions(own)
        return {entry.path: vectors for entry, vectors in zip(own, found, strict=True)}

    def entry(self, share: RankingShare, path: str) -> TableEntry | None:
        """See `EntryRanker`; None if it is not here."""
        try:
            return self._hold(share).entry(path)
        except KeyError:
            return None

    def sides(self, share: RankingShare) -> collections.Counter[tuple[int, int]]:
        """See `EntryRanker`."""
        return self._hold(share).sides()

    def _hold(self, share: RankingShare) -> LocalRanker:
        if self._held is None or self._held[0] != share:
            self._held = None  # not both at once in memory
            distant = "://" in share.places.vectors
            held = LocalRanker(share.places, share.rows, resident=True if distant else None)
            if held.snapshot.version != share.version:
                raise ChangedError(f"version {held.snapshot.version} instead of {share.version}")
            self._held = share, held
        return self._held[1]


class RayRanker:
    """A generation's pictures on actors."""

    def __init__(self, places: GenerationPaths, actors: Sequence[Any], deadline: float) -> None:
        """Has the actors of `start` read their fragments; ``deadline``: seconds for each answer."""
        self._places, self._actors, self._deadline = places, actors, deadline
        self._table = open_table(places)
        self._share_out()

    def __len__(self) -> int:
        return self._sides.total()

    def current(self) -> bool:
        """See `EntryRanker`."""
        return self._table.version() == self._version

    def best(self, query: Any, class_ids: np.ndarray | None, count: int) -> RankedEntries:
        """See `EntryRanker`.

        Raises:
            TimeoutError: an actor did not answer in time.
        """
        return merge(self._ask(RankingActor.best, np.asarray(query), class_ids, count), count)

    def vectors(self, entries: Sequence[TableEntry], class_ids: np.ndarray | None) -> Float[np.ndarray, "n d"]:
        """See `EntryRanker`; errors as in `best`."""
        return _stacked(self._ask(RankingActor.vectors, tuple(entries), class_ids), entries)

    def regions(self, entries: Sequence[TableEntry]) -> Float[np.ndarray, "n t d"]:
        """See `EntryRanker`; errors as in `best`."""
        return _stacked(self._ask(RankingActor.regions, tuple(entries)), entries)

    def entry(self, path: str) -> TableEntry:
        """See `EntryRanker`; errors as in `best`."""
        for found in self._ask(RankingActor.entry, path):
            if found is not None:
                return found
        raise KeyError(path)

    def sides(self) -> collections.Counter[tuple[int, int]]:
        """See `EntryRanker`."""
        return self._sides

    def _share_out(self) -> None:
        """Gives each actor its part of the pictures as they are now, and waits until it has read them."""
        self._version = self._table.version()
        store = ClassVectorStore(self._places.vectors)
        size, fragments = store.layout.fragment, len(store.fragments())
        bounds = [fragments * i // len(self._actors) * size for i in range(len(self._actors))]
        rows = [range(*both) for both in zip(bounds, [*bounds[1:], store.length], strict=True)]
        self._shares = [RankingShare(self._places, self._version, one) for one in rows]
        self._sides = collections.Counter[tuple[int, int]]()
        for part in self._ask(RankingActor.sides):
            self._sides += part

    def _ask(self, what: Callable[..., Answer], *arguments: Any) -> list[Answer]:
        """What all actors answer; once the index has changed, as of its later version."""
        while True:
            asked = [
                getattr(actor, what.__name__).remote(share, *arguments)
                for actor, share in zip(self._actors, self._shares, strict=True)
            ]
            try:
                return list(ray.get(asked, timeout=self._deadline))
            except ChangedError:
                self._share_out()
            except exceptions.GetTimeoutError as error:
                _, late = ray.wait(asked, num_returns=len(asked), timeout=0)
                raise TimeoutError(
                    f"{len(late)} of {len(asked)} shards did not answer within {self._deadline:g} s; ask again once "
                    "their nodes are back, or with a later deadline"
                ) from error


def _stacked(parts: Sequence[dict[str, np.ndarray]], entries: Sequence[TableEntry]) -> np.ndarray:
    """What shards answer by path, in the order of the entries."""
    found = collections.ChainMap(*parts)
    try:
        return np.stack([found[entry.path] for entry in entries])
    except KeyError as error:
        raise ChangedError("the index changed during the search; search again") from error


def start(address: str) -> list[Any]:
    """Actors for `RayRanker`, one a device of a cluster, see `cluster.join`."""
    devices = cluster.join(address)
    make: Any = ray.remote(RankingActor)
    make = make.options(
        num_gpus=devices.gpus, num_cpus=0, scheduling_strategy="SPREAD", max_restarts=-1, max_task_retries=-1
    )
    return [make.remote() for _ in range(devices.count)]
