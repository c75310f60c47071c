"""These tests pass pictures through the network into a store."""

import dataclasses
import pathlib

import numpy as np
from absl.testing import absltest, parameterized

import cwcf_jax
from cwcf_jax import encoder
from cwcf_jax.evaluation import benchmark
from cwcf_jax.extraction import (
    ExtractionConfig,
    fill_maps,
    fill_store,
    fingerprint,
    fingerprint_files,
    model_maps,
    open_store,
)
from cwcf_jax.images import ImageSet, Resize, read_folder, read_image
from cwcf_jax.store import MapStore, StaleStoreError
from tests.extraction.small import TinyCase, tiny_model
from tests.support import shared
from tests.support.models import any_model

NONE = ExtractionConfig(Resize())


class PhotographsTest(absltest.TestCase):
    def test_rows_give_the_descriptors_of_encode(self):
        model = any_model()
        everything = read_folder(shared.require("data/boofcv_triplets"))
        images = ImageSet("photographs", everything.names[40:42], everything.paths[40:42])
        folder = pathlib.Path(self.create_tempdir().full_path) / "store"
        store = open_store(folder, model, images, NONE, weights="w", files="f", queries=False)
        self.addCleanup(store.close)
        left_out = fill_store(store, model, images, NONE, queries=False, progress=lambda _: None)
        self.assertEqual(left_out, [])
        whitening = cwcf_jax.fit_pca_whitening(np.random.default_rng(0).random((60, model.feature_dim)), dim=16)
        offline = benchmark.describe(store, whitening, (1, 16))
        fixed = benchmark.describe(store, whitening, (3,), np.array([97, 38, 84]))
        for i, path in enumerate(images.paths):
            image = read_image(path)[None]
            expected = cwcf_jax.encode(model, image, num_classes=16, whitening=whitening)[0]
            np.testing.assert_allclose(offline[1, i], expected, atol=1e-5)
            expected = cwcf_jax.encode(model, image, class_ids=[97, 38, 84], whitening=whitening)[0]
            np.testing.assert_allclose(fixed[0, i], expected, atol=1e-5)


class ImagesTest(TinyCase):
    def fill(self, extraction=NONE, **options):
        return super().fill(extraction, queries=False, **options)

    def test_rows_of_whole_pictures(self):
        resize = Resize("min", 50)
        store, left_out = self.fill(ExtractionConfig(resize))
        self.assertEqual((left_out, self.finished), ([], 4))
        for row in range(4):
            picture = resize(self.pictures[row])[None]
            expected = encoder.pool(tiny_model(), picture, class_ids=np.arange(10))
            self.assert_row(store, row, expected)
            np.testing.assert_allclose(store.logits[row], expected.logits[0], atol=1e-4)

    def test_power_means_are_class_vectors_already(self):
        model = tiny_model(pooling="gem")
        store, _ = self.fill(model=model)
        for row in range(4):
            expected = cwcf_jax.class_vectors(model, self.pictures[row][None], class_ids=[3, 1]).vectors
            actual = store.class_vectors(slice(row, row + 1), np.array([3, 1]))
            np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())
        plain, _ = self.fill(name="sums")
        for name in ("sums", "channel_weights", "logits"):  # these fields do not depend on the pooling
            np.testing.assert_allclose(getattr(store, name), getattr(plain, name), rtol=1e-4, atol=1e-4)
        store.close()
        with self.assertRaisesRegex(StaleStoreError, "encoder: .* there, .* now"):
            self.fill()  # a fill of sums into a store of power means

    def test_fingerprint_of_sums_has_no_pooling(self):
        actual = fingerprint(tiny_model(), self.images, NONE, weights="w", files="f", queries=False)["encoder"]
        expected = {
            "feature_layer": "conv2_1",
            "cam_normalization": "min_max",
            "drop_negative": True,
            "channel_weighting": True,
            "pixel_mean": None,
            "repeat_dropped": False,
            "region_cells": "touched",
            "dtype": "float32",
        }
        self.assertEqual(actual, expected)

    def test_batches_change_nothing(self):
        single, _ = self.fill(name="single")
        batched, _ = self.fill(dataclasses.replace(NONE, batch_size=3), name="batched")
        for name in ("sums", "channel_weights", "class_sums", "logits"):
            np.testing.assert_allclose(getattr(batched, name), getattr(single, name), rtol=1e-4, atol=1e-3)

    def test_unreadable_pictures_are_left_out_and_tried_again(self):
        broken = self.images.paths[2]
        content = broken.read_bytes()
        broken.write_bytes(content[:100])
        store, left_out = self.fill()
        self.assertLen(left_out, 1)
        self.assertIn(str(broken), left_out[0])
        self.assertEqual((store.done.tolist(), self.finished), ([True, True, False, True], 4))
        left_out_again = fill_store(store, tiny_model(), self.images, NONE, queries=False, progress=self.progress)
        self.assertEqual(left_out_again, left_out)
        store.close()
        broken.write_bytes(content)
        with self.assertRaisesRegex(StaleStoreError, "files: .* there, .* now"):
            self.fill()

    @parameterized.parameters(
        ("weights", {"weights": "x"}, {}),
        ("preprocessing", {"extraction": ExtractionConfig(Resize("min", 99))}, {}),
        ("encoder", {}, {"cam_normalization": "max_clip"}),
        ("encoder", {}, {"drop_negative": False}),
        ("encoder", {}, {"pixel_mean": (1.0, 2.0, 3.0)}),
        ("encoder", {}, {"pooling": "gem"}),
        ("fields", {}, {"feature_layer": "conv1_1"}),
    )
    def test_another_setting_is_refused(self, key, changes, options):
        self.fill()[0].close()
        with self.assertRaisesRegex(StaleStoreError, f"{key}: .* there, .* now"):
            self.fill(**changes, model=tiny_model(**options))

    def test_fingerprint_covers_names_and_contents(self):
        first = fingerprint_files(self.images)
        renamed = fingerprint_files(dataclasses.replace(self.images, names=(*self.images.names[:3], "other")))
        self.images.paths[3].write_bytes(b"changed")
        changed = fingerprint_files(self.images)
        self.images.paths[3].unlink()
        missing = fingerprint_files(self.images)
        self.assertLen({first, renamed, changed, missing}, 4)


