"""This module defines an `EntryRanker` on a Ray cluster.

Each actor ranks the pictures in some fragments of the class-vector store. A query goes to all actors, and their exact
rankings are merged. Ray restarts a lost actor, which reads its fragments again. The query then takes longer or fails at
its deadline, but its result is never wrong.
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
    """A `RankingShare` says which pictures an actor ranks.

    Attributes:
        paths: paths of the generation.
        version: version of the table.
        rows: rows of the class-vector store; the actor ranks the pictures in these rows.
    """

    paths: GenerationPaths
    version: int
    rows: range


class ChangedError(RuntimeError):
    """Raised when the table has a later version than a share or a request."""


class RankingActor:
    """A `RankingActor` ranks the pictures of a share.

    The share is an argument of every method, so that a restarted actor can read its pictures again.
    """

    def __init__(self) -> None:
        compilation_cache.enable()
        self._opened: tuple[RankingShare, LocalRanker] | None = None

    def best(self, share: RankingShare, query: np.ndarray, class_ids: np.ndarray | None, count: int) -> RankedEntries:
        """Returns the best pictures of the share, see `EntryRanker`."""
        return self._ranker(share).best(jnp.asarray(query), class_ids, count)

    def vectors(
        self, share: RankingShare, entries: Sequence[TableEntry], class_ids: np.ndarray | None
    ) -> dict[str, np.ndarray]:
        """Returns the descriptors of the pictures that belong to the share, by path; see `EntryRanker`."""
        own_entries = [entry for entry in entries if entry.row in share.rows]
        if not own_entries:
            return {}
        vectors = self._ranker(share).vectors(own_entries, class_ids)
        return {entry.path: vector for entry, vector in zip(own_entries, vectors, strict=True)}

    def regions(self, share: RankingShare, entries: Sequence[TableEntry]) -> dict[str, np.ndarray]:
        """Returns the region descriptors of the pictures that belong to the share, by path; see `EntryRanker`."""
        own_entries = [entry for entry in entries if entry.row in share.rows]
        if not own_entries:
            return {}
        regions = self._ranker(share).regions(own_entries)
        return {entry.path: vectors for entry, vectors in zip(own_entries, regions, strict=True)}

    def entry(self, share: RankingShare, path: str) -> TableEntry | None:
        """Returns the entry of a picture, or None if the picture does not belong to the share."""
        try:
            return self._ranker(share).entry(path)
        except KeyError:
            return None

    def picture_sizes(self, share: RankingShare) -> collections.Counter[tuple[int, int]]:
        """Returns the number of pictures of each size in the share, see `EntryRanker`."""
        return self._ranker(share).picture_sizes()

    def _ranker(self, share: RankingShare) -> LocalRanker:
        if self._opened is None or self._opened[0] != share:
            self._opened = None  # frees the memory of the previous share first
            remote = "://" in share.paths.vectors
            ranker = LocalRanker(share.paths, share.rows, resident=True if remote else None)
            if ranker.snapshot.version != share.version:
                raise ChangedError(f"version {ranker.snapshot.version} instead of {share.version}")
            self._opened = share, ranker
        return self._opened[1]


class RayRanker:
    """A `RayRanker` ranks the pictures of a generation with the actors of a cluster."""

    def __init__(self, paths: GenerationPaths, actors: Sequence[Any], deadline: float) -> None:
        """Lets the actors read their fragments.

        Args:
            paths: paths of the generation.
            actors: the actors of `start_actors`.
            deadline: time in which all actors must answer a request, seconds.
        """
        self._paths, self._actors, self._deadline = paths, actors, deadline
        self._table = open_table(paths)
        self._distribute()

    def __len__(self) -> int:
        return self._picture_sizes.total()

    def is_current(self) -> bool:
        """Implements `EntryRanker`."""
        return self._table.version() == self._version

    def best(self, query: Any, class_ids: np.ndarray | None, count: int) -> RankedEntries:
        """Implements `EntryRanker`.

        Raises:
            TimeoutError: an actor did not answer before the deadline.
        """
        return merge(self._request(RankingActor.best, np.asarray(query), class_ids, count), count)

    def vectors(self, entries: Sequence[TableEntry], class_ids: np.ndarray | None) -> Float[np.ndarray, "n d"]:
        """Implements `EntryRanker`; raises the errors of `best`."""
        return _stack_in_order(self._request(RankingActor.vectors, tuple(entries), class_ids), entries)

    def regions(self, entries: Sequence[TableEntry]) -> Float[np.ndarray, "n t d"]:
        """Implements `EntryRanker`; raises the errors of `best`."""
        return _stack_in_order(self._request(RankingActor.regions, tuple(entries)), entries)

    def entry(self, path: str) -> TableEntry:
        """Implements `EntryRanker`; raises the errors of `best`."""
        for entry in self._request(RankingActor.entry, path):
            if entry is not None:
                return entry
        raise KeyError(path)

    def picture_sizes(self) -> collections.Counter[tuple[int, int]]:
        """Implements `EntryRanker`."""
        return self._picture_sizes

    def _distribute(self) -> None:
        """Distributes the current pictures over the actors, and waits until all actors have read their pictures."""
        self._version = self._table.version()
        store = ClassVectorStore(self._paths.vectors)
        size, fragments = store.layout.fragment, len(store.shards())
        starts = [fragments * i // len(self._actors) * size for i in range(len(self._actors))]
        stops = [*starts[1:], store.length]
        self._shares = [
            RankingShare(self._paths, self._version, range(start, stop))
            for start, stop in zip(starts, stops, strict=True)
        ]
        self._picture_sizes = collections.Counter[tuple[int, int]]()
        for sizes in self._request(RankingActor.picture_sizes):
            self._picture_sizes += sizes

    def _request(self, method: Callable[..., Answer], *arguments: Any) -> list[Answer]:
        """Returns the answers of all actors; if the index has changed, the answers for its latest version."""
        while True:
            requests = [
                getattr(actor, method.__name__).remote(share, *arguments)
                for actor, share in zip(self._actors, self._shares, strict=True)
            ]
            try:
                return list(ray.get(requests, timeout=self._deadline))
            except ChangedError:
                self._distribute()
            except exceptions.GetTimeoutError as error:
                _, unanswered = ray.wait(requests, num_returns=len(requests), timeout=0)
                raise TimeoutError(
                    f"{len(unanswered)} of {len(requests)} actors did not answer within {self._deadline:g} s; search "
                    "again when their nodes are back, or with a longer deadline"
                ) from error


def _stack_in_order(answers: Sequence[dict[str, np.ndarray]], entries: Sequence[TableEntry]) -> np.ndarray:
    """Stacks the actors' arrays, which are given by path, in the order of the entries."""
    arrays = collections.ChainMap(*answers)
    try:
        return np.stack([arrays[entry.path] for entry in entries])
    except KeyError as error:
        raise ChangedError("the index changed during the search; search again") from error


def start_actors(address: str) -> list[Any]:
    """Starts the actors of a `RayRanker`, one for each device of the cluster; see `cluster.join`."""
    devices = cluster.join(address)
    remote: Any = ray.remote(RankingActor)
    remote = remote.options(
        num_gpus=devices.gpus, num_cpus=0, scheduling_strategy="SPREAD", max_restarts=-1, max_task_retries=-1
    )
    return [remote.remote() for _ in range(devices.count)]
