"""This module defines an `EncodingBackend` on a Ray cluster, with one actor for each device.

An actor keeps the weights and the compiled functions in memory. The weights must have the same path on every node, or
be found there (`weights.finding`). The photographs and the index must have the same path on every node, unless they are
at addresses. Results are stored under the content of a picture and appear in one step. So another actor repeats a lost
task, and a task that runs twice changes nothing.
"""

import functools
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType

import numpy as np
import ray
from jaxtyping import Float

from cwcf_jax import compilation_cache
from cwcf_jax.descriptors import Whitening
from cwcf_jax.extraction import Progress, cluster
from cwcf_jax.images import Picture, absolute
from cwcf_jax.index.encoding import VectorBlock
from cwcf_jax.index.encoding_backend import LocalEncoding
from cwcf_jax.index.index_config import Header, load_model

TASK_PICTURES = 64
"""The largest number of pictures of a task."""

TASKS_PER_ACTOR = 4
"""The number of tasks of each actor between two commits."""


class EncodingActor:
    """An `EncodingActor` encodes pictures with a `LocalEncoding` on one device of the cluster."""

    def __init__(self, maps: str, header: Header) -> None:
        compilation_cache.enable()
        self._encoding = LocalEncoding(
            maps, functools.cache(lambda: load_model(header.config, header.weights)[0]), header.config
        )

    def ready(self) -> None:
        """Returns when the actor has started."""

    def write_maps(self, files: Mapping[str, Picture]) -> dict[str, str]:
        """Computes and stores maps, see `EncodingBackend`."""
        return self._encoding.write_maps(files, lambda _: None)

    def write_vectors(self, block: VectorBlock, whitening: Whitening) -> np.ndarray:
        """Writes the class vectors of a block and returns the descriptors, see `EncodingBackend`."""
        return next(descriptors for _, descriptors in self._encoding.write_vectors([block], whitening))


class RayEncoding:
    """A `RayEncoding` is an `EncodingBackend` with an actor for each GPU, or for each node if there are no GPUs."""

    def __init__(self, address: str, maps: str, header: Header) -> None:
        """Starts the actors; raises the errors of `cluster.join`.

        Args:
            address: address of the cluster, see `cluster.join`.
            maps: location of the map store.
            header: header of the index.
        """
        devices = cluster.join(address)
        self._pool = cluster.ActorPool(devices, EncodingActor, maps, header)
        self.window = TASK_PICTURES * TASKS_PER_ACTOR * devices.count

    def write_maps(self, files: Mapping[str, Picture], progress: Progress) -> dict[str, str]:
        """Implements `EncodingBackend`."""
        items = [(content, absolute(file)) for content, file in files.items()]
        tasks = [dict(chunk) for chunk in self._pool.split(items, TASK_PICTURES)]
        refused: dict[str, str] = {}
        for task, refused_in_task in self._pool.map(lambda actor, task: actor.write_maps.remote(task), tasks):
            refused |= refused_in_task
            progress(len(task))
        return refused

    def write_vectors(
        self, blocks: Sequence[VectorBlock], whitening: Whitening
    ) -> Iterator[tuple[VectorBlock, Float[np.ndarray, "n d"]]]:
        """Implements `EncodingBackend`."""
        shared = ray.put(whitening)
        yield from self._pool.map(lambda actor, block: actor.write_vectors.remote(block, shared), blocks)

    def __enter__(self) -> "RayEncoding":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.close()
