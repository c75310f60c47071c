"""Pictures through the network into a store."""

import dataclasses
import functools
import pathlib
from unittest import mock

import numpy as np
from absl.testing import absltest, parameterized
from PIL import Image

import cwcf_jax
from cwcf_jax import encoder
from cwcf_jax.evaluation import benchmark
from cwcf_jax.extraction import (
    Extraction,
    fill_maps,
    fill_store,
    fingerprint,
    fingerprint_files,
    model_maps,
    open_store,
)
from cwcf_jax.images import ImageSet, Query, Resize, read_folder, read_image
from cwcf_jax.images import decoding as picture_module
from cwcf_jax.store import MapStore, StaleStoreError
from tests.support import shared
from tests.training import tiny

NONE = Extraction(Resize())


@functools.cache
def _tiny(**options):
    network = tiny.network(num_classes=10)
    return cwcf_jax.load(network, network.initialize(0), **options)


class PhotographsTest(absltest.TestCase):
    """GoogLeNet."""

    def test_rows_give_the_descriptors_of_encode(self):
        model = cwcf_jax.load("googlenet", shared.require("weights/googlenet_bvlc.npz"))
        everything = read_folder(shared.require("data/boofcv_triplets"))
        images = ImageSet("photographs", everything.names[40:42], everything.paths[40:42])
        folder = pathlib.Path(self.create_tempdir().full_path) / "store"
        store = open_store(folder, model, images, NONE, weights="w", files="f", queries=False)
        self.addCleanup(store.close)
        left_out = fill_store(store, model, images, NONE, queries=False, progress=lambda _: None)
        self.assertEqual(left_out, [])
        whitening = cwcf_jax.fit_pca_whitening(np.random.default_rng(0).random((60, 832)), dim=32)
        offline = benchmark.describe(store, whitening, (1, 16))
        fixed = benchmark.describe(store, whitening, (3,), np.array([497, 538, 884]))
        for i, path in enumerate(images.paths):
            image = read_image(path)[None]
            expected = cwcf_jax.encode(model, image, num_classes=16, whitening=whitening)[0]
            np.testing.assert_allclose(offline[1, i], expected, atol=1e-5)
            expected = cwcf_jax.encode(model, image, class_ids=[497, 538, 884], whitening=whitening)[0]
            np.testing.assert_allclose(fixed[0, i], expected, atol=1e-5)


class TinyCase(parameterized.TestCase):
    """Four small pictures and a fifth, ``elsewhere``, that is not one of the images; a tiny network."""

    SHAPES = ((70, 90), (90, 70), (64, 80), (75, 75), (60, 100))
    BOXES = ((10.5, 20.0, 61.0, 58.9), (0.0, 0.0, 41.0, 90.0), (33.0, 7.0, 75.0, 60.0))

    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(self.create_tempdir().full_path)
        random = np.random.default_rng(0)
        self.pictures = [random.integers(0, 256, (*shape, 3), np.uint8) for shape in self.SHAPES]
        paths = [self.folder / f"{i}.png" for i in range(5)]
        for picture, path in zip(self.pictures, paths, strict=True):
            Image.fromarray(picture).save(path)
        nothing = frozenset()
        self.queries = (
            Query("a", 0, self.BOXES[0], frozenset({1}), nothing),
            Query("b", 1, self.BOXES[1], frozenset({0}), nothing),
            Query("elsewhere", None, self.BOXES[2], frozenset({3}), nothing, picture=paths[4]),
        )
        self.own = [self.pictures[0], self.pictures[1], self.pictures[4]]
        names = tuple(path.name for path in paths[:4])
        self.images = ImageSet("toy", names, tuple(paths[:4]), self.queries)
        self.finished = 0

    def progress(self, count):
        self.finished += count

    def fill(self, extraction, *, model=None, images=None, name="store", weights="w", queries=True):
        model, images = model or _tiny(), images or self.images
        files = fingerprint_files(images)
        store = open_store(self.folder / name, model, images, extraction, weights=weights, files=files, queries=queries)
        self.addCleanup(store.close)
        return store, fill_store(store, model, images, extraction, queries=queries, progress=self.progress)

    def assert_row(self, store, row, expected):
        """``expected``: `encoder.Pooled` of one image."""
        for name in ("sums", "channel_weights", "class_sums"):
            found, value = getattr(store, name)[row], np.asarray(getattr(expected, name)[0])
            np.testing.assert_allclose(found, value, rtol=1e-4, atol=1e-4 * np.abs(value).max())


