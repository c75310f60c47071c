"""Joins a Ray cluster, and shares out tasks among actors on it."""

import dataclasses
import functools
import logging
import os
import socket
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import ray
from ray import exceptions

Item = TypeVar("Item")
Task = TypeVar("Task")

CONNECT_TIMEOUT_S = 10.0
"""Seconds until an address counts as one where nobody is."""

AHEAD = 2
"""Tasks that an actor has at once, so that it need not wait for the next."""

MAX_LOSSES_PER_ACTOR = 5
"""Tasks an actor that may be lost while none is finished; after that something is wrong with the work itself."""

WARN_AFTER_S = 60.0
"""Seconds until a warning says that the cluster is full."""


@dataclasses.dataclass(frozen=True)
class ActorResources:
    """What a cluster computes on: GPUs, or where it has none, nodes; how many, and what an actor needs for one."""

    count: int
    gpus: int
    cpus: int


def join(address: str) -> ActorResources:
    """Joins a cluster: ``auto``, ``HOST:PORT`` or ``ray://HOST:PORT``; ``local`` starts one on this machine.

    Raises:
        ConnectionError: there is none at the address.
    """
    if not ray.is_initialized():
        _check_answers(os.environ.get("RAY_ADDRESS", address) if address == "auto" else address)
        with warnings.catch_warnings():  # LanceDB's, of forks; Ray's programs are other processes at once
            warnings.filterwarnings("ignore", "lancedb fork support", RuntimeWarning)
            ray.init(address=address, log_to_driver=False, logging_level=logging.WARNING)
    resources = ray.cluster_resources()  # type: ignore[no-untyped-call]
    if gpus := int(resources.get("GPU", 0)):
        return ActorResources(gpus, gpus=1, cpus=0)
    nodes: list[Any] = ray.nodes()  # type: ignore[no-untyped-call]
    cpus = [int(node["Resources"].get("CPU", 0)) for node in nodes if node["Alive"]]
    return ActorResources(len([one for one in cpus if one]), gpus=0, cpus=min(one for one in cpus if one))


def _check_answers(address: str) -> None:
    """Ray itself would try for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon and port.isdecimal():
        try:
            socket.create_connection((host, int(port)), timeout=CONNECT_TIMEOUT_S).close()
        except OSError as error:
            raise ConnectionError(f"no Ray cluster answers at {address} ({error}); start one with ray start") from error


class ActorPool:
    """Actors that share out tasks; one that is lost is replaced, and what it had is given to others.

    `ray.util.ActorPool` over actors that Ray restarts was tried: where a node was lost and none came in its place, the
    task that its actor had waited for good (39 of 40 tasks were done), while the other actors had nothing to do.
    """

    def __init__(self, devices: ActorResources, kind: type, *arguments: Any) -> None:
        """Starts an actor on each device.

        Args:
            devices: of the cluster.
            kind: class of the actors; its method ``ready()`` returns as soon as an actor is there.
            arguments: of the class.
        """
        remote: Any = ray.remote(kind)
        remote = remote.options(num_gpus=devices.gpus, num_cpus=devices.cpus)
        self._make = functools.partial(remote.remote, *arguments)
        self._actors = [self._make() for _ in range(devices.count)]

    def close(self) -> None:
        """Ends the actors."""
        for actor in self._actors:
            ray.kill(actor)
        self._actors = []

    def split(self, items: Sequence[Item], most: int) -> list[Sequence[Item]]:
        """Cuts items into pieces of ``most`` at most, smaller where that keeps every actor busy."""
        size = max(1, min(most, -(-len(items) // (AHEAD * len(self._actors)))))
        return [items[start : start + size] for start in range(0, len(items), size)]

    def map(self, start: Callable[[Any, Task], Any], tasks: Sequence[Task]) -> Iterator[tuple[Task, Any]]:
        """Yields tasks with their results as they are done; raises what a task itself raises.

        An actor gets work once it answers, so that no task waits with an actor for which there is no node.

        Raises:
            RuntimeError: a task was lost again and again.
        """
        waiting, lost = deque(tasks), 0
        given: dict[Any, tuple[Any, Task]] = {}
        arriving = {actor.ready.remote(): actor for actor in self._actors}
        while waiting or given:
            if not given and not ray.wait([*arriving], timeout=WARN_AFTER_S)[0]:
                logging.warning("the cluster has had no room for an actor for %g s; still waiting", WARN_AFTER_S)
            (done, *_), _ = ray.wait([*arriving, *given])
            actor, task = (arriving.pop(done), None) if done in arriving else given.pop(done)
            try:
                found = ray.get(done)
            except (exceptions.RayActorError, exceptions.ObjectLostError) as error:
                waiting.extendleft([] if task is None else [task])
                lost += 1
                if lost > MAX_LOSSES_PER_ACTOR * len(self._actors):
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
