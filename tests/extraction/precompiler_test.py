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
    def test_once_a_bucket_in_another_thread_and_before_its_pass(self):
        compiled, threads, events = [], set(), []

        def compile_bucket(bucket):
            time.sleep(0.05)
            compiled.append(bucket)
            threads.add(threading.get_ident())

        def compute(one):
            events.append((one.images.shape[1:3], list(compiled)))
            return "made"

        with Precompiler(compile_bucket) as precompiler:
            for bucket in WIDE, TALL, WIDE, TALL:
                precompiler.request(bucket)
            self.assertEmpty(compiled)  # nobody waits
            self.assertEqual([precompiler.wrap(compute)(batch(bucket)) for bucket in (TALL, WIDE, TALL)], ["made"] * 3)
        self.assertCountEqual(compiled, [WIDE, TALL])
        self.assertNotIn(threading.get_ident(), threads)
        for bucket, before in events:
            self.assertIn(bucket, before)

    def test_errors_are_raised_by_the_pass(self):
        def compile_bucket(bucket):
            raise MemoryError(f"no room for {bucket}")

        with Precompiler(compile_bucket) as precompiler:
            precompiler.request(WIDE)
            with self.assertRaisesRegex(MemoryError, r"no room for \(128, 240\)"):
                precompiler.wrap(lambda one: one)(batch(WIDE))

    def test_what_is_not_needed_any_more_is_not_begun(self):
        begun = []

        def compile_bucket(bucket):
            begun.append(bucket)
            time.sleep(0.2)

        with Precompiler(compile_bucket) as precompiler:
            for side in range(1, 40):
                precompiler.request((side, side))
        self.assertLess(len(begun), 39)
        self.assertNotEmpty(begun)


if __name__ == "__main__":
    absltest.main()