class ImagesTest(TinyCase):
    def fill(self, extraction=NONE, **options):
        return super().fill(extraction, queries=False, **options)

    def test_rows_of_whole_pictures(self):
        resize = Resize("min", 50)
        store, left_out = self.fill(Extraction(resize))
        self.assertEqual((left_out, self.finished), ([], 4))
        for row in range(4):
            picture = resize(self.pictures[row])[None]
            expected = encoder.pool(_tiny(), picture, class_ids=np.arange(10))
            self.assert_row(store, row, expected)
            np.testing.assert_allclose(store.logits[row], expected.logits[0], atol=1e-4)

    def test_power_means_are_class_vectors_already(self):
        model = _tiny(pooling="gem")
        store, _ = self.fill(model=model)
        for row in range(4):
            expected = cwcf_jax.class_vectors(model, self.pictures[row][None], class_ids=[3, 1]).vectors
            found = store.class_vectors(slice(row, row + 1), np.array([3, 1]))
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())
        plain, _ = self.fill(name="sums")
        for name in ("sums", "channel_weights", "logits"):  # the baselines' rows are the same
            np.testing.assert_allclose(getattr(store, name), getattr(plain, name), rtol=1e-4, atol=1e-4)
        store.close()
        with self.assertRaisesRegex(StaleStoreError, "encoder: .* there, .* now"):
            self.fill()  # sums into the store of power means

    def test_stores_of_sums_are_known_as_before_there_were_others(self):
        found = fingerprint(_tiny(), self.images, NONE, weights="w", files="f", queries=False)["encoder"]
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
        self.assertEqual(found, expected)

    def test_batches_change_nothing(self):
        one, _ = self.fill(name="one")
        three, _ = self.fill(dataclasses.replace(NONE, batch_size=3), name="three")
        for name in ("sums", "channel_weights", "class_sums", "logits"):
            np.testing.assert_allclose(getattr(three, name), getattr(one, name), rtol=1e-4, atol=1e-3)

    def test_unreadable_pictures_are_left_out_and_tried_again(self):
        broken = self.images.paths[2]
        content = broken.read_bytes()
        broken.write_bytes(content[:100])
        store, left_out = self.fill()
        self.assertLen(left_out, 1)
        self.assertIn(str(broken), left_out[0])
        self.assertEqual((store.done.tolist(), self.finished), ([True, True, False, True], 4))
        again = fill_store(store, _tiny(), self.images, NONE, queries=False, progress=self.progress)
        self.assertEqual(again, left_out)
        store.close()
        broken.write_bytes(content)
        with self.assertRaisesRegex(StaleStoreError, "files: .* there, .* now"):
            self.fill()

    @parameterized.parameters(
        ("weights", {"weights": "x"}, {}),
        ("preprocessing", {"extraction": Extraction(Resize("min", 99))}, {}),
        ("encoder", {}, {"cam_normalization": "max_clip"}),
        ("encoder", {}, {"drop_negative": False}),
        ("encoder", {}, {"pixel_mean": (1.0, 2.0, 3.0)}),
        ("encoder", {}, {"pooling": "gem"}),
        ("fields", {}, {"feature_layer": "conv1_1"}),
    )
    def test_another_setting_is_refused(self, key, changes, options):
        self.fill()[0].close()
        with self.assertRaisesRegex(StaleStoreError, f"{key}: .* there, .* now"):
            self.fill(**changes, model=_tiny(**options))

    def test_fingerprint_covers_names_and_contents(self):
        first = fingerprint_files(self.images)
        renamed = fingerprint_files(dataclasses.replace(self.images, names=(*self.images.names[:3], "other")))
        self.images.paths[3].write_bytes(b"changed")
        changed = fingerprint_files(self.images)
        self.images.paths[3].unlink()
        missing = fingerprint_files(self.images)
        self.assertLen({first, renamed, changed, missing}, 4)


