import errno
import os
from unittest import mock

import numpy as np
from absl.testing import absltest, parameterized

from cwcf_jax.store import PooledScales, PooledStore
from cwcf_jax.store import rows as rows_module
from tests.store.pooled_stores import CLASSES, DIM, FIELDS, FINGERPRINT, LENGTH, StoreCase, make_row


class RowsTest(StoreCase):
    def test_a_new_store_is_empty(self):
        with self.open() as store:
            self.assertEqual(store.length, LENGTH)
            self.assertEqual(store.done.dtype, bool)
            np.testing.assert_array_equal(store.done, [False] * LENGTH)
            np.testing.assert_array_equal(store.missing(), range(LENGTH))
            self.assertEqual(store.class_sums.shape, (LENGTH, CLASSES, DIM))
            self.assertEqual(store.logits.shape, (LENGTH, CLASSES))
            self.assertEqual(store.sums.shape, (LENGTH, DIM))
            self.assertEqual(store.channel_weights.shape, (LENGTH, DIM))

    def test_rows_are_read_back_at_once_and_after_reopening(self):
        with self.open() as store:
            for index in (4, 0, 2):
                store.write(index, **make_row(index))
                self.assert_row(store, index)
            np.testing.assert_array_equal(store.done, [True, False, True, False, True])
        with self.open() as store:
            np.testing.assert_array_equal(store.missing(), [1, 3])
            for index in (0, 2, 4):
                self.assert_row(store, index)
            for index in (1, 3):
                store.write(index, **make_row(index))
            self.assertEmpty(store.missing())
            for index in range(LENGTH):
                self.assert_row(store, index)

    def test_a_row_can_be_written_again(self):
        with self.open() as store:
            store.write(1, **make_row(9))
            store.write(1, **make_row(1))
            self.assert_row(store, 1)
            np.testing.assert_array_equal(store.missing(), [0, 2, 3, 4])

    def test_the_files_are_flat_float32(self):
        self.fill(*range(LENGTH))
        for name in FIELDS:
            expected = np.stack([make_row(index)[name] for index in range(LENGTH)])
            self.assertEqual((self.folder / f"{name}.f32").read_bytes(), expected.astype("<f4").tobytes())
        self.assertEqual((self.folder / "done").read_bytes(), b"\1" * LENGTH)

    def test_other_layouts_and_types_are_converted(self):
        row = {name: np.asfortranarray(value.astype(np.float64)) for name, value in make_row(3).items()}
        row["sums"] = np.repeat(make_row(3)["sums"], 2)[::2].astype(">f4")
        with self.open() as store:
            store.write(3, **row)
            self.assert_row(store, 3)

    def test_arrays_cannot_be_written_to(self):
        with self.open() as store:
            for name in FIELDS:
                with self.assertRaises(ValueError):
                    getattr(store, name)[0] = 1.0

    @parameterized.parameters(*FIELDS)
    def test_wrong_shape(self, name):
        row = make_row(0)
        shape = row[name].shape
        for wrong in (row[name][:-1], row[name][None], np.repeat(row[name], 2, axis=0)):
            with self.open() as store:
                with self.assertRaises(ValueError) as caught:
                    store.write(0, **(row | {name: wrong}))
                self.assertEqual(str(caught.exception), f"{name} must have shape {shape}, not {wrong.shape}")
                self.assertFalse(store.done.any())

    def test_a_refused_row_leaves_the_old_one(self):
        with self.open() as store:
            store.write(1, **make_row(1))
            with self.assertRaisesRegex(ValueError, "logits must have shape"):
                store.write(1, **(make_row(2) | {"logits": np.zeros(CLASSES + 1, np.float32)}))
            self.assert_row(store, 1)

    @parameterized.parameters(LENGTH, LENGTH + 100, -1)
    def test_no_such_row(self, index):
        with self.open() as store:
            with self.assertRaises(IndexError):
                store.write(index, **make_row(0))
            self.assertFalse(store.done.any())
        self.assertEqual((self.folder / "sums.f32").stat().st_size, 4 * LENGTH * DIM)

    def test_short_writes_are_continued(self):
        pwrite = os.pwrite
        with (
            self.open() as store,
            mock.patch.object(rows_module.os, "pwrite", lambda file, data, offset: pwrite(file, data[:5], offset)),
        ):
            store.write(2, **make_row(2))
            self.assert_row(store, 2)
            np.testing.assert_array_equal(np.flatnonzero(store.done), [2])

    @parameterized.parameters(range(5))
    def test_a_row_that_failed_halfway_is_not_done(self, good_writes):
        pwrite, remaining = os.pwrite, [good_writes]

        def failing(file, data, offset):
            if not remaining[0]:
                raise OSError(errno.ENOSPC, "disk full")
            remaining[0] -= 1
            return pwrite(file, data, offset)

        with self.open() as store:
            with mock.patch.object(rows_module.os, "pwrite", failing), self.assertRaisesRegex(OSError, "disk full"):
                store.write(2, **make_row(2))
            self.assertFalse(store.done.any())
            store.write(2, **make_row(2))
            self.assert_row(store, 2)


