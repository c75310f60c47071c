"""Real photographs through the network into a store."""

import dataclasses
import functools
import pathlib
import shutil

import jax.numpy as jnp
import numpy as np
from absl.testing import absltest

import cwcf_jax
from cwcf_jax import benchmark, datasets, indexing
from cwcf_jax.datasets import ImageSet, Query, Resize
from cwcf_jax.indexing import Extraction
from cwcf_jax.store import StaleStoreError
from tests import shared

NONE = Extraction(Resize())


@functools.cache
def _model(**options):
    return cwcf_jax.load("googlenet", shared.require("weights/googlenet_bvlc.npz"), **options)


class IndexingTest(absltest.TestCase):
    def setUp(self):
        super().setUp()
        everything = datasets.read_folder(shared.require("data/boofcv_triplets"))
        self.folder = pathlib.Path(self.create_tempdir().full_path)
        for name, path in zip(everything.names[40:45], everything.paths[40:45], strict=True):
            target = self.folder / "pictures" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
        self.images = datasets.read_folder(self.folder / "pictures")
        self.finished = 0

    def _progress(self, count):
        self.finished += count

    def _open(self, images, extraction, *, model, weights="w", queries=False, name="store"):
        files = indexing.fingerprint_files(images)
        return indexing.open_store(
            self.folder / name, model, images, extraction, weights=weights, files=files, queries=queries
        )

    def _fill(self, images, extraction=NONE, *, model=None, queries=False, name="store"):
        model = model or _model()
        store = self._open(images, extraction, model=model, queries=queries, name=name)
        self.addCleanup(store.close)
        left_out = indexing.fill_store(store, model, images, extraction, queries=queries, progress=self._progress)
        return store, left_out

    def test_rows_give_the_descriptors_of_encode(self):
        store, left_out = self._fill(self.images)
        self.assertEqual(left_out, [])
        self.assertEqual(self.finished, 5)
        whitening = cwcf_jax.fit_pca_whitening(np.random.default_rng(0).random((60, 832)), dim=32)
        offline = benchmark.describe(store, whitening, (1, 16))
        fixed = benchmark.describe(store, whitening, (3,), np.array([497, 538, 884]))
        for i, path in enumerate(self.images.paths):
            image = datasets.read_image(path)[None]
            for m, count in enumerate((1, 16)):
                expected = cwcf_jax.encode(_model(), image, num_classes=count, whitening=whitening)[0]
                np.testing.assert_allclose(offline[m, i], expected, atol=1e-5)
            expected = cwcf_jax.encode(_model(), image, class_ids=[497, 538, 884], whitening=whitening)[0]
            np.testing.assert_allclose(fixed[0, i], expected, atol=1e-5)

    def test_batches_change_nothing(self):
        one, _ = self._fill(self.images, name="one")
        four, _ = self._fill(self.images, dataclasses.replace(NONE, batch_size=4), name="four")
        np.testing.assert_allclose(four.class_sums, one.class_sums, rtol=1e-4, atol=1e-2)
        np.testing.assert_allclose(four.logits, one.logits, atol=1e-4)

    def test_unreadable_pictures_are_left_out_and_tried_again(self):
        broken = self.images.paths[2]
        content = broken.read_bytes()
        broken.write_bytes(content[:100])
        store, left_out = self._fill(self.images)
        self.assertLen(left_out, 1)
        self.assertIn(str(broken), left_out[0])
        self.assertEqual(store.done.tolist(), [True, True, False, True, True])
        self.assertEqual(self.finished, 5)
        again = indexing.fill_store(store, _model(), self.images, NONE, queries=False, progress=self._progress)
        self.assertEqual(again, left_out)
        store.close()
        broken.write_bytes(content)
        with self.assertRaisesRegex(StaleStoreError, "files: .* there, .* now"):
            self._open(self.images, NONE, model=_model())

    def test_another_setting_is_refused(self):
        store, _ = self._fill(self.images)
        store.close()
        others = {
            "weights": (_model(), "x", NONE),
            "preprocessing": (_model(), "w", Extraction(Resize("min", 99))),
            "encoder": (_model(cam_normalization="max_clip"), "w", NONE),
            "dim": (_model(feature_layer="inception_3a"), "w", NONE),
        }
        for key, (model, weights, extraction) in others.items():
            with self.assertRaisesRegex(StaleStoreError, f"{key}: .* there, .* now"):
                self._open(self.images, extraction, model=model, weights=weights)

    def test_query_boxes_follow_the_resize(self):
        box = (20.0, 30.0, 180.0, 140.0)
        queries = (Query("q", 1, box, frozenset({0}), frozenset()),)
        images = ImageSet("toy", self.images.names, self.images.paths, queries)
        path = images.paths[1]
        original = datasets.read_image(path)
        height, width = original.shape[:2]
        resize = Resize("min", 2 * min(height, width))
        for scaled, factor in ((True, 2.0), (False, 1.0)):
            extraction = Extraction(resize, scale_boxes=scaled)
            store, _ = self._fill(images, extraction, queries=True, name=f"scaled {scaled}")
            pixels = jnp.asarray(box) * factor
            expected = cwcf_jax.class_vectors(_model(), resize(original)[None], num_classes=1, boxes=pixels[None])
            top = benchmark.top_classes(store, 1)[0]
            self.assertEqual(top.tolist(), expected.class_ids[0].tolist())
            found = store.class_vectors(np.array([0]), top)[0, 0]
            np.testing.assert_allclose(found, expected.vectors[0, 0], rtol=1e-3, atol=1e-2)

    def test_fingerprint_covers_names_and_contents(self):
        first = indexing.fingerprint_files(self.images)
        renamed = indexing.fingerprint_files(dataclasses.replace(self.images, names=(*self.images.names[:4], "other")))
        self.images.paths[4].write_bytes(b"changed")
        changed = indexing.fingerprint_files(self.images)
        self.assertLen({first, renamed, changed}, 3)


if __name__ == "__main__":
    absltest.main()
