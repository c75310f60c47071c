"""Tests of the passes: against the equations in float64, on padded batches, and on images without evidence."""

import dataclasses
import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

import cwcf_jax
from cwcf_jax import networks
from cwcf_jax.datasets import read_oxford
from cwcf_jax.encoder import passes
from cwcf_jax.images import read_image
from tests.support import oracles, shared, thin
from tests.support.compilation import jit_fast
from tests.support.models import any_model
from tests.support.slow import cases, slow
from tests.training import tiny


@functools.cache
def _model(**options):
    """Loads a network with a classifier: a thin network, or GoogLeNet if CWCF_SLOW is set."""
    if cases(quick=True, whole=False):
        return any_model(**options)
    return cwcf_jax.load("googlenet", shared.require("weights/googlenet_bvlc.npz"), **options)


@functools.cache
def _random_model(network, **options):
    return cwcf_jax.load(network, network.initialize(0), **options)


@functools.cache
def _photograph():
    return read_image(read_oxford(shared.require("data/oxford_dev")).paths[0])


@functools.cache
def _compiled(network):
    return jit_fast(network.apply)


def _maps(model, image):
    """Computes feature maps, CAM features and logits of one unpadded image, in float64."""
    sizes = jnp.array([image.shape[:2]], jnp.int32)
    inputs = networks.preprocess(jnp.asarray(image)[None], sizes, model.network.spec.preprocessing)
    logits, activations = _compiled(model.network)(model.params, inputs, sizes)
    features = activations[model.feature_layer.name][0]
    cam_features = activations[model.network.spec.cam_layer.name][0]
    return (np.asarray(array, np.float64) for array in (features, cam_features, logits[0]))


HEIGHT, WIDTH = 117, 125
"""An image size that is padded to the same bucket as most other images of this file, to limit compilations."""


