"""These tests fill stores with the regions and crops of queries."""

import dataclasses
from unittest import mock

import numpy as np
from absl.testing import absltest, parameterized
from PIL import Image

from cwcf_jax import encoder
from cwcf_jax.extraction import (
    ExtractionConfig,
    fill_store,
    fingerprint,
    fingerprint_files,
)
from cwcf_jax.images import Resize
from cwcf_jax.images import decoding as picture_module
from cwcf_jax.store import StaleStoreError
from tests.extraction.small import TinyCase, tiny_model


class QueriesTest(TinyCase):
    ALL_CLASSES = np.arange(10)

    def crop(self, i):
        x1, y1, x2, y2 = (int(side) for side in self.BOXES[i])
        return self.query_pictures[i][y1:y2, x1:x2]

    @parameterized.parameters(1, 2)
    def test_regions_of_pictures_inside_and_outside_the_database(self, batch_size):
        store, left_out = self.fill(ExtractionConfig(Resize(), batch_size=batch_size))
        self.assertEqual((left_out, self.finished), ([], 3))
        for i, box in enumerate(self.BOXES):
            expected = encoder.pool(tiny_model(), self.query_pictures[i][None], boxes=[box], class_ids=self.ALL_CLASSES)
            self.assert_row(store, i, expected)
            np.testing.assert_allclose(store.logits[i], expected.logits[0], atol=1e-4)

    @parameterized.parameters((True, 2.0), (False, 1.0))
    def test_boxes_follow_the_resize(self, scaled, factor):
        resize = Resize("min", 140)
        picture = resize(self.pictures[0])
        self.assertEqual(picture.shape, (140, 180, 3))
        images = dataclasses.replace(self.images, queries=self.queries[:1])
        store, _ = self.fill(ExtractionConfig(resize, scale_boxes=scaled), images=images)
        pixels = [[side * factor for side in self.BOXES[0]]]
        self.assert_row(store, 0, encoder.pool(tiny_model(), picture[None], boxes=pixels, class_ids=self.ALL_CLASSES))

    @parameterized.parameters("none", "max48")
    def test_pixels_of_the_box_as_an_image(self, text):
        resize = Resize.parse(text)
        store, _ = self.fill(ExtractionConfig(resize, batch_size=2, crop_queries=True))
        for i in range(3):
            expected = encoder.pool(tiny_model(), resize(self.crop(i))[None], class_ids=self.ALL_CLASSES)
            self.assert_row(store, i, expected)
            np.testing.assert_allclose(store.logits[i], expected.logits[0], atol=1e-4)

    @parameterized.product(batch_size=(1, 2), region_cells=("touched", "floor"))
    def test_classes_of_the_pixels_and_features_of_the_region(self, batch_size, region_cells):
        """The crop at native scale, with sides cut to multiples of 16, gives the classes; the region the features."""
        model = tiny_model(region_cells=region_cells)
        extraction = ExtractionConfig(
            Resize("squash", 96, 64), scale_boxes=False, batch_size=batch_size, crop_classes=Resize("multiple", 16)
        )
        store, _ = self.fill(extraction, model=model)
        for i, box in enumerate(self.BOXES):
            picture = extraction.resize(self.query_pictures[i])
            expected = encoder.pool(model, picture[None], boxes=[box], class_ids=self.ALL_CLASSES)
            self.assert_row(store, i, expected)
            crop = Image.fromarray(self.crop(i))
            crop = crop.resize([side // 16 * 16 for side in crop.size], Image.Resampling.BILINEAR)
            crop_features = encoder.pool(model, np.asarray(crop)[None], class_ids=self.ALL_CLASSES)
            np.testing.assert_allclose(store.logits[i], crop_features.logits[0], atol=1e-4)
            self.assertGreater(np.abs(store.logits[i] - np.asarray(expected.logits[0])).max(), 1e-2)

    def test_crop_for_classes_and_features(self):
        extraction = ExtractionConfig(Resize("max", 48), crop_queries=True, crop_classes=Resize("multiple", 16))
        store, _ = self.fill(extraction)
        for i in range(3):
            expected = encoder.pool(tiny_model(), extraction.resize(self.crop(i))[None], class_ids=self.ALL_CLASSES)
            self.assert_row(store, i, expected)
            crop = Resize("multiple", 16)(self.crop(i))
            crop_features = encoder.pool(tiny_model(), crop[None], class_ids=self.ALL_CLASSES)
            np.testing.assert_allclose(store.logits[i], crop_features.logits[0], atol=1e-4)

    def test_only_missing_rows_are_passed_again(self):
        extraction = ExtractionConfig(Resize(), crop_classes=Resize("multiple", 16))
        self.images.paths[0].write_bytes(b"no picture")
        store, left_out = self.fill(extraction)
        self.assertLen(left_out, 1)
        self.assertIn(str(self.images.paths[0]), left_out[0])
        self.assertEqual((store.done.tolist(), self.finished), ([False, True, True], 3))
        first_logits = np.array(store.logits)
        Image.fromarray(self.pictures[0]).save(self.images.paths[0])
        fill_store(store, tiny_model(), self.images, extraction, queries=True, progress=self.progress)
        self.assertTrue(store.done.all())
        np.testing.assert_array_equal(store.logits[1:], first_logits[1:])
        crop_features = encoder.pool(
            tiny_model(), Resize("multiple", 16)(self.crop(0))[None], class_ids=self.ALL_CLASSES
        )
        np.testing.assert_allclose(store.logits[0], crop_features.logits[0], atol=1e-4)

    def test_a_crop_that_is_too_large_is_reported(self):
        """The resized picture is readable, but neither the region nor another query may give the classes."""
        extraction = ExtractionConfig(Resize("max", 32), batch_size=3, crop_classes=Resize("multiple", 16))
        with mock.patch.object(picture_module, "MAX_RESIZED_PIXELS", 2000):  # the crops have 1536, 2560 and 1536 pixels
            store, left_out = self.fill(extraction)
        self.assertLen(left_out, 1)
        self.assertStartsWith(left_out[0], f"{self.images.paths[1]}: 41 x 90 pixels under resize multiple16")
        self.assertEqual(store.done.tolist(), [True, False, True])
        self.assertEqual(self.finished, 3)

    def test_other_queries_are_refused(self):
        plain = ExtractionConfig(Resize())
        self.fill(plain)[0].close()
        changes = {
            "regions": dataclasses.replace(plain, crop_queries=True),
            " regions": dataclasses.replace(plain, crop_classes=Resize("multiple", 16)),
            "  regions": dataclasses.replace(plain, scale_boxes=False),
        }
        for key, extraction in changes.items():
            with self.assertRaisesRegex(StaleStoreError, f"{key.strip()}: .* there, .* now"):
                self.fill(extraction)
        with self.assertRaisesRegex(StaleStoreError, "encoder: .* there, .* now"):
            self.fill(plain, model=tiny_model(region_cells="floor"))
        moved = dataclasses.replace(self.queries[0], box=(1.0, 2.0, 3.0, 4.0))
        with self.assertRaisesRegex(StaleStoreError, "regions: .* there, .* now"):
            self.fill(plain, images=dataclasses.replace(self.images, queries=(moved, *self.queries[1:])))

    def test_images_do_not_depend_on_how_queries_are_cut(self):
        plain = ExtractionConfig(Resize())
        cut = ExtractionConfig(Resize(), scale_boxes=False, crop_queries=True, crop_classes=Resize("multiple", 16))
        rows = {"weights": "w", "files": "f", "queries": False}
        first = fingerprint(tiny_model(), self.images, plain, **rows)
        second = fingerprint(tiny_model(region_cells="floor"), self.images, cut, **rows)
        self.assertEqual(first, second)

    def test_options_applied_to_stored_rows_are_not_in_the_fingerprint(self):
        plain = ExtractionConfig(Resize())
        for queries in (False, True):
            rows = {"weights": "w", "files": "f", "queries": queries}
            first = fingerprint(tiny_model(), self.images, plain, **rows)
            model = tiny_model(channel_weighting=False, repeat_dropped=True)
            self.assertEqual(fingerprint(model, self.images, plain, **rows), first)

    def test_fingerprint_covers_query_pictures_outside_the_database(self):
        first = fingerprint_files(self.images)
        self.queries[2].picture.write_bytes(b"changed")
        self.assertNotEqual(fingerprint_files(self.images), first)
        without = dataclasses.replace(self.images, queries=self.queries[:2])
        self.assertNotEqual(fingerprint_files(without), fingerprint_files(self.images))


if __name__ == "__main__":
    absltest.main()
