"""This module joins a Ray cluster and distributes tasks among actors on the cluster."""

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
"""The time after which an address counts as unreachable."""

TASKS_PER_ACTOR = 2
"""The number of tasks that an actor has at once, so that it need not wait for the next task."""

MAX_LOSSES_PER_ACTOR = 5
"""The number of tasks per actor that may be lost while no task is finished.

More losses mean that the work itself fails.
"""

WARN_AFTER_S = 60.0
"""The time without a free actor after which a warning is logged."""


@dataclasses.dataclass(frozen=True)
class ActorResources:
    """An `ActorResources` says how many actors a cluster runs, and what each actor needs.

    Attributes:
        count: number of actors: one for each GPU, or one for each node of a cluster without GPUs.
        gpus: number of GPUs of an actor, 1 or 0.
        cpus: number of CPUs of an actor; 0 where it has a GPU.
    """

    count: int
    gpus: int
    cpus: int


def join(address: str) -> ActorResources:
    """Joins a cluster at ``auto``, ``HOST:PORT`` or ``ray://HOST:PORT``, or starts one on this machine (``local``).

    Raises:
        ConnectionError: no cluster answers at the address.
    """
    if not ray.is_initialized():
        _check_answers(os.environ.get("RAY_ADDRESS", address) if address == "auto" else address)
        with warnings.catch_warnings():  # LanceDB warns of forks, but forks by Ray start other programs at once
            warnings.filterwarnings("ignore", "lancedb fork support", RuntimeWarning)
            ray.init(address=address, log_to_driver=False, logging_level=logging.WARNING)
    resources = ray.cluster_resources()  # type: ignore[no-untyped-call]
    if gpus := int(resources.get("GPU", 0)):
        return ActorResources(gpus, gpus=1, cpus=0)
    nodes: list[Any] = ray.nodes()  # type: ignore[no-untyped-call]
    node_cpus = [int(node["Resources"].get("CPU", 0)) for node in nodes if node["Alive"]]
    node_cpus = [cpus for cpus in node_cpus if cpus]
    return ActorResources(len(node_cpus), gpus=0, cpus=min(node_cpus))


def _check_answers(address: str) -> None:
    """Checks that a cluster answers at an address; Ray itself would try for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon and port.isdecimal():
        try:
            socket.create_connection((host, int(port)), timeout=CONNECT_TIMEOUT_S).close()
        except OSError as error:
            raise ConnectionError(f"no Ray cluster answers at {address} ({error}); start one with ray start") from error


class ActorPool:
    """An `ActorPool` distributes tasks among actors; a lost actor is replaced, and other actors run its tasks.

    `ray.util.ActorPool` over actors that Ray restarts is no alternative: if a node is lost and not replaced, the tasks
    of its actor wait forever, while the other actors are idle (measured: 39 of 40 tasks finished).
    """

    def __init__(self, resources: ActorResources, actor_class: type, *arguments: Any) -> None:
        """Starts the actors.

        Args:
            resources: number of actors, and the resources that each needs.
            actor_class: class of the actors; its method ``ready()`` returns as soon as an actor is started.
            arguments: arguments of the class.
        """
        remote: Any = ray.remote(actor_class)
        remote = remote.options(num_gpus=resources.gpus, num_cpus=resources.cpus)
        self._start_actor = functools.partial(remote.remote, *arguments)
        self._actors = [self._start_actor() for _ in range(resources.count)]

    def close(self) -> None:
        """Ends the actors."""
        for actor in self._actors:
            ray.kill(actor)
        self._actors = []

    def split(self, items: Sequence[Item], max_size: int) -> list[Sequence[Item]]:
        """Splits items into pieces of at most ``max_size`` items, smaller if this keeps every actor busy."""
        size = max(1, min(max_size, -(-len(items) // (TASKS_PER_ACTOR * len(self._actors)))))
        return [items[start : start + size] for start in range(0, len(items), size)]

    def map(self, start: Callable[[Any, Task], Any], tasks: Sequence[Task]) -> Iterator[tuple[Task, Any]]:
        """Yields tasks with their results as they finish; raises the errors that a task raises.

        An actor gets tasks only after it has answered, so that no task waits for an actor without a node.

        Args:
            start: function that starts a task on an actor and returns the reference of the result.
            tasks: tasks of any kind.

        Raises:
            RuntimeError: too many actors were lost with their tasks.
        """
        pending, lost = deque(tasks), 0
        running: dict[Any, tuple[Any, Task]] = {}
        starting = {actor.ready.remote(): actor for actor in self._actors}
        while pending or running:
            if not running and not ray.wait([*starting], timeout=WARN_AFTER_S)[0]:
                logging.warning(
                    "no actor has started within %g s, since the cluster has no free resources; still waiting",
                    WARN_AFTER_S,
                )
            (finished, *_), _ = ray.wait([*starting, *running])
            actor, task = (starting.pop(finished), None) if finished in starting else running.pop(finished)
            try:
                result = ray.get(finished)
            except (exceptions.RayActorError, exceptions.ObjectLostError) as error:
                pending.extendleft([] if task is None else [task])
                lost += 1
                if lost > MAX_LOSSES_PER_ACTOR * len(self._actors):
                    raise RuntimeError(f"{lost} tasks were lost with their actors: {error}") from error
                if actor in self._actors:
                    self._actors.remove(actor)
                    self._actors.append(replacement := self._start_actor())
                    starting[replacement.ready.remote()] = replacement
                continue
            num_running = sum(other is actor for other, _ in running.values())
            for new_task in [pending.popleft() for _ in range(min(TASKS_PER_ACTOR - num_running, len(pending)))]:
                running[start(actor, new_task)] = actor, new_task
            if task is not None:
                lost = 0
                yield task, result
