"""Does on a Ray cluster what `Filler` does in one process: actors compute rows and maps, this process writes them.

The pictures must have the same paths on every node; the weights travel.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
import ray

from cwcf_jax import compilation_cache, encoder
from cwcf_jax.encoder import Model
from cwcf_jax.extraction import cluster, filling
from cwcf_jax.extraction.config import ExtractionConfig
from cwcf_jax.extraction.streaming import Progress, ignore
from cwcf_jax.images import ImageSet, absolute
from cwcf_jax.store import MapStore, PooledStore

CHUNK = 16
"""Pictures of a task, at most: a row of 1,000 classes has 2 MB, and all of a task's wait in memory."""


class RayFiller:
    """A model on as many actors as the cluster has GPUs, or nodes where it has none."""

    def __init__(self, address: str, model: Model) -> None:
        """``address`` and errors: see `cluster.join`."""
        self.model, self._devices = model, cluster.join(address)

    @functools.cached_property
    def _pool(self) -> cluster.ActorPool:
        """Starts the actors when there is something to do."""
        return cluster.ActorPool(self._devices, FillingActor, ray.put(jax.device_get(self.model)))

    def close(self) -> None:
        """Ends the actors."""
        if "_pool" in self.__dict__:
            self._pool.close()

    def fill_store(
        self, store: PooledStore, images: ImageSet, extraction: ExtractionConfig, *, queries: bool, progress: Progress
    ) -> list[str]:
        """See `extraction.fill_store`."""
        missing = store.missing().tolist()
        progress(store.length - len(missing))
        return self._fill("fill_store", store.write, images, missing, (extraction, queries), progress)

    def fill_maps(
        self, store: MapStore, images: ImageSet, extraction: ExtractionConfig, rows: np.ndarray, *, progress: Progress
    ) -> list[str]:
        """See `extraction.fill_maps`, with `extraction.model_maps`."""
        missing = store.missing(rows.tolist())
        progress(len(rows) - len(missing))
        return self._fill("fill_maps", store.write, images, missing, (extraction,), progress)

    def _fill(
        self,
        method: str,
        write: Callable[..., None],
        images: ImageSet,
        missing: Sequence[int],
        arguments: tuple[Any, ...],
        progress: Progress,
    ) -> list[str]:
        left_out: list[str] = []
        if not missing:
            return left_out
        shared = ray.put(_absolute(images))

        def start(actor: Any, task: Sequence[int]) -> Any:
            return getattr(actor, method).remote(shared, task, *arguments)

        for task, (rows, refused) in self._pool.map(start, self._pool.split(missing, CHUNK)):
            for index, row in rows.items():
                write(index, **row)
            progress(len(task))
            left_out += refused
        return left_out


class FillingActor:
    """Computes rows and maps on one device of the cluster."""

    def __init__(self, model: Model) -> None:
        compilation_cache.enable()
        self._model = encoder.replicate(model)

    def ready(self) -> None:
        """Answers when the actor is there."""

    def fill_store(
        self, images: ImageSet, wanted: Sequence[int], extraction: ExtractionConfig, queries: bool
    ) -> tuple[dict[int, dict[str, np.ndarray]], list[str]]:
        """Rows of a `PooledStore`, and why some are missing."""
        collector = Collector(wanted)
        left_out = filling.fill_store(collector, self._model, images, extraction, queries=queries, progress=ignore)
        return collector.rows, left_out

    def fill_maps(
        self, images: ImageSet, wanted: Sequence[int], extraction: ExtractionConfig
    ) -> tuple[dict[int, dict[str, np.ndarray]], list[str]]:
        """Rows of a `MapStore`, and why some are missing."""
        collector = Collector(wanted)
        filler = filling.Filler(self._model)
        left_out = filler.fill_maps(collector, images, extraction, np.array(wanted), progress=ignore)
        return collector.rows, left_out


class Collector:
    """Collects in memory the rows that a store on another machine lacks: a `RowSink` and a `MapSink`."""

    def __init__(self, wanted: Sequence[int]) -> None:
        self.length, self.rows = len(wanted), dict[int, dict[str, np.ndarray]]()
        self._wanted = np.array(wanted)

    def missing(self, among: Sequence[int] | None = None) -> np.ndarray:
        """All rows that the store lacks."""
        del among
        return self._wanted

    def write(self, index: int, /, **row: np.ndarray) -> None:
        """Keeps a row."""
        self.rows[index] = row


def _absolute(images: ImageSet) -> ImageSet:
    """With paths that mean the same wherever a process was started."""
    queries = [
        query if query.picture is None else dataclasses.replace(query, picture=absolute(query.picture))
        for query in images.queries
    ]
    return dataclasses.replace(images, paths=tuple(map(absolute, images.paths)), queries=tuple(queries))