class EquationsTest(absltest.TestCase):
    """Tests that compare one photograph with section 3 of the paper, step by step in numpy."""

    def setUp(self):
        super().setUp()
        self.model = _model()
        self.image = _photograph()[300 : 300 + HEIGHT, 300 : 300 + WIDTH]
        self.kernel = np.asarray(self.model.params["classifier"]["kernel"], np.float64)
        self.bias = np.asarray(self.model.params["classifier"]["bias"], np.float64)

    def test_class_vectors_of_the_whole_image(self):
        features, cam_features, logits = _maps(self.model, self.image)
        actual = cwcf_jax.class_vectors(self.model, self.image[None], num_classes=8)
        top = np.argsort(-logits, kind="stable")[:8]
        self.assertEqual(actual.class_ids[0].tolist(), top.tolist())
        exponentials = np.exp(logits - logits.max())
        np.testing.assert_allclose(actual.probabilities[0], (exponentials / exponentials.sum())[top], rtol=1e-4)
        for row, c in zip(actual.vectors[0], top, strict=True):
            cam = oracles.min_max(cam_features @ self.kernel[:, c])
            expected = oracles.class_vector(features, cam)
            np.testing.assert_allclose(row, expected, atol=1e-4 * np.abs(expected).max())

    def test_descriptor_with_whitening(self):
        features, cam_features, logits = _maps(self.model, self.image)
        training = np.random.default_rng(0).random((40, self.model.feature_dim))
        whitening = cwcf_jax.fit_pca_whitening(training, dim=16)
        projection = np.asarray(whitening.projection, np.float64) / np.sqrt(np.asarray(whitening.eigenvalues))
        top = np.argsort(-logits, kind="stable")[:8]
        vectors = [oracles.class_vector(features, oracles.min_max(cam_features @ self.kernel[:, c])) for c in top]
        expected = oracles.descriptor(vectors, np.asarray(whitening.mean), projection)
        actual = cwcf_jax.encode(self.model, self.image[None], num_classes=8, whitening=whitening)
        self.assertEqual(actual.dtype, jnp.float32)
        np.testing.assert_allclose(actual[0], expected, atol=1e-4)

    def test_box(self):
        """Classes and channel weights are those of the box's cells; CAMs are normalised over the whole image."""
        features, cam_features, _ = _maps(self.model, self.image)
        x1, y1, x2, y2 = 20.0, 14.0, 88.0, 70.0
        height, width = features.shape[:2]
        rows = slice(int(np.floor(y1 * height / HEIGHT)), int(np.ceil(y2 * height / HEIGHT)))
        columns = slice(int(np.floor(x1 * width / WIDTH)), int(np.ceil(x2 * width / WIDTH)))
        logits = cam_features[rows, columns].mean(axis=(0, 1)) @ self.kernel + self.bias
        top = np.argsort(-logits, kind="stable")[:4]
        actual = cwcf_jax.class_vectors(self.model, self.image[None], num_classes=4, boxes=[[x1, y1, x2, y2]])
        self.assertEqual(actual.class_ids[0].tolist(), top.tolist())
        for row, c in zip(actual.vectors[0], top, strict=True):
            cam = oracles.min_max(cam_features @ self.kernel[:, c])[rows, columns]
            expected = oracles.class_vector(features[rows, columns], cam)
            np.testing.assert_allclose(row, expected, atol=1e-4 * np.abs(expected).max())

    def test_finer_feature_layer_resizes_the_maps(self):
        model = _model(feature_layer=cases("conv3_1", "inception_4e"))
        features, cam_features, logits = _maps(model, self.image)
        top = int(np.argmax(logits))
        cam = oracles.min_max(cam_features @ self.kernel[:, top])
        resized = jax.image.resize(jnp.asarray(cam, jnp.float32), features.shape[:2], "linear", antialias=False)
        expected = oracles.class_vector(features, np.asarray(resized, np.float64))
        actual = cwcf_jax.class_vectors(model, self.image[None], num_classes=1).vectors[0, 0]
        np.testing.assert_allclose(actual, expected, atol=1e-4 * np.abs(expected).max())

    def test_class_ids(self):
        features, cam_features, _ = _maps(self.model, self.image)
        ids = cases([32, 27, 47], [497, 538, 0])
        one_list = cwcf_jax.class_vectors(self.model, self.image[None], class_ids=ids)
        list_per_image = cwcf_jax.class_vectors(self.model, self.image[None], class_ids=[ids])
        self.assertEqual(one_list.class_ids.tolist(), [ids])
        np.testing.assert_array_equal(one_list.vectors, list_per_image.vectors)
        for row, c in zip(one_list.vectors[0], ids, strict=True):
            cam = cam_features @ self.kernel[:, c]
            expected = oracles.class_vector(features, oracles.min_max(cam)) * float(cam.max() > 0)
            np.testing.assert_allclose(row, expected, atol=1e-4 * np.abs(expected).max())
        self.assertEqual([bool(row.any()) for row in one_list.vectors[0]], [True, True, False])


class OptionsTest(absltest.TestCase):
    """Tests of the encoder config's options with a network that has a classifier like GoogLeNet's."""

    def setUp(self):
        super().setUp()
        self.image = _photograph()[300 : 300 + HEIGHT, 300 : 300 + WIDTH]
        self.weighted = cwcf_jax.class_vectors(_random_model(thin.NETWORK), self.image[None], num_classes=8)

    def test_channel_weighting(self):
        model = _random_model(thin.NETWORK, channel_weighting=False)
        plain = cwcf_jax.class_vectors(model, self.image[None], num_classes=8)
        features, _, _ = _maps(model, self.image)
        expected = np.asarray(plain.vectors[0]) * oracles.channel_weights(features)
        np.testing.assert_allclose(self.weighted.vectors[0], expected, atol=1e-4 * np.abs(expected).max())

    def test_normalization(self):
        model = _random_model(thin.NETWORK, cam_normalization="max_clip")
        actual = cwcf_jax.class_vectors(model, self.image[None], num_classes=8)
        features, cam_features, _ = _maps(model, self.image)
        for row, c in zip(actual.vectors[0], actual.class_ids[0].tolist(), strict=True):
            cam = np.maximum(cam_features @ np.asarray(model.params["classifier"]["kernel"][:, c], np.float64), 0.0)
            expected = oracles.class_vector(features, cam / cam.max())
            np.testing.assert_allclose(row, expected, atol=1e-4 * np.abs(expected).max())
        difference = jnp.abs(actual.vectors - self.weighted.vectors).max()
        self.assertGreater(float(difference / jnp.abs(actual.vectors).max()), 0.01)