class MapsTest(TinyCase):
    def fill_maps(self, store, rows, *, queries=False, extraction=ExtractionConfig(Resize(), batch_size=2)):  # noqa: B008
        self.passes = 0

        def compute(batch):
            self.passes += len(batch.indices)
            return model_maps(tiny_model(), batch)

        return fill_maps(
            store, self.images, extraction, np.array(rows), compute, queries=queries, progress=self.progress
        )

    def open(self):
        return MapStore(self.folder / "maps", dtype="float16")

    def assert_maps(self, store, row, image):
        expected = encoder.feature_maps(tiny_model(), image[None])
        actual = store.read(row)
        self.assertEqual(actual.keys(), {"features", "cam_features"})
        for name, size in (("features", expected.feature_size), ("cam_features", expected.cam_size)):
            height, width = size[0].tolist()
            value = np.asarray(getattr(expected, name)[0, :height, :width])
            self.assertEqual(actual[name].shape, value.shape)  # only the valid area is stored
            np.testing.assert_allclose(actual[name], value, rtol=1e-3, atol=1e-3)

    def test_maps_of_images(self):
        store = self.open()
        self.assertEqual(self.fill_maps(store, [3, 0, 2]), [])
        self.assertEqual((self.finished, self.passes), (3, 3))
        for row in (0, 2, 3):
            self.assert_maps(store, row, self.pictures[row])
        self.assertEqual(store.missing(range(4)), [1])

    def test_existing_maps_are_not_computed_again(self):
        store = self.open()
        self.fill_maps(store, [0, 2])
        self.assertEqual(self.fill_maps(store, [0, 1, 2]), [])
        self.assertEqual((self.finished, self.passes), (5, 1))
        self.assertEqual(self.fill_maps(store, [0, 1, 2]), [])
        self.assertEqual(self.passes, 0)
        self.assert_maps(store, 1, self.pictures[1])

    def test_unreadable_pictures_are_left_out(self):
        self.images.paths[1].write_bytes(b"no picture")
        store = self.open()
        (reason,) = self.fill_maps(store, [0, 1, 2])
        self.assertIn(str(self.images.paths[1]), reason)
        self.assertEqual((self.finished, self.passes), (3, 2))
        self.assertEqual(store.missing(range(4)), [1, 3])

    def test_pictures_of_queries(self):
        store = self.open()
        self.fill_maps(store, [0, 1, 2], queries=True)
        for row in range(3):
            self.assert_maps(store, row, self.query_pictures[row])

    def test_resized_and_cropped(self):
        store = self.open()
        extraction = ExtractionConfig(Resize("max", 40), crop_queries=True)
        self.fill_maps(store, [2], queries=True, extraction=extraction)
        x1, y1, x2, y2 = (int(side) for side in self.BOXES[2])
        self.assert_maps(store, 2, extraction.resize(self.query_pictures[2][y1:y2, x1:x2]))


if __name__ == "__main__":
    absltest.main()
