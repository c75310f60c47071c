"""This module fills stores on a Ray cluster: actors compute rows and maps, and this process writes them.

The pictures must have the same paths on every node. The weights are sent to the nodes.
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

TASK_PICTURES = 16
"""The largest number of pictures in a task; all rows of a task are in memory, 2 MB a row for 1,000 classes."""


class RayFiller:
    """A `RayFiller` fills stores on a cluster, with one actor for each GPU, or for each node if there are no GPUs."""

    def __init__(self, address: str, model: Model) -> None:
        """Joins the cluster at an address; address and errors as in `cluster.join`."""
        self.model, self._resources = model, cluster.join(address)

    @functools.cached_property
    def _pool(self) -> cluster.ActorPool:
        """Starts the actors at the first task."""
        return cluster.ActorPool(self._resources, FillingActor, ray.put(jax.device_get(self.model)))

    def close(self) -> None:
        """Ends the actors."""
        if "_pool" in self.__dict__:
            self._pool.close()

    def fill_store(
        self, store: PooledStore, images: ImageSet, extraction: ExtractionConfig, *, queries: bool, progress: Progress
    ) -> list[str]:
        """Fills a store by the actors, see `extraction.fill_store`."""
        missing = store.missing().tolist()
        progress(store.length - len(missing))
        return self._fill("fill_store", store.write, images, missing, (extraction, queries), progress)

    def fill_maps(
        self, store: MapStore, images: ImageSet, extraction: ExtractionConfig, rows: np.ndarray, *, progress: Progress
    ) -> list[str]:
        """Writes missing maps by `extraction.model_maps` on the actors, see `extraction.fill_maps`."""
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

        for task, (rows, refused) in self._pool.map(start, self._pool.split(missing, TASK_PICTURES)):
            for index, row in rows.items():
                write(index, **row)
            progress(len(task))
            left_out += refused
        return left_out


class FillingActor:
    """A `FillingActor` computes rows and maps on one device of the cluster."""

    def __init__(self, model: Model) -> None:
        compilation_cache.enable()
        self._model = encoder.replicate(model)

    def ready(self) -> None:
        """Returns as soon as the actor is started."""

    def fill_store(
        self, images: ImageSet, indices: Sequence[int], extraction: ExtractionConfig, queries: bool
    ) -> tuple[dict[int, dict[str, np.ndarray]], list[str]]:
        """Computes rows of a `PooledStore`; returns them, and the reasons for missing rows."""
        collector = Collector(indices)
        left_out = filling.fill_store(collector, self._model, images, extraction, queries=queries, progress=ignore)
        return collector.rows, left_out

    def fill_maps(
        self, images: ImageSet, indices: Sequence[int], extraction: ExtractionConfig
    ) -> tuple[dict[int, dict[str, np.ndarray]], list[str]]:
        """Computes maps for a `MapStore`; returns them, and the reasons for missing maps."""
        collector = Collector(indices)
        filler = filling.Filler(self._model)
        left_out = filler.fill_maps(collector, images, extraction, np.array(indices), progress=ignore)
        return collector.rows, left_out


class Collector:
    """A `Collector` is a `RowSink` and a `MapSink` that collects rows in memory for a store on another machine.

    Attributes:
        length: number of rows to collect.
        rows: collected rows by index.
    """

    def __init__(self, indices: Sequence[int]) -> None:
        self.length, self.rows = len(indices), dict[int, dict[str, np.ndarray]]()
        self._indices = np.array(indices)

    def missing(self, among: Sequence[int] | None = None) -> np.ndarray:
        """Returns all rows that the store lacks."""
        del among
        return self._indices

    def write(self, index: int, /, **row: np.ndarray) -> None:
        """Collects a row."""
        self.rows[index] = row


def _absolute(images: ImageSet) -> ImageSet:
    """Returns the dataset with absolute paths, which do not depend on a process's working directory."""
    queries = [
        query if query.picture is None else dataclasses.replace(query, picture=absolute(query.picture))
        for query in images.queries
    ]
    return dataclasses.replace(images, paths=tuple(map(absolute, images.paths)), queries=tuple(queries))
