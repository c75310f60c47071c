"""`Workers` on a Ray cluster: actors that hold the weights and what was compiled, one a device.

The folder of photographs, the index and the weights must have the same paths on every node. What an actor keeps goes by
content and appears whole, so a task that is lost is given to another, and one that ran twice changes nothing.
"""

import functools
import logging
import pathlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, TypeVar

import jax
import numpy as np
import ray
from ray import exceptions

from cwcf_jax.collection import encoding
from cwcf_jax.collection.encoding import Described
from cwcf_jax.collection.settings import Header, load_model, maps_folder
from cwcf_jax.datasets import Resize
from cwcf_jax.descriptors import Whitening
from cwcf_jax.encoder import Model
from cwcf_jax.indexing import Extraction, Progress

Task = TypeVar("Task")

CHUNK = 16
"""Pictures of a task."""

AHEAD = 2
"""Tasks that an actor has waiting, so that it need not."""


class Actor:
    """One device's part of an index's encoding."""

    def __init__(self, folder: str, header: Header) -> None:
        self._folder, self._header = maps_folder(pathlib.Path(folder)), header

    @functools.cached_property
    def _model(self) -> Model:
        return load_model(self._header)

    def ready(self) -> None:
        """Answers when the actor is there."""

    def keep_maps(self, files: Mapping[str, str]) -> dict[str, str]:
        """See `encoding.keep_maps`."""
        extraction = Extraction(Resize.parse(self._header.settings.resize))
        paths = {content: pathlib.Path(file) for content, file in files.items()}
        return encoding.keep_maps(self._folder, self._model, extraction, paths, lambda _: None)

    def describe(self, contents: Sequence[str], whitening: Whitening) -> dict[str, Described]:
        """See `encoding.describe`; the whitening's arrays are numpy's, as they travel."""
        return encoding.describe(self._folder, contents, self._model, whitening, self._header.settings.num_classes)


class RayWorkers:
    """As many actors as the cluster has GPUs, or nodes where it has none."""

    def __init__(self, address: str, folder: pathlib.Path, header: Header) -> None:
        """Joins a cluster: ``auto``, ``HOST:PORT`` or ``ray://HOST:PORT``; ``local`` starts one on this machine.

        Raises:
            ConnectionError: there is none at the address.
        """
        if not ray.is_initialized():
            ray.init(address=address, log_to_driver=False, logging_level=logging.WARNING)
        resources = ray.cluster_resources()  # type: ignore[no-untyped-call]
        gpus = int(resources.get("GPU", 0))
        nodes = sum(node["Alive"] for node in ray.nodes())  # type: ignore[no-untyped-call]
        needs = {"num_gpus": 1} if gpus else {"num_cpus": max(1, int(resources.get("CPU", 1)) // nodes)}
        make: Any = ray.remote(Actor)
        make = make.options(**needs)
        self._pool = _Pool(lambda: make.remote(str(folder), header), gpus or nodes)
        self.window = CHUNK * AHEAD * (gpus or nodes)

    def keep_maps(self, files: Mapping[str, pathlib.Path], progress: Progress) -> dict[str, str]:
        """See `Workers`."""
        tasks = [{content: str(files[content].absolute()) for content in part} for part in _chunks(list(files))]
        refused: dict[str, str] = {}
        for task, found in self._pool.map(lambda actor, task: actor.keep_maps.remote(task), tasks):
            refused |= found
            progress(len(task))
        return refused

    def describe(self, contents: Sequence[str], whitening: Whitening) -> dict[str, Described]:
        """See `Workers`."""
        shared = ray.put(jax.tree.map(np.asarray, whitening))
        described: dict[str, Described] = {}
        for _, found in self._pool.map(lambda actor, task: actor.describe.remote(task, shared), _chunks(contents)):
            described |= found
        return described

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
        """
        waiting = deque(tasks)
        given: dict[Any, tuple[Any, Task]] = {}
        arriving = {actor.ready.remote(): actor for actor in self._actors}
        while waiting or given:
            (done, *_), _ = ray.wait([*arriving, *given])
            actor, task = (arriving.pop(done), None) if done in arriving else given.pop(done)
            try:
                found = ray.get(done)
            except exceptions.RayActorError:
                waiting.extendleft([] if task is None else [task])
                if actor in self._actors:
                    self._actors.remove(actor)
                    self._actors.append(replacement := self._make())
                    arriving[replacement.ready.remote()] = replacement
                continue
            busy = sum(other is actor for other, _ in given.values())
            for following in [waiting.popleft() for _ in range(min(AHEAD - busy, len(waiting)))]:
                given[start(actor, following)] = actor, following
            if task is not None:
                yield task, found


def _chunks(contents: Sequence[str]) -> list[Sequence[str]]:
    return [contents[start : start + CHUNK] for start in range(0, len(contents), CHUNK)]
