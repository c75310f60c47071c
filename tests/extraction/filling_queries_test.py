"""Regions of queries through the network into a store."""

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
    EVERY = np.arange(10)

    def cut(self, i):
        x1, y1, x2, y2 = (int(side) for side in self.BOXES[i])
        return self.own[i][y1:y2, x1:x2]

    @parameterized.parameters(1, 2)
    def test_regions_of_pictures_in_the_database_and_elsewhere(self, batch_size):
        store, left_out = self.fill(ExtractionConfig(Resize(), batch_size=batch_size))
        self.assertEqual((left_out, self.finished), ([], 3))
        for i, box in enumerate(self.BOXES):
            expected = encoder.pool(tiny_model(), self.own[i][None], boxes=[box], class_ids=self.EVERY)
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
        self.assert_row(store, 0, encoder.pool(tiny_model(), picture[None], boxes=pixels, class_ids=self.EVERY))

    @parameterized.parameters("none", "max48")
    def test_pixels_of_the_box_as_an_image(self, text):
        resize = Resize.parse(text)
        store, _ = self.fill(ExtractionConfig(resize, batch_size=2, crop_queries=True))
        for i in range(3):
            expected = encoder.pool(tiny_model(), resize(self.cut(i))[None], class_ids=self.EVERY)
            self.assert_row(store, i, expected)
            np.testing.assert_allclose(store.logits[i], expected.logits[0], atol=1e-4)

    @parameterized.product(batch_size=(1, 2), region_cells=("touched", "floor"))
    def test_classes_of_the_pixels_and_features_of_the_region(self, batch_size, region_cells):
        """paper/facts.md: a pass of the crop at native scale, sides cut to multiples of 16; features as without."""
        model = tiny_model(region_cells=region_cells)
        extraction = ExtractionConfig(
            Resize("squash", 96, 64), scale_boxes=False, batch_size=batch_size, crop_classes=Resize("multiple", 16)
        )
        store, _ = self.fill(extraction, model=model)
        for i, box in enumerate(self.BOXES):
            picture = extraction.resize(self.own[i])
            expected = encoder.pool(model, picture[None], boxes=[box], class_ids=self.EVERY)
            self.assert_row(store, i, expected)
            crop = Image.fromarray(self.cut(i))
            crop = crop.resize([side // 16 * 16 for side in crop.size], Image.Resampling.BILINEAR)
            alone = encoder.pool(model, np.asarray(crop)[None], class_ids=self.EVERY)
            np.testing.assert_allclose(store.logits[i], alone.logits[0], atol=1e-4)
            self.assertGreater(np.abs(store.logits[i] - np.asarray(expected.logits[0])).max(), 1e-2)

    def test_pixels_for_both(self):
        extraction = ExtractionConfig(Resize("max", 48), crop_queries=True, crop_classes=Resize("multiple", 16))
        store, _ = self.fill(extraction)
        for i in range(3):
            expected = encoder.pool(tiny_model(), extraction.resize(self.cut(i))[None], class_ids=self.EVERY)
            self.assert_row(store, i, expected)
            crop = Resize("multiple", 16)(self.cut(i))
            alone = encoder.pool(tiny_model(), crop[None], class_ids=self.EVERY)
            np.testing.assert_allclose(store.logits[i], alone.logits[0], atol=1e-4)

    def test_only_what_is_missing_is_passed_again(self):
        extraction = ExtractionConfig(Resize(), crop_classes=Resize("multiple", 16))
        self.images.paths[0].write_bytes(b"no picture")
        store, left_out = self.fill(extraction)
        self.assertLen(left_out, 1)
        self.assertIn(str(self.images.paths[0]), left_out[0])
        self.assertEqual((store.done.tolist(), self.finished), ([False, True, True], 3))
        before = np.array(store.logits)
        Image.fromarray(self.pictures[0]).save(self.images.paths[0])
        fill_store(store, tiny_model(), self.images, extraction, queries=True, progress=self.progress)
        self.assertTrue(store.done.all())
        np.testing.assert_array_equal(store.logits[1:], before[1:])
        alone = encoder.pool(tiny_model(), Resize("multiple", 16)(self.cut(0))[None], class_ids=self.EVERY)
        np.testing.assert_allclose(store.logits[0], alone.logits[0], atol=1e-4)

    def test_a_crop_that_no_network_is_given_is_reported(self):
        """Its picture, made smaller, is readable; neither its region's nor another query's classes may stand in."""
        extraction = ExtractionConfig(Resize("max", 32), batch_size=3, crop_classes=Resize("multiple", 16))
        with mock.patch.object(picture_module, "MAX_RESIZED_PIXELS", 2000):  # the crops make 1536, 2560 and 1536
            store, left_out = self.fill(extraction)
        self.assertLen(left_out, 1)
        self.assertStartsWith(left_out[0], f"{self.images.paths[1]}: 41 x 90 pixels under resize multiple16")
        self.assertEqual(store.done.tolist(), [True, False, True])
        self.assertEqual(self.finished, 3)

    def test_other_queries_are_refused(self):
        plain = ExtractionConfig(Resize())
        self.fill(plain)[0].close()
        others = {
            "regions": dataclasses.replace(plain, crop_queries=True),
            " regions": dataclasses.replace(plain, crop_classes=Resize("multiple", 16)),
            "  regions": dataclasses.replace(plain, scale_boxes=False),
        }
        for key, extraction in others.items():
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

    def test_what_is_applied_to_stored_rows_is_no_part_of_them(self):
        plain = ExtractionConfig(Resize())
        for queries in (False, True):
            rows = {"weights": "w", "files": "f", "queries": queries}
            first = fingerprint(tiny_model(), self.images, plain, **rows)
            model = tiny_model(channel_weighting=False, repeat_dropped=True)
            self.assertEqual(fingerprint(model, self.images, plain, **rows), first)

    def test_contents_of_pictures_elsewhere_count(self):
        first = fingerprint_files(self.images)
        self.queries[2].picture.write_bytes(b"changed")
        self.assertNotEqual(fingerprint_files(self.images), first)
        without = dataclasses.replace(self.images, queries=self.queries[:2])
        self.assertNotEqual(fingerprint_files(without), fingerprint_files(self.images))


if __name__ == "__main__":
    absltest.main()
