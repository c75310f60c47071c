"""Compilation while the device works."""

import concurrent.futures
import threading
from collections.abc import Callable
from types import TracebackType
from typing import TypeVar

from cwcf_jax.arrays import Shape
from cwcf_jax.images import Batch
from cwcf_jax.images.batches import DECODERS

Result = TypeVar("Result")

THREADS = max(1, DECODERS // 4)
"""Compilations at once; each is one thread's work mostly."""


class Precompiler:
    """Compiles the pass of each bucket as soon as a picture of it is decoded."""

    def __init__(self, compile_bucket: Callable[[Shape], object]) -> None:
        """``compile_bucket``: called once a bucket, in a thread."""
        self._compile, self._begun = compile_bucket, dict[Shape, concurrent.futures.Future[object]]()
        self._pool, self._lock = concurrent.futures.ThreadPoolExecutor(THREADS), threading.Lock()

    def request(self, bucket: Shape) -> None:
        """For `images.read_batches`."""
        with self._lock:
            if bucket not in self._begun:
                self._begun[bucket] = self._pool.submit(self._compile, bucket)

    def wrap(self, compute: Callable[[Batch], Result]) -> Callable[[Batch], Result]:
        """For `compute_batches`: ``compute``, once its batch's bucket is compiled; errors of that are raised there."""

        def compiled(batch: Batch) -> Result:
            self._begun[batch.images.shape[1:3]].result()
            return compute(batch)

        return compiled

    def __enter__(self) -> "Precompiler":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=True)
