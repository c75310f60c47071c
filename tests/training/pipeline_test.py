import collections
import itertools
import pathlib

import numpy as np
from absl.testing import absltest, parameterized

from cwcf_jax.datasets.labelled import read_labelled
from cwcf_jax.images.decoding import ImageError
from cwcf_jax.training import pipeline
from cwcf_jax.training.augment import AugmentationConfig, augment, center_crop
from tests.training import tiny


class PipelineTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.folder = tiny.pictures(pathlib.Path(self.create_tempdir().full_path) / "colours", count=3)
        self.images = read_labelled(self.folder)

    def dataset(self, seed=0, augmentation=None, batch_size=4):
        return pipeline.training_dataset(
            self.images, batch_size=batch_size, seed=seed, augmentation=augmentation, size=10
        )

    def take(self, dataset, start, count, workers):
        with pipeline.batches(dataset, start=start, workers=workers) as batches:
            return list(itertools.islice(batches, count))

    @parameterized.parameters(0, 1, 3)
    def test_batches_are_the_same_from_wherever_they_start(self, workers):
        dataset = self.dataset(augmentation=AugmentationConfig(10))
        whole = self.take(dataset, 0, 8, workers=0)
        for start in (0, 3, 7):
            for batch, expected in zip(self.take(dataset, start, 8 - start, workers), whole[start:], strict=True):
                for key, value in expected.items():
                    np.testing.assert_array_equal(batch[key], value)

    def test_shapes_and_types(self):
        batch = self.dataset()[0]
        self.assertEqual({k: (v.shape, v.dtype.name) for k, v in batch.items()}, {
            "images": ((4, 10, 10, 3), "uint8"), "labels": ((4,), "int32"), "weights": ((4,), "float32"),
        })  # fmt: skip

    def test_every_epoch_has_every_picture_once_in_its_own_order(self):
        known = {center_crop(self.images[i][0], 10).tobytes(): i for i in range(9)}
        dataset = self.dataset(batch_size=3)
        stream = [known[image.tobytes()] for i in range(12) for image in dataset[i]["images"]]
        epochs = [tuple(stream[i : i + 9]) for i in range(0, 36, 9)]
        for epoch in epochs:
            self.assertEqual(collections.Counter(epoch), collections.Counter(range(9)))
        self.assertLen(set(epochs), 4)

    def test_augmentation_depends_on_seed_and_position_alone(self):
        config = AugmentationConfig(10)
        plain, varied = self.dataset(seed=5), self.dataset(seed=5, augmentation=config)
        known = {center_crop(self.images[i][0], 10).tobytes(): i for i in range(9)}
        for position in (0, 6, 21):
            picture = self.images[known[plain[position // 4]["images"][position % 4].tobytes()]][0]
            expected = augment(picture, np.random.default_rng((5, position)), config)
            np.testing.assert_array_equal(varied[position // 4]["images"][position % 4], expected)
        self.assertFalse(np.array_equal(self.dataset(seed=6)[0]["images"], plain[0]["images"]))

    def test_evaluation_sees_every_picture_once_and_fills_up_with_nothing(self):
        dataset = pipeline.evaluation_dataset(self.images, batch_size=4, size=10)
        batches = self.take(dataset, 0, 5, workers=2)
        self.assertLen(batches, 3)
        labels = np.concatenate([batch["labels"] for batch in batches])
        weights = np.concatenate([batch["weights"] for batch in batches])
        np.testing.assert_array_equal(labels[:9], np.repeat([0, 1, 2], 3))
        np.testing.assert_array_equal(weights, [1] * 9 + [0] * 3)

    @parameterized.parameters(0, 2)
    def test_a_picture_that_breaks_on_the_way_is_named(self, workers):
        broken = self.folder / "red_roof" / "red_roof_1.jpg"
        broken.write_bytes(b"no picture")
        with self.assertRaisesRegex(ImageError, str(broken)):
            self.take(self.dataset(), 0, 3, workers=workers)


if __name__ == "__main__":
    absltest.main()
