"""This test reads small pictures in batches and compares every image, size and index with the pictures."""

import pathlib
import tempfile
import threading
from unittest import mock

import numpy as np
from absl.testing import absltest, parameterized
from PIL import Image

from cwcf_jax.images import batches
from cwcf_jax.images.batches import Batch, Unreadable, read_batches
from cwcf_jax.images.decoding import Resize

SHAPES = [(5, 7), (8, 8), (9, 8), (16, 9), (3, 20), (8, 1)]  # under steps of 8: 8x8, 8x8, 16x8, 16x16, 8x24, 8x8
STEP = 8


class BatchesTest(parameterized.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        folder = pathlib.Path(cls.enterClassContext(tempfile.TemporaryDirectory()))
        random = np.random.default_rng(0)
        cls.pictures, cls.paths = [], []
        for index in range(45):  # more than are pending at a time
            shape = SHAPES[random.integers(len(SHAPES))]
            cls.pictures.append(random.integers(1, 256, (*shape, 3), np.uint8))  # no zeros, unlike the padding
            cls.paths.append(folder / f"{index}.png")
            Image.fromarray(cls.pictures[-1]).save(cls.paths[-1])
        cls.broken = {4: "text", 30: "missing"}
        cls.paths[4].write_text("no picture")
        cls.paths[30].unlink()

    def read(self, indices=None, *, resize="none", batch_size=4, crops=None):
        indices = range(len(self.paths)) if indices is None else indices
        options = {"resize": Resize.parse(resize), "batch_size": batch_size, "steps": (STEP,), "crops": crops}
        results = list(read_batches(self.paths, indices, **options))
        return [result for result in results if isinstance(result, Batch)], [
            result for result in results if isinstance(result, Unreadable)
        ]

    @parameterized.parameters(1, 4, 64)
    def test_every_index_once(self, batch_size):
        actual, unreadable = self.read(batch_size=batch_size)
        indices = [index for batch in actual for index in batch.indices]
        self.assertCountEqual(indices, set(range(45)) - set(self.broken))
        self.assertEqual([picture.index for picture in unreadable], sorted(self.broken))

    def test_unreadable_pictures_name_their_file(self):
        _, (text, missing) = self.read()
        self.assertStartsWith(text.reason, f"{self.paths[4]}: cannot be read as a picture")
        self.assertEqual(missing.reason, f"{self.paths[30]}: no such file")

    @parameterized.product(batch_size=(1, 4), resize=("none", "max6", "min10", "squash12x5"))
    def test_content(self, batch_size, resize):
        actual, _ = self.read(batch_size=batch_size, resize=resize)
        for batch in actual:
            self.assertEqual(batch.images.dtype, np.uint8)
            self.assertEqual((batch.sizes.dtype, batch.original_sizes.dtype), (np.int32, np.int32))
            for row, index in enumerate(batch.indices):
                height, width, _ = self.pictures[index].shape
                expected = Resize.parse(resize)(self.pictures[index])
                np.testing.assert_array_equal(batch.original_sizes[row], (height, width))
                np.testing.assert_array_equal(batch.sizes[row], expected.shape[:2])
                np.testing.assert_array_equal(batch.images[row, : expected.shape[0], : expected.shape[1]], expected)

    @parameterized.parameters("none", "max6", "squash12x5")
    def test_padding(self, resize):
        actual, _ = self.read(resize=resize)
        for batch in actual:
            _, height, width, channels = batch.images.shape
            self.assertEqual((height % STEP, width % STEP, channels), (0, 0, 3))
            for image, (rows, columns) in zip(batch.images, batch.sizes, strict=True):
                self.assertBetween(height - rows, 0, STEP - 1)
                self.assertBetween(width - columns, 0, STEP - 1)
                self.assertFalse(image[rows:].any())
                self.assertFalse(image[:, columns:].any())

    def test_partial_batches_repeat_their_last_picture(self):
        actual, _ = self.read()
        partial = [batch for batch in actual if len(batch.indices) < 4]
        self.assertNotEmpty(partial)
        for batch in actual:
            self.assertLen(batch.images, 4)
            self.assertEqual((batch.sizes.shape, batch.original_sizes.shape), ((4, 2), (4, 2)))
            last = len(batch.indices) - 1
            for row in range(last + 1, 4):
                np.testing.assert_array_equal(batch.images[row], batch.images[last])
                np.testing.assert_array_equal(batch.sizes[row], batch.sizes[last])
                np.testing.assert_array_equal(batch.original_sizes[row], batch.original_sizes[last])

    def test_each_bucket_has_at_most_one_partial_batch(self):
        actual, _ = self.read()
        partial = [batch.images.shape for batch in actual if len(batch.indices) < 4]
        self.assertLen(partial, len(set(partial)))
        first_partial = next(i for i, batch in enumerate(actual) if len(batch.indices) < 4)
        self.assertTrue(all(len(batch.indices) < 4 for batch in actual[first_partial:]))

    def test_some_indices_in_any_order(self):
        order = [44, 3, 17, 4, 0, 9]
        actual, unreadable = self.read(order)
        self.assertCountEqual([index for batch in actual for index in batch.indices], [44, 3, 17, 0, 9])
        self.assertEqual([picture.index for picture in unreadable], [4])
        for batch in actual:
            self.assertEqual(list(batch.indices), sorted(batch.indices, key=order.index))

    @parameterized.product(batch_size=(1, 4), resize=("none", "multiple4"))
    def test_crops(self, batch_size, resize):
        crops = [(1.0, 0.0, 2.0 + index, 3.0) for index in range(45)]  # another crop of each picture
        actual, unreadable = self.read([44, 3, 17, 4, 0], batch_size=batch_size, resize=resize, crops=crops)
        self.assertCountEqual([index for batch in actual for index in batch.indices], [44, 3, 17, 0])
        self.assertEqual([picture.index for picture in unreadable], [4])
        for batch in actual:
            for row, index in enumerate(batch.indices):
                height, width = self.pictures[index].shape[:2]
                left = min(1, width - 1)
                crop = self.pictures[index][: min(3, height), left : max(min(2 + index, width), left + 1)]
                expected = Resize.parse(resize)(crop)
                np.testing.assert_array_equal(batch.original_sizes[row], crop.shape[:2])
                np.testing.assert_array_equal(batch.sizes[row], expected.shape[:2])
                np.testing.assert_array_equal(batch.images[row, : expected.shape[0], : expected.shape[1]], expected)

    def test_no_indices(self):
        self.assertEqual(self.read([]), ([], []))

    def test_a_result_beyond_the_limit_is_unreadable(self):
        actual, unreadable = self.read([0, 1], resize="min9999")
        self.assertEmpty(actual)
        self.assertStartsWith(unreadable[1].reason, f"{self.paths[1]}: ")
        self.assertIn("a network is given", unreadable[1].reason)

    def test_few_pictures_are_decoded_ahead(self):
        started = []

        def indices():
            for index in range(5, 30):
                started.append(index)
                yield index

        reader = read_batches(self.paths, indices(), resize=Resize(), batch_size=1, steps=(STEP,))
        for finished in range(1, 5):
            next(reader)
            self.assertLessEqual(len(started) - finished, batches.MAX_PENDING_PICTURES)
        reader.close()

    def test_memory_is_bounded_for_many_shapes(self):
        folder = pathlib.Path(self.create_tempdir().full_path)
        paths, started, finished, max_in_memory = [], [], 0, 0
        for index in range(120):  # every third picture has the same shape, all others have different shapes
            paths.append(folder / f"{index}.png")
            Image.new("RGB", (index + 2, 1) if index % 3 else (1, 1)).save(paths[-1])

        def indices():
            for index in range(120):
                started.append(index)
                yield index

        read_indices = []
        for batch in read_batches(paths, indices(), resize=Resize(), batch_size=4, steps=(1,)):
            read_indices += batch.indices
            finished += len(batch.indices)
            max_in_memory = max(max_in_memory, len(started) - finished)
        self.assertCountEqual(read_indices, range(120))
        max_unfinished = batches.MAX_UNFINISHED_BATCHES * 4
        self.assertLessEqual(max_in_memory, batches.MAX_PENDING_PICTURES + max_unfinished)
        self.assertGreater(max_in_memory, max_unfinished)  # unfinished batches wait until the limit

    def test_threads_end_with_the_reader(self):
        count_before = threading.active_count()
        reader = read_batches(self.paths, range(5, 30), resize=Resize(), batch_size=1, steps=(STEP,))
        next(reader)
        self.assertGreater(threading.active_count(), count_before)
        reader.close()
        self.assertEqual(threading.active_count(), count_before)

    def test_other_errors_are_not_swallowed(self):
        with (
            mock.patch.object(batches, "load_image", side_effect=ZeroDivisionError("a programming error")),
            self.assertRaisesRegex(ZeroDivisionError, "a programming error"),
        ):
            self.read()


if __name__ == "__main__":
    absltest.main()
