"""Pictures through the network into a class-vector store."""

import dataclasses
from unittest import mock

import numpy as np
from absl.testing import absltest

import cwcf_jax
from cwcf_jax.extraction import class_vectors, fill_class_vectors, fingerprint_class_vectors
from cwcf_jax.images import read_batches
from cwcf_jax.store import ClassVectorStore, ClassVectorWriter, Layout
from tests.extraction.filling_test import NONE, TinyCase, _tiny


class FillTest(TinyCase):
    def setUp(self):
        super().setUp()
        self.dim = _tiny().feature_dim

    def fill_store(self, name="vectors", *, model=None, whitening=None, extraction=NONE, **changes):
        dim = self.dim if whitening is None else whitening.dim
        layout = Layout(**({"classes": tuple(range(10)), "dim": dim, "dtype": "float16", "fragment": 4} | changes))
        with ClassVectorWriter(self.folder / name, {}, layout) as writer:
            self.left_out = fill_class_vectors(
                writer, model or _tiny(), self.images, extraction, whitening, progress=self.progress
            )
        return ClassVectorStore(self.folder / name)

    def vectors(self, store, row):
        """[classes, dim] of one image."""
        found = store.vectors(np.array([row]), np.arange(len(store.layout.classes)))
        scales = 1.0 if found.scales is None else found.scales[:, 0, None]
        return found.values[:, 0].astype(np.float64) * scales

    def test_unit_class_vectors_of_every_class(self):
        store = self.fill_store()
        self.assertEqual(self.finished, 4)
        for i, picture in enumerate(self.pictures[:4]):
            expected = np.asarray(cwcf_jax.class_vectors(_tiny(), picture[None], class_ids=np.arange(10)).vectors[0])
            norms = np.linalg.norm(expected, axis=1, keepdims=True)
            expected = np.where(norms > 0, expected / np.where(norms > 0, norms, 1.0), 0.0)
            np.testing.assert_allclose(self.vectors(store, i), expected, atol=2e-3)

    def test_whitened_quantized_and_of_some_classes(self):
        whitening = cwcf_jax.fit_pca_whitening(np.random.default_rng(0).random((60, self.dim)), dim=5)
        full = self.fill_store(whitening=whitening)
        some = self.fill_store("some", whitening=whitening, dtype="int8", classes=(2, 7))
        for i in range(4):
            np.testing.assert_allclose(self.vectors(some, i), self.vectors(full, i)[[2, 7]], atol=5e-3)

    def test_batches_and_windows_change_nothing(self):
        one = self.fill_store()
        with mock.patch.object(class_vectors, "WINDOW", 3), mock.patch.object(class_vectors, "FLUSH_SECONDS", 0.0):
            other = self.fill_store("other", extraction=dataclasses.replace(NONE, batch_size=2))
        for i in range(4):
            np.testing.assert_allclose(self.vectors(other, i), self.vectors(one, i), atol=2e-3)

    def test_goes_on_where_it_stopped(self):
        whole = self.fill_store()
        images, self.images = (
            self.images,
            dataclasses.replace(self.images, names=self.images.names[:3], paths=self.images.paths[:3], queries=()),
        )
        self.fill_store("parts")
        self.images, self.finished = images, 0
        with mock.patch.object(streaming, "read_batches", wraps=read_batches) as read:
            parts = self.fill_store("parts")
        self.assertEqual([list(call.args[1]) for call in read.call_args_list], [[3]])
        self.assertEqual(self.finished, 4)
        for i in range(4):
            np.testing.assert_array_equal(self.vectors(parts, i), self.vectors(whole, i))

    def test_an_unreadable_picture_scores_nothing(self):
        self.images.paths[1].write_bytes(b"not a picture")
        store = self.fill_store()
        self.assertRegex(self.left_out[0], "1.png: cannot be read as a picture")
        self.assertEqual(np.abs(self.vectors(store, 1)).max(), 0.0)
        self.assertLen(store, 4)
        self.assertGreater(np.abs(self.vectors(store, 2)).max(), 0.0)

    def test_layouts_that_do_not_fit(self):
        with self.assertRaisesRegex(ValueError, f"have {self.dim} numbers and 10 classes, not 3 numbers and class 9"):
            self.fill_store(dim=3)
        with self.assertRaisesRegex(ValueError, "and class 10"):
            self.fill_store("other", classes=(10,))
        with self.assertRaisesRegex(ValueError, "load the model without repeat_dropped"):
            self.fill_store("third", model=_tiny(repeat_dropped=True))


class FingerprintTest(TinyCase):
    def fingerprint(self, model=None, whitening=None):
        return fingerprint_class_vectors(model or _tiny(), self.images, NONE, whitening, weights="w", files="f")

    def test_what_changes_a_vector_is_part_of_it(self):
        first = cwcf_jax.fit_pca_whitening(np.random.default_rng(0).random((60, 8)), dim=5, fitted_on="a")
        second = dataclasses.replace(first, mean=first.mean + 1e-3)
        found = [
            self.fingerprint(),
            self.fingerprint(whitening=first),
            self.fingerprint(whitening=second),
            self.fingerprint(_tiny(channel_weighting=False)),
            self.fingerprint(_tiny(cam_normalization="max_clip")),
        ]
        self.assertLen({repr(one) for one in found}, 5)
        renamed = dataclasses.replace(first, fitted_on="b")
        self.assertEqual(self.fingerprint(whitening=renamed), self.fingerprint(whitening=first))
        self.assertEqual(self.fingerprint()["files"], "f")


if __name__ == "__main__":
    absltest.main()