class QueriesTest(TinyCase):
    EVERY = np.arange(10)

    def cut(self, i):
        x1, y1, x2, y2 = (int(side) for side in self.BOXES[i])
        return self.own[i][y1:y2, x1:x2]

    @parameterized.parameters(1, 2)
    def test_regions_of_pictures_in_the_database_and_elsewhere(self, batch_size):
        store, left_out = self.fill(Extraction(Resize(), batch_size=batch_size))
        self.assertEqual((left_out, self.finished), ([], 3))
        for i, box in enumerate(self.BOXES):
            expected = encoder.pool(_tiny(), self.own[i][None], boxes=[box], class_ids=self.EVERY)
            self.assert_row(store, i, expected)
            np.testing.assert_allclose(store.logits[i], expected.logits[0], atol=1e-4)

    @parameterized.parameters((True, 2.0), (False, 1.0))
    def test_boxes_follow_the_resize(self, scaled, factor):
        resize = Resize("min", 140)
        picture = resize(self.pictures[0])
        self.assertEqual(picture.shape, (140, 180, 3))
        images = dataclasses.replace(self.images, queries=self.queries[:1])
        store, _ = self.fill(Extraction(resize, scale_boxes=scaled), images=images)
        pixels = [[side * factor for side in self.BOXES[0]]]
        self.assert_row(store, 0, encoder.pool(_tiny(), picture[None], boxes=pixels, class_ids=self.EVERY))

    @parameterized.parameters("none", "max48")
    def test_pixels_of_the_box_as_an_image(self, text):
        resize = Resize.parse(text)
        store, _ = self.fill(Extraction(resize, batch_size=2, crop_queries=True))
        for i in range(3):
            expected = encoder.pool(_tiny(), resize(self.cut(i))[None], class_ids=self.EVERY)
            self.assert_row(store, i, expected)
            np.testing.assert_allclose(store.logits[i], expected.logits[0], atol=1e-4)

    @parameterized.product(batch_size=(1, 2), region_cells=("touched", "floor"))
    def test_classes_of_the_pixels_and_features_of_the_region(self, batch_size, region_cells):
        """paper/facts.md: a pass of the crop at native scale, sides cut to multiples of 16; features as without."""
        model = _tiny(region_cells=region_cells)
        extraction = Extraction(
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
        extraction = Extraction(Resize("max", 48), crop_queries=True, crop_classes=Resize("multiple", 16))
        store, _ = self.fill(extraction)
        for i in range(3):
            expected = encoder.pool(_tiny(), extraction.resize(self.cut(i))[None], class_ids=self.EVERY)
            self.assert_row(store, i, expected)
            crop = Resize("multiple", 16)(self.cut(i))
            alone = encoder.pool(_tiny(), crop[None], class_ids=self.EVERY)
            np.testing.assert_allclose(store.logits[i], alone.logits[0], atol=1e-4)

    def test_only_what_is_missing_is_passed_again(self):
        extraction = Extraction(Resize(), crop_classes=Resize("multiple", 16))
        self.images.paths[0].write_bytes(b"no picture")
        store, left_out = self.fill(extraction)
        self.assertLen(left_out, 1)
        self.assertIn(str(self.images.paths[0]), left_out[0])
        self.assertEqual((store.done.tolist(), self.finished), ([False, True, True], 3))
        before = np.array(store.logits)
        Image.fromarray(self.pictures[0]).save(self.images.paths[0])
        fill_store(store, _tiny(), self.images, extraction, queries=True, progress=self.progress)
        self.assertTrue(store.done.all())
        np.testing.assert_array_equal(store.logits[1:], before[1:])
        alone = encoder.pool(_tiny(), Resize("multiple", 16)(self.cut(0))[None], class_ids=self.EVERY)
        np.testing.assert_allclose(store.logits[0], alone.logits[0], atol=1e-4)

    def test_a_crop_that_no_network_is_given_is_reported(self):
        """Its picture, made smaller, is readable; neither its region's nor another query's classes may stand in."""
        extraction = Extraction(Resize("max", 32), batch_size=3, crop_classes=Resize("multiple", 16))
        with mock.patch.object(picture_module, "MAX_RESIZED_PIXELS", 2000):  # the crops make 1536, 2560 and 1536
            store, left_out = self.fill(extraction)
        self.assertLen(left_out, 1)
        self.assertStartsWith(left_out[0], f"{self.images.paths[1]}: 41 x 90 pixels under resize multiple16")
        self.assertEqual(store.done.tolist(), [True, False, True])
        self.assertEqual(self.finished, 3)

    def test_other_queries_are_refused(self):
        plain = Extraction(Resize())
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
            self.fill(plain, model=_tiny(region_cells="floor"))
        moved = dataclasses.replace(self.queries[0], box=(1.0, 2.0, 3.0, 4.0))
        with self.assertRaisesRegex(StaleStoreError, "regions: .* there, .* now"):
            self.fill(plain, images=dataclasses.replace(self.images, queries=(moved, *self.queries[1:])))

    def test_images_do_not_depend_on_how_queries_are_cut(self):
        plain = Extraction(Resize())
        cut = Extraction(Resize(), scale_boxes=False, crop_queries=True, crop_classes=Resize("multiple", 16))
        rows = {"weights": "w", "files": "f", "queries": False}
        first = fingerprint(_tiny(), self.images, plain, **rows)
        second = fingerprint(_tiny(region_cells="floor"), self.images, cut, **rows)
        self.assertEqual(first, second)

    def test_what_is_applied_to_stored_rows_is_no_part_of_them(self):
        plain = Extraction(Resize())
        for queries in (False, True):
            rows = {"weights": "w", "files": "f", "queries": queries}
            first = fingerprint(_tiny(), self.images, plain, **rows)
            model = _tiny(channel_weighting=False, repeat_dropped=True)
            self.assertEqual(fingerprint(model, self.images, plain, **rows), first)

    def test_contents_of_pictures_elsewhere_count(self):
        first = fingerprint_files(self.images)
        self.queries[2].picture.write_bytes(b"changed")
        self.assertNotEqual(fingerprint_files(self.images), first)
        without = dataclasses.replace(self.images, queries=self.queries[:2])
        self.assertNotEqual(fingerprint_files(without), fingerprint_files(self.images))


class MapsTest(TinyCase):
    def fill_maps(self, store, rows, *, queries=False, extraction=Extraction(Resize(), batch_size=2)):  # noqa: B008
        self.passes = 0

        def compute(batch):
            self.passes += len(batch.indices)
            return model_maps(_tiny(), batch)

        return fill_maps(
            store, self.images, extraction, np.array(rows), compute, queries=queries, progress=self.progress
        )

    def open(self):
        return MapStore(self.folder / "maps", dtype="float16")

    def assert_maps(self, store, row, image):
        expected = encoder.feature_maps(_tiny(), image[None])
        found = store.read(row)
        self.assertEqual(found.keys(), {"features", "cam_features"})
        for name, size in (("features", expected.feature_size), ("cam_features", expected.cam_size)):
            height, width = size[0].tolist()
            value = np.asarray(getattr(expected, name)[0, :height, :width])
            self.assertEqual(found[name].shape, value.shape)  # the valid area alone
            np.testing.assert_allclose(found[name], value, rtol=1e-3, atol=1e-3)

    def test_maps_of_images(self):
        store = self.open()
        self.assertEqual(self.fill_maps(store, [3, 0, 2]), [])
        self.assertEqual((self.finished, self.passes), (3, 3))
        for row in (0, 2, 3):
            self.assert_maps(store, row, self.pictures[row])
        self.assertEqual(store.missing(range(4)), [1])

    def test_what_is_there_is_not_made_again(self):
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
            self.assert_maps(store, row, self.own[row])

    def test_resized_and_cut(self):
        store = self.open()
        extraction = Extraction(Resize("max", 40), crop_queries=True)
        self.fill_maps(store, [2], queries=True, extraction=extraction)
        x1, y1, x2, y2 = (int(side) for side in self.BOXES[2])
        self.assert_maps(store, 2, extraction.resize(self.own[2][y1:y2, x1:x2]))


if __name__ == "__main__":
    absltest.main()
