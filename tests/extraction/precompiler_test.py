import threading
import time

import numpy as np
from absl.testing import absltest

from cwcf_jax.extraction import Precompiler
from cwcf_jax.images import Batch

WIDE, TALL = (128, 240), (240, 128)


def batch(bucket):
    sizes = np.array([bucket], np.int32)
    return Batch((0,), np.zeros((1, *bucket, 3), np.uint8), sizes, sizes)


class PrecompilerTest(absltest.TestCase):
    def test_each_bucket_is_compiled_once_in_another_thread_before_its_pass(self):
        compiled, threads, events = [], set(), []

        def compile_bucket(bucket):
            time.sleep(0.05)
            compiled.append(bucket)
            threads.add(threading.get_ident())

        def compute(batch):
            events.append((batch.images.shape[1:3], list(compiled)))
            return "result"

        with Precompiler(compile_bucket) as precompiler:
            for bucket in WIDE, TALL, WIDE, TALL:
                precompiler.request(bucket)
            self.assertEmpty(compiled)  # requests do not wait
            results = [precompiler.wrap(compute)(batch(bucket)) for bucket in (TALL, WIDE, TALL)]
            self.assertEqual(results, ["result"] * 3)
        self.assertCountEqual(compiled, [WIDE, TALL])
        self.assertNotIn(threading.get_ident(), threads)
        for bucket, compiled_buckets in events:
            self.assertIn(bucket, compiled_buckets)

    def test_errors_are_raised_by_the_pass(self):
        def compile_bucket(bucket):
            raise MemoryError(f"no room for {bucket}")

        with Precompiler(compile_bucket) as precompiler:
            precompiler.request(WIDE)
            with self.assertRaisesRegex(MemoryError, r"no room for \(128, 240\)"):
                precompiler.wrap(lambda batch: batch)(batch(WIDE))

    def test_pending_compilations_are_cancelled_at_the_end(self):
        started = []

        def compile_bucket(bucket):
            started.append(bucket)
            time.sleep(0.2)

        with Precompiler(compile_bucket) as precompiler:
            for side in range(1, 40):
                precompiler.request((side, side))
        self.assertLess(len(started), 39)
        self.assertNotEmpty(started)


if __name__ == "__main__":
    absltest.main()