class ClassVectorsTest(StoreCase):
    def setUp(self):
        super().setUp()
        self.fill(*range(LENGTH))
        self.store = self.enterContext(self.open())

    def expected(self, rows, ids):
        """Computes Eq. 4 for one class of one row at a time: the class sum times the channel weights, by channel."""
        return np.array(
            [
                [make_row(row)["class_sums"][c] * make_row(row)["channel_weights"] for c in row_ids]
                for row, row_ids in zip(rows, ids, strict=True)
            ]
        )

    @parameterized.parameters(
        (slice(1, 4), [1, 2, 3]),
        (slice(None), [0, 1, 2, 3, 4]),
        (np.array([4, 0]), [4, 0]),
        (np.array([3, 3, 1, 3, 1, 0, 2]), [3, 3, 1, 3, 1, 0, 2]),
        (np.array([True, False, True, False, True]), [0, 2, 4]),
        (slice(4, 5), [4]),
    )
    def test_shared_classes(self, rows, indices):
        for ids in ([6], [5, 0, 5], [2, 6, 0, 1]):
            actual = self.store.class_vectors(rows, np.array(ids))
            self.assertEqual((actual.shape, actual.dtype), ((len(indices), len(ids), DIM), np.float32))
            np.testing.assert_array_equal(actual, self.expected(indices, [ids] * len(indices)))

    def test_without_channel_weights(self):
        self.store.close()
        shape = {"length": LENGTH, "classes": CLASSES, "dim": DIM}
        with PooledStore(self.folder, FINGERPRINT, **shape, channel_weighting=False) as store:
            actual = store.class_vectors(np.array([3, 1]), np.array([2, 5]))
        np.testing.assert_array_equal(actual, [make_row(row)["class_sums"][[2, 5]] for row in (3, 1)])

    @parameterized.parameters(
        (slice(1, 4), [1, 2, 3]),
        (np.array([4, 0, 4]), [4, 0, 4]),
        (np.array([True, False, True, False, True]), [0, 2, 4]),
    )
    def test_each_rows_own_classes(self, rows, indices):
        for ids in ([[6], [0], [3]], [[0, 1, 2], [6, 5, 4], [3, 3, 3]], [[5, 0], [2, 1], [0, 6]]):
            actual = self.store.class_vectors(rows, np.array(ids))
            np.testing.assert_array_equal(actual, self.expected(indices, ids))

    def test_reading_class_vectors_changes_no_row(self):
        self.store.class_vectors(slice(None), np.arange(CLASSES))
        for index in range(LENGTH):
            self.assert_row(self.store, index)


class ScalesTest(StoreCase):
    def test_stores_of_the_same_images(self):
        self.fill(*range(LENGTH))
        folder = self.root / "second"
        shape = {"length": LENGTH, "classes": CLASSES, "dim": DIM}
        with self.open() as first, PooledStore(folder, FINGERPRINT, **shape) as second:
            for index in range(1, LENGTH):
                second.write(index, **make_row(index + 50))
            both = PooledScales([first, second])
            self.assertEqual(both.scales, (first, second))
            self.assertEqual(first.scales, (first,))
            self.assertEqual((both.length, both.done.tolist()), (LENGTH, [False] + [True] * (LENGTH - 1)))
            for name in ("logits", "sums", "channel_weights"):
                np.testing.assert_array_equal(getattr(both, name), getattr(first, name))
            rows, ids = np.array([3, 1]), np.array([2, 5])
            np.testing.assert_array_equal(both.class_vectors(rows, ids), first.class_vectors(rows, ids))

    def test_stores_of_other_images_are_refused(self):
        shape = {"length": LENGTH + 1, "classes": CLASSES, "dim": DIM}
        with self.open() as first, PooledStore(self.root / "second", FINGERPRINT, **shape) as second:
            for stores in ([], [first, second]):
                with self.assertRaisesRegex(ValueError, "must be of the same images"):
                    PooledScales(stores)


if __name__ == "__main__":
    absltest.main()
