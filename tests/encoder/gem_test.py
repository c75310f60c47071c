"""Tests of power means (``pooling="gem"``) in all functions that compute class vectors, with a tiny network."""

import functools
import pickle

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest
from jax.sharding import Mesh

import cwcf_jax
from cwcf_jax import encoder, networks
from tests.support import oracles
from tests.training import tiny

SHAPE = 53, 70


@functools.cache
def _model(**options):
    network = tiny.network(num_labels=10)
    return cwcf_jax.load(network, network.initialize(0), pooling="gem", **options)


@functools.cache
def _image():
    return np.random.default_rng(1).integers(0, 256, (1, *SHAPE, 3)).astype(np.uint8)


@functools.cache
def _whitening():
    return cwcf_jax.fit_pca_whitening(np.random.default_rng(0).random((60, 6)), dim=3)


def _expected_vectors(model, ids, p=3.0):
    """Computes the class vectors of the whole image in float64, from maps without padding."""
    sizes = jnp.array([SHAPE], jnp.int32)
    inputs = networks.preprocess(jnp.asarray(_image()), sizes, model.network.spec.preprocessing)
    _, maps = jax.jit(model.network.apply)(model.params, inputs, sizes)
    features, cam_features = (np.asarray(maps[name][0], np.float64) for name in ("conv2_1", "cam_conv"))
    kernel = np.asarray(model.params["classifier"]["kernel"], np.float64)
    cams = [cam_features @ kernel[:, c] for c in ids]
    return [oracles.class_power_mean(features, oracles.min_max(cam) * (cam.max() > 0), p) for cam in cams]


class PassesTest(absltest.TestCase):
    """Tests that compare padded images with the same images without padding, in float64."""

    def test_class_vectors(self):
        for options, p in (({}, 3.0), ({"gem_p": 5.0}, 5.0)):
            actual = cwcf_jax.class_vectors(_model(**options), _image(), num_classes=4)
            expected = _expected_vectors(_model(), actual.class_ids[0].tolist(), p)
            np.testing.assert_allclose(actual.vectors[0], expected, atol=1e-5 * np.abs(expected).max())

    def test_encode(self):
        whitening = _whitening()
        projection = np.asarray(whitening.projection, np.float64) / np.sqrt(np.asarray(whitening.eigenvalues))
        expected = oracles.descriptor(_expected_vectors(_model(), [4, 9, 0]), np.asarray(whitening.mean), projection)
        actual = cwcf_jax.encode(_model(), _image(), class_ids=[4, 9, 0], whitening=whitening)
        np.testing.assert_allclose(actual[0], expected, atol=1e-5)

    def test_images_of_a_batch_are_independent(self):
        sizes = [(53, 61), (20, 26)]
        batch = np.full((2, *SHAPE, 3), 255, np.uint8)
        for row, (height, width) in zip(batch, sizes, strict=True):
            row[:height, :width] = _image()[0, :height, :width]
        actual = cwcf_jax.encode(_model(), batch, sizes=sizes, num_classes=4)
        for row, (height, width) in zip(actual, sizes, strict=True):
            alone = cwcf_jax.encode(_model(), _image()[:, :height, :width], num_classes=4)
            np.testing.assert_allclose(row, alone[0], atol=1e-5)

    def test_dead_network(self):
        params = jax.tree.map(jnp.zeros_like, _model().params)
        dead = cwcf_jax.Model(params, _model().network, _model().config)
        actual = cwcf_jax.encode(dead, _image(), num_classes=4, whitening=_whitening())
        np.testing.assert_array_equal(actual, np.zeros((1, 3)))

    def test_gradient_with_respect_to_the_parameters(self):
        direction = jnp.array([0.5, -1.0, 2.0, 0.3, -0.2, 1.0])
        objective = lambda model: cwcf_jax.encode(model, _image(), class_ids=[4, 9, 0])[0] @ direction  # noqa: E731
        gradients = jax.tree.leaves(jax.jit(jax.grad(objective))(_model()))
        self.assertTrue(all(bool(jnp.isfinite(gradient).all()) for gradient in gradients))
        self.assertGreater(max(float(jnp.abs(gradient).max()) for gradient in gradients), 0.0)


class MapsTest(absltest.TestCase):
    """Tests that stored maps give the same results as the image."""

    def setUp(self):
        super().setUp()
        self.maps = encoder.feature_maps(_model(), _image())

    def test_embeddings(self):
        actual = encoder.embed_maps(_model(), self.maps, num_classes=4, whitening=_whitening())
        expected = cwcf_jax.encode(_model(), _image(), num_classes=4, whitening=_whitening())
        np.testing.assert_allclose(actual.descriptors, expected, atol=1e-5)
        vectors = cwcf_jax.class_vectors(_model(), _image(), class_ids=np.arange(10)).vectors
        for row, vector in zip(actual.vectors[0], vectors[0], strict=True):
            np.testing.assert_allclose(row, cwcf_jax.descriptors.whiten_normalized(vector, _whitening()), atol=1e-4)

    def test_class_vectors(self):
        options = {"boxes": np.array([[10, 20, 60, 50]], np.float32), "num_classes": 4}
        actual = encoder.class_vectors_from_maps(_model(), self.maps, np.array([SHAPE]), **options)
        expected = cwcf_jax.class_vectors(_model(), _image(), **options)
        np.testing.assert_array_equal(actual.class_ids, expected.class_ids)
        np.testing.assert_allclose(actual.vectors, expected.vectors, rtol=1e-4, atol=1e-6)


class PlacementTest(absltest.TestCase):
    def test_pickled(self):
        copy = pickle.loads(pickle.dumps(jax.device_get(_model())))  # noqa: S301  (the test pickled it)
        self.assertEqual(copy.config, _model().config)
        np.testing.assert_array_equal(
            cwcf_jax.encode(copy, _image(), num_classes=4), cwcf_jax.encode(_model(), _image(), num_classes=4)
        )

    def test_replicated_over_devices(self):
        replicated = encoder.replicate(_model(), Mesh(np.array(jax.devices()[:2]), ("batch",)))
        images = np.concatenate([_image(), _image()[:, ::-1]])
        actual = cwcf_jax.encode(replicated, images, num_classes=4)
        self.assertLen(actual.sharding.device_set, 2)
        np.testing.assert_allclose(actual, cwcf_jax.encode(_model(), images, num_classes=4), atol=1e-6)

    def test_bfloat16(self):
        half = _model(dtype="bfloat16")
        pooled = encoder.pool(half, _image(), num_classes=4)
        self.assertEqual(pooled.class_sums.dtype, jnp.float32)
        cosines = (
            cwcf_jax.encode(half, _image(), class_ids=[4, 9, 0])
            @ cwcf_jax.encode(_model(), _image(), class_ids=[4, 9, 0]).T
        )
        self.assertGreater(float(cosines[0, 0]), 0.99)


if __name__ == "__main__":
    absltest.main()