class NoClassifierTest(absltest.TestCase):
    """Tests with SqueezeNet, where the maps of conv10 are the class activation maps."""

    def test_class_vectors_and_descriptor(self):
        model = _random_model(networks.get("squeezenet1_1"))
        image = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8)
        features, maps, logits = _maps(model, image)
        np.testing.assert_allclose(maps.mean(axis=(0, 1)), logits, rtol=1e-5)
        top = np.argsort(-logits, kind="stable")[:8]
        actual = cwcf_jax.class_vectors(model, image[None], num_classes=8)
        self.assertEqual(actual.class_ids[0].tolist(), top.tolist())
        expected = [oracles.class_vector(features, oracles.min_max(maps[..., c])) for c in top]
        for row, vector in zip(actual.vectors[0], expected, strict=True):
            np.testing.assert_allclose(row, vector, atol=1e-4 * np.abs(vector).max())
        actual = cwcf_jax.encode(model, image[None], num_classes=8)
        np.testing.assert_allclose(actual[0], oracles.descriptor(expected), atol=1e-4)

    def test_a_provenance_record_with_other_classes(self):
        network = networks.get("squeezenet1_1").with_spec(num_labels=7, class_names=tuple("abcdefg"))
        record = networks.Provenance(
            "squeezenet1_1", "here", "", "", network.spec.preprocessing, 7, network.spec.class_names
        )
        file = pathlib.Path(self.create_tempdir().full_path) / "weights.npz"
        networks.save_params(network.initialize(0), file, record)
        model = cwcf_jax.load("squeezenet1_1", file)
        self.assertEqual(model.cam_layer.channels, 7)
        image = np.random.default_rng(0).integers(0, 256, (1, 90, 120, 3)).astype(np.uint8)
        actual = cwcf_jax.class_vectors(model, image, num_classes=7)
        self.assertEqual(sorted(actual.class_ids[0].tolist()), list(range(7)))
        with self.assertRaisesRegex(ValueError, "num_classes must lie between 1 and 7, not 64"):
            cwcf_jax.encode(model, image)


