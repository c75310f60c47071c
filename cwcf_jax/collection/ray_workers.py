"""`Workers` on a Ray cluster: actors that hold the weights and what was compiled, one a device.

The photographs and the weights must have the same paths on every node, and so must the index, unless its store is at an
address. What an actor keeps goes by content and appears whole, so a task that is lost is given to another, and one that
ran twice changes nothing.
"""

import functools
import logging
import pathlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, TypeVar

import numpy as np
import ray
from jaxtyping import Float
from ray import exceptions

from cwcf_jax import compilations
from cwcf_jax.collection import cluster
from cwcf_jax.collection.encoding import Part
from cwcf_jax.collection.settings import Header, load_model
from cwcf_jax.collection.workers import Here
from cwcf_jax.descriptors import Whitening
from cwcf_jax.indexing import Progress

Task = TypeVar("Task")

CHUNK = 64
"""Pictures of a task, at most."""

AHEAD = 2
"""Tasks that an actor is given at once, so that it need not wait for the next."""

WINDOW = 4
"""Tasks an actor between two commits."""

LOSSES = 5
"""Tasks an actor that may be lost while none is finished; after that something is wrong with the work itself."""

PATIENCE = 60.0
"""Seconds until somebody hears that the cluster is full."""


class Actor:
    """One device's part of an index's encoding: `Here`, there."""

    def __init__(self, maps: str, header: Header) -> None:
        compilations.keep()
        self._here = Here(maps, functools.cache(functools.partial(load_model, header)), header.settings)

    def ready(self) -> None:
        """Answers when the actor is there."""

    def keep_maps(self, files: Mapping[str, str]) -> dict[str, str]:
        """See `Workers`."""
        paths = {content: pathlib.Path(file) for content, file in files.items()}
        return self._here.keep_maps(paths, lambda _: None)

    def keep_vectors(self, part: Part, whitening: Whitening) -> np.ndarray:
        """Descriptors, see `Workers`."""
        return next(found for _, found in self._here.keep_vectors([part], whitening))


class RayWorkers:
    """As many actors as the cluster has GPUs, or nodes where it has none."""

    def __init__(self, address: str, maps: str, header: Header) -> None:
        """``address`` and errors: see `cluster.join`; ``maps``: where they are kept."""
        devices = cluster.join(address)
        make: Any = ray.remote(Actor)
        make = make.options(num_gpus=devices.gpus, num_cpus=devices.cpus)
        self._pool = _Pool(lambda: make.remote(maps, header), devices.count)
        self._count, self.window = devices.count, CHUNK * WINDOW * devices.count

    def keep_maps(self, files: Mapping[str, pathlib.Path], progress: Progress) -> dict[str, str]:
        """See `Workers`."""
        paths = [(content, str(file.absolute())) for content, file in files.items()]
        size = min(CHUNK, -(-len(paths) // (AHEAD * self._count)) or 1)
        tasks = [dict(paths[start : start + size]) for start in range(0, len(paths), size)]
        refused: dict[str, str] = {}
        for task, found in self._pool.map(lambda actor, task: actor.keep_maps.remote(task), tasks):
            refused |= found
            progress(len(task))
        return refused

    def keep_vectors(
        self, parts: Sequence[Part], whitening: Whitening
    ) -> Iterator[tuple[Part, Float[np.ndarray, "n d"]]]:
        """See `Workers`."""
        shared = ray.put(whitening)
        yield from self._pool.map(lambda actor, part: actor.keep_vectors.remote(part, shared), parts)

    def __enter__(self) -> "RayWorkers":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.close()


class _Pool:
    """Actors that share out tasks; one that is lost is replaced, and what it had is given to others."""

    def __init__(self, make: Callable[[], Any], count: int) -> None:
        self._make, self._actors = make, [make() for _ in range(count)]

    def close(self) -> None:
        for actor in self._actors:
            ray.kill(actor)
        self._actors = []

    def map(self, start: Callable[[Any, Task], Any], tasks: Sequence[Task]) -> Iterator[tuple[Task, Any]]:
        """Tasks with their results, as they are done; errors of a task itself are raised here.

        An actor is given work once it answers, so that one that waits for a node keeps nothing waiting.

        Raises:
            RuntimeError: a task was lost again and again.
        """
        waiting, lost = deque(tasks), 0
        given: dict[Any, tuple[Any, Task]] = {}
        arriving = {actor.ready.remote(): actor for actor in self._actors}
        while waiting or given:
            if not given and not ray.wait([*arriving], timeout=PATIENCE)[0]:
                logging.warning("the cluster has had no room for an actor for %g s; still waiting", PATIENCE)
            (done, *_), _ = ray.wait([*arriving, *given])
            actor, task = (arriving.pop(done), None) if done in arriving else given.pop(done)
            try:
                found = ray.get(done)
            except (exceptions.RayActorError, exceptions.ObjectLostError) as error:
                waiting.extendleft([] if task is None else [task])
                lost += 1
                if lost > LOSSES * len(self._actors):
                    raise RuntimeError(f"{lost} tasks were lost with their actors: {error}") from error
                if actor in self._actors:
                    self._actors.remove(actor)
                    self._actors.append(replacement := self._make())
                    arriving[replacement.ready.remote()] = replacement
                continue
            busy = sum(other is actor for other, _ in given.values())
            for following in [waiting.popleft() for _ in range(min(AHEAD - busy, len(waiting)))]:
                given[start(actor, following)] = actor, following
            if task is not None:
                lost = 0
                yield task, found
