"""`EncodingBackend` on a Ray cluster: actors that hold the weights and what was compiled, one a device.

The weights must have the same path on every node, or be found there by themselves. The photographs and the index must
have the same path, unless they and its store are at addresses. What an actor keeps goes by content and appears whole,
so a task that is lost is given to another, and one that ran twice changes nothing.
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

CHUNK = 64
"""Pictures of a task, at most."""

WINDOW = 4
"""Tasks an actor between two commits."""


class EncodingActor:
    """One device's part of an index's encoding: `LocalEncoding`, there."""

    def __init__(self, maps: str, header: Header) -> None:
        compilation_cache.enable()
        self._here = LocalEncoding(
            maps, functools.cache(lambda: load_model(header.settings, header.weights)[0]), header.settings
        )

    def ready(self) -> None:
        """Answers when the actor is there."""

    def keep_maps(self, files: Mapping[str, Picture]) -> dict[str, str]:
        """See `EncodingBackend`."""
        return self._here.keep_maps(files, lambda _: None)

    def keep_vectors(self, part: VectorBlock, whitening: Whitening) -> np.ndarray:
        """Descriptors, see `EncodingBackend`."""
        return next(found for _, found in self._here.keep_vectors([part], whitening))


class RayEncoding:
    """As many actors as the cluster has GPUs, or nodes where it has none."""

    def __init__(self, address: str, maps: str, header: Header) -> None:
        """``address`` and errors: see `cluster.join`; ``maps``: where they are kept."""
        devices = cluster.join(address)
        self._pool = cluster.ActorPool(devices, EncodingActor, maps, header)
        self.window = CHUNK * WINDOW * devices.count

    def keep_maps(self, files: Mapping[str, Picture], progress: Progress) -> dict[str, str]:
        """See `EncodingBackend`."""
        items = [(content, absolute(file)) for content, file in files.items()]
        tasks = [dict(piece) for piece in self._pool.split(items, CHUNK)]
        refused: dict[str, str] = {}
        for task, found in self._pool.map(lambda actor, task: actor.keep_maps.remote(task), tasks):
            refused |= found
            progress(len(task))
        return refused

    def keep_vectors(
        self, parts: Sequence[VectorBlock], whitening: Whitening
    ) -> Iterator[tuple[VectorBlock, Float[np.ndarray, "n d"]]]:
        """See `EncodingBackend`."""
        shared = ray.put(whitening)
        yield from self._pool.map(lambda actor, part: actor.keep_vectors.remote(part, shared), parts)

    def __enter__(self) -> "RayEncoding":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.close()