class PaddingTest(absltest.TestCase):
    def test_padded_equals_unpadded_for_3_sizes(self):
        self._check_sizes(any_model(), [(1, 1), (17, 300), (129, 255)])

    @slow
    def test_padded_equals_unpadded_for_20_sizes(self):
        generator = np.random.default_rng(0)
        sizes = [(17, 17), (17, 300), (20, 18), (31, 33), (128, 128), (129, 255)]
        self._check_sizes(any_model(), sizes + [tuple(generator.integers(20, 129, 2)) for _ in range(14)])

    @slow
    def test_padded_equals_unpadded_down_to_one_pixel(self):
        self._check_sizes(_model(), [(1, 1), (1, 120), (115, 97)])

    def _check_sizes(self, model, sizes):
        image = _photograph()
        unpadded = jit_fast(lambda m, i: cwcf_jax.encode(m, i, num_classes=8))
        for height, width in sizes:
            crop = image[:height, :width][None]
            padded = cwcf_jax.encode(model, crop, num_classes=8)
            np.testing.assert_allclose(
                padded, unpadded(model, jnp.asarray(crop)), atol=1e-5, err_msg=f"{height} {width}"
            )

    def test_each_bucket_is_compiled_once(self):
        network = tiny.network()
        model = cwcf_jax.load(network, network.initialize(0))
        passes._encode.clear_cache()
        sizes = [(100, 120), (128, 128), (90, 17), (129, 100), (200, 128), (256, 1), (300, 300), (260, 384)]
        buckets = {(128, 128), (240, 128), (256, 128), (384, 384)}
        whitening = [
            cwcf_jax.fit_pca_whitening(np.random.default_rng(i).random((9, 6)), fitted_on=str(i)) for i in (0, 1)
        ]
        for i, (height, width) in enumerate(sizes * 2):
            image = np.full((1, height, width, 3), i, np.uint8)
            image = image if i % 3 else jnp.asarray(image)
            cwcf_jax.encode(model, image, num_classes=2, whitening=whitening[i % 2])
        self.assertEqual(passes._encode._cache_size(), len(buckets))

    def test_batch_of_several_sizes(self):
        model, image = any_model(), _photograph()
        sizes = [(100, 75), (65, 125), (128, 128)]
        batch = np.full((3, 128, 128, 3), 255, np.uint8)  # pixels outside the valid area are ignored
        for row, (height, width) in zip(batch, sizes, strict=True):
            row[:height, :width] = image[:height, :width]
        actual = cwcf_jax.encode(model, batch, num_classes=8, sizes=sizes)
        for row, (height, width) in zip(actual, sizes, strict=True):
            alone = cwcf_jax.encode(model, image[None, :height, :width], num_classes=8)
            np.testing.assert_allclose(row, alone[0], atol=1e-5)


class DegenerateTest(parameterized.TestCase):
    """Tests of degenerate images and networks: results are defined and never NaN."""

    @parameterized.parameters((1, 1), (7, 9), (120, 110))
    def test_constant_image(self, height, width):
        for value in (0, 128, 255):
            image = np.full((1, height, width, 3), value, np.uint8)
            actual = np.asarray(cwcf_jax.encode(_model(), image, num_classes=8))
            self.assertAlmostEqual(float(np.linalg.norm(actual)), 1.0, places=5)

    def test_one_cell_region(self):
        image = _photograph()[None, :128, :128]
        for box in ([10, 10, 11, 11], [-50, -50, -1, -1], [5000, 5000, 6000, 6000]):
            actual = np.asarray(cwcf_jax.encode(any_model(), image, num_classes=8, boxes=[box]))
            self.assertTrue(np.isfinite(actual).all())
            self.assertAlmostEqual(float(np.linalg.norm(actual)), 1.0, places=5)

    def test_dead_network(self):
        model = _model()
        dead = dataclasses.replace(model, params=jax.tree.map(jnp.zeros_like, model.params))
        image = _photograph()[None, :128, :128]
        whitening = cwcf_jax.fit_pca_whitening(np.random.default_rng(0).random((40, model.feature_dim)), dim=16)
        for optional_whitening in (None, whitening):
            actual = cwcf_jax.encode(dead, image, num_classes=8, whitening=optional_whitening)
            np.testing.assert_array_equal(actual, np.zeros_like(actual))

    def test_classes_without_evidence_are_dropped(self):
        image = _photograph()[None, :128, :128]
        for drop in (True, False):
            model = _random_model(thin.NETWORK, drop_negative=drop)
            classifier = model.params["classifier"]
            # The CAM of class 7 becomes minus the sum of the activations.
            negative = classifier | {"kernel": classifier["kernel"].at[:, 7].set(-1.0)}
            changed = dataclasses.replace(model, params=model.params | {"classifier": negative})
            vectors = cwcf_jax.class_vectors(changed, image, class_ids=[6, 7]).vectors[0]
            self.assertEqual(bool(jnp.all(vectors[1] == 0)), drop)
            self.assertFalse(bool(jnp.all(vectors[0] == 0)))
            both = cwcf_jax.encode(changed, image, class_ids=[6, 7])
            only_positive = cwcf_jax.encode(changed, image, class_ids=[6, 6])
            self.assertEqual(bool(jnp.allclose(both, only_positive, atol=1e-6)), drop)


if __name__ == "__main__":
    absltest.main()
