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
        for index in range(45):  # more than are decoded ahead
            shape = SHAPES[random.integers(len(SHAPES))]
            cls.pictures.append(random.integers(1, 256, (*shape, 3), np.uint8))  # no zeros: they are the padding
            cls.paths.append(folder / f"{index}.png")
            Image.fromarray(cls.pictures[-1]).save(cls.paths[-1])
        cls.broken = {4: "text", 30: "missing"}
        cls.paths[4].write_text("no picture")
        cls.paths[30].unlink()

    def read(self, indices=None, *, resize="none", batch_size=4, crops=None):
        indices = range(len(self.paths)) if indices is None else indices
        options = {"resize": Resize.parse(resize), "batch_size": batch_size, "steps": (STEP,), "crops": crops}
        actual = list(read_batches(self.paths, indices, **options))
        return [part for part in actual if isinstance(part, Batch)], [
            part for part in actual if isinstance(part, Unreadable)
        ]

    @parameterized.parameters(1, 4, 64)
    def test_every_index_once(self, batch_size):
        actual, unreadable = self.read(batch_size=batch_size)
        seen = [index for batch in actual for index in batch.indices]
        self.assertCountEqual(seen, set(range(45)) - set(self.broken))
        self.assertEqual([part.index for part in unreadable], sorted(self.broken))

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

    def test_one_partial_batch_a_bucket_at_the_most(self):
        actual, _ = self.read()
        partial = [batch.images.shape for batch in actual if len(batch.indices) < 4]
        self.assertLen(partial, len(set(partial)))
        firsts_partial = next(i for i, batch in enumerate(actual) if len(batch.indices) < 4)
        self.assertTrue(all(len(batch.indices) < 4 for batch in actual[firsts_partial:]))

    def test_some_indices_in_any_order(self):
        chosen = [44, 3, 17, 4, 0, 9]
        actual, unreadable = self.read(chosen)
        self.assertCountEqual([index for batch in actual for index in batch.indices], [44, 3, 17, 0, 9])
        self.assertEqual([part.index for part in unreadable], [4])
        for batch in actual:
            self.assertEqual(list(batch.indices), sorted(batch.indices, key=chosen.index))

    @parameterized.product(batch_size=(1, 4), resize=("none", "multiple4"))
    def test_crops(self, batch_size, resize):
        crops = [(1.0, 0.0, 2.0 + index, 3.0) for index in range(45)]  # each picture its own
        actual, unreadable = self.read([44, 3, 17, 4, 0], batch_size=batch_size, resize=resize, crops=crops)
        self.assertCountEqual([index for batch in actual for index in batch.indices], [44, 3, 17, 0])
        self.assertEqual([part.index for part in unreadable], [4])
        for batch in actual:
            for row, index in enumerate(batch.indices):
                height, width = self.pictures[index].shape[:2]
                left = min(1, width - 1)
                part = self.pictures[index][: min(3, height), left : max(min(2 + index, width), left + 1)]
                expected = Resize.parse(resize)(part)
                np.testing.assert_array_equal(batch.original_sizes[row], part.shape[:2])
                np.testing.assert_array_equal(batch.sizes[row], expected.shape[:2])
                np.testing.assert_array_equal(batch.images[row, : expected.shape[0], : expected.shape[1]], expected)

    def test_no_indices(self):
        self.assertEqual(self.read([]), ([], []))

    def test_a_result_beyond_the_limit_is_unreadable(self):
        actual, unreadable = self.read([0, 1], resize="min9999")
        self.assertEmpty(actual)
        self.assertStartsWith(unreadable[1].reason, f"{self.paths[1]}: ")
        self.assertIn("a network is given", unreadable[1].reason)

    def test_decodes_no_more_than_some_ahead(self):
        taken = []

        def indices():
            for index in range(5, 30):
                taken.append(index)
                yield index

        reader = read_batches(self.paths, indices(), resize=Resize(), batch_size=1, steps=(STEP,))
        for finished in range(1, 5):
            next(reader)
            self.assertLessEqual(len(taken) - finished, batches.AHEAD)
        reader.close()

    def test_many_shapes_do_not_pile_up(self):
        folder = pathlib.Path(self.create_tempdir().full_path)
        paths, taken, finished, most = [], [], 0, 0
        for index in range(120):  # every third alike, the others each of a shape of its own
            paths.append(folder / f"{index}.png")
            Image.new("RGB", (index + 2, 1) if index % 3 else (1, 1)).save(paths[-1])

        def indices():
            for index in range(120):
                taken.append(index)
                yield index

        seen = []
        for batch in read_batches(paths, indices(), resize=Resize(), batch_size=4, steps=(1,)):
            seen += batch.indices
            finished += len(batch.indices)
            most = max(most, len(taken) - finished)
        self.assertCountEqual(seen, range(120))
        self.assertLessEqual(most, batches.AHEAD + batches.PARTIAL * 4)
        self.assertGreater(most, batches.PARTIAL * 4)  # it waited as long as it may

    def test_leaves_no_threads(self):
        before = threading.active_count()
        reader = read_batches(self.paths, range(5, 30), resize=Resize(), batch_size=1, steps=(STEP,))
        next(reader)
        self.assertGreater(threading.active_count(), before)
        reader.close()
        self.assertEqual(threading.active_count(), before)

    def test_other_errors_are_not_swallowed(self):
        with (
            mock.patch.object(batches, "load_image", side_effect=ZeroDivisionError("a mistake of ours")),
            self.assertRaisesRegex(ZeroDivisionError, "a mistake of ours"),
        ):
            self.read()


if __name__ == "__main__":
    absltest.main()
