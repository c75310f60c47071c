import numpy as np
from absl.testing import absltest

from cwcf_jax.extraction import compute_batches
from cwcf_jax.images import Batch, Unreadable


class PassesTest(absltest.TestCase):
    def test_the_next_batch_begins_before_a_result_is_used(self):
        events, refused = [], []

        def make_batch(index):
            return Batch((index,), np.zeros((1, 2, 2, 3), np.uint8), *2 * [np.full((1, 2), 2, np.int32)])

        def compute(batch):
            events.append(f"begin {batch.indices[0]}")
            return batch.indices[0] * 10

        unreadable = Unreadable(1, "gone")
        batches = [make_batch(0), unreadable, make_batch(2), make_batch(3)]
        for batch, result in compute_batches(batches, compute, refused, lambda count: events.append(f"done {count}")):
            events.append(f"use {batch.indices[0]}: {result}")
        self.assertEqual(
            events,
            [
                "begin 0",
                "done 1",
                "begin 2",
                "use 0: 0",
                "done 1",
                "begin 3",
                "use 2: 20",
                "done 1",
                "use 3: 30",
                "done 1",
            ],
        )
        self.assertEqual(refused, [unreadable])
        self.assertEmpty(list(compute_batches([], compute, refused, events.append)))


if __name__ == "__main__":
    absltest.main()
