"""Tests of embeddings: all class vectors of an image at once, compared with `encode` under each strategy."""

import functools

import numpy as np
from absl.testing import absltest

import cwcf_jax
from cwcf_jax import encoder
from cwcf_jax.datasets import read_oxford
from cwcf_jax.images import read_image
from tests.support import oracles, shared
from tests.support.models import any_model
from tests.training import tiny


@functools.cache
def _tiny_model():
    network = tiny.network(num_labels=10)
    return cwcf_jax.load(network, network.initialize(0))


class EmbeddingsTest(absltest.TestCase):
    def test_both_strategies_from_one_pass(self):
        model = any_model()
        photographs = read_oxford(shared.require("data/oxford_dev"))
        image = read_image(photographs.paths[0])[None, :200, :256]
        whitening = cwcf_jax.fit_pca_whitening(np.random.default_rng(0).random((80, model.feature_dim)), dim=16)
        actual = encoder.embed_classes(model, image, num_classes=8, whitening=whitening)
        self.assertEqual(actual.vectors.shape, (1, model.network.spec.num_labels, 16))
        expected = cwcf_jax.encode(model, image, num_classes=8, whitening=whitening)
        np.testing.assert_allclose(actual.descriptors, expected, atol=1e-5)
        ids = np.array([97, 3, 84])
        expected = cwcf_jax.encode(model, image, class_ids=ids, whitening=whitening)[0]
        np.testing.assert_allclose(oracles.l2(np.asarray(actual.vectors[0, ids]).sum(axis=0)), expected, atol=1e-5)
        top = cwcf_jax.class_vectors(model, image, num_classes=8)
        np.testing.assert_allclose(actual.probabilities[0, top.class_ids[0]], top.probabilities[0], rtol=1e-5)

    def test_embed_maps(self):
        model = _tiny_model()
        images = np.random.default_rng(0).integers(0, 256, (2, 128, 256, 3)).astype(np.uint8)
        sizes = np.array([[128, 200], [90, 256]])
        maps = encoder.feature_maps(model, images, sizes=sizes)
        actual = encoder.embed_maps(model, maps, num_classes=4)
        expected = cwcf_jax.encode(model, images, sizes=sizes, num_classes=4)
        np.testing.assert_allclose(actual.descriptors, expected, atol=1e-5)
        with self.assertRaisesRegex(ValueError, "between 1 and 10, not 0"):
            encoder.embed_maps(model, maps, num_classes=0)
        with self.assertRaisesRegex(ValueError, r"own_classes must be 0 \(all\) to 10 classes, not 11"):
            encoder.embed_maps(model, maps, num_classes=4, own_classes=11)

    def test_class_vectors_from_maps(self):
        model = _tiny_model()
        images = np.random.default_rng(0).integers(0, 256, (2, 128, 256, 3)).astype(np.uint8)
        sizes = np.array([[128, 200], [90, 256]])
        maps = encoder.feature_maps(model, images, sizes=sizes)
        boxes = np.array([[10, 20, 150, 120], [30, 0, 256, 90]], np.float32)
        ids = np.array([7, 3, 8])
        for options in ({}, {"boxes": boxes}, {"class_ids": ids}, {"class_ids": ids, "boxes": boxes}):
            actual = encoder.class_vectors_from_maps(model, maps, sizes, num_classes=4, **options)
            expected = cwcf_jax.class_vectors(model, images, num_classes=4, sizes=sizes, **options)
            np.testing.assert_array_equal(actual.class_ids, expected.class_ids)
            np.testing.assert_allclose(actual.vectors, expected.vectors, rtol=1e-4, atol=1e-5)
            np.testing.assert_allclose(actual.probabilities, expected.probabilities, rtol=1e-4)

    def test_a_model_that_repeats_dropped_classes_is_refused(self):
        with self.assertRaisesRegex(ValueError, "load the model without repeat_dropped"):
            encoder.embed_classes(any_model(repeat_dropped=True), np.zeros((1, 64, 64, 3), np.uint8))


if __name__ == "__main__":
    absltest.main()
