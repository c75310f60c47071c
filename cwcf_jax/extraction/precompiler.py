"""This module compiles passes in threads while the device works."""

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
"""The number of concurrent compilations; a compilation uses about one thread."""


class Precompiler:
    """A `Precompiler` compiles the pass of each bucket as soon as a picture of the bucket is decoded."""

    def __init__(self, compile_bucket: Callable[[Shape], object]) -> None:
        """Starts no thread yet; ``compile_bucket`` is called once for each bucket, in a thread."""
        self._compile, self._futures = compile_bucket, dict[Shape, concurrent.futures.Future[object]]()
        self._pool, self._lock = concurrent.futures.ThreadPoolExecutor(THREADS), threading.Lock()

    def request(self, bucket: Shape) -> None:
        """Starts to compile the pass of a bucket, unless that was started before; called by `images.read_batches`."""
        with self._lock:
            if bucket not in self._futures:
                self._futures[bucket] = self._pool.submit(self._compile, bucket)

    def wrap(self, compute: Callable[[Batch], Result]) -> Callable[[Batch], Result]:
        """Returns ``compute`` for `compute_batches`, which first waits for the compilation and raises its errors."""

        def wait_and_compute(batch: Batch) -> Result:
            self._futures[batch.images.shape[1:3]].result()
            return compute(batch)

        return wait_and_compute

    def __enter__(self) -> "Precompiler":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=True)
