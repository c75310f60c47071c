"""Tests of extractors: the maps of one layer, and their sums, compared with the network's own."""

import pathlib

import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

import cwcf_jax
from cwcf_jax import encoder, networks
from cwcf_jax.networks import CheckpointError
from tests.support import shared
from tests.training import tiny

SIZES = [(11, 14), (16, 9)]


def _images():
    """Returns images with noise also outside the valid areas, which must be ignored."""
    return np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3)).astype(np.uint8)


class ExtractorTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(self.create_tempdir().full_path)
        self.network = tiny.network(num_labels=10)
        self.params = self.network.initialize(0)
        networks.save_params(self.params, self.folder / "weights.npz", self.record())

    def record(self, **changes):
        preprocessing = changes.get("preprocessing", self.network.spec.preprocessing)
        return networks.Provenance("tiny_cam", "here", "", "", preprocessing, 10, self.network.spec.class_names)

    def load(self, **options):
        return encoder.load_extractor(self.network, self.folder / "weights.npz", **options)

    @parameterized.parameters(("conv1_1", 4, 1), ("conv2_1", 6, 2), ("pool2", 6, 4))
    def test_maps_equal_the_networks_maps(self, layer, dim, stride):
        extractor = self.load(layer=layer)
        self.assertEqual(extractor.dim, dim)
        sizes = jnp.array(SIZES, jnp.int32)
        actual, actual_sizes = encoder.layer_maps(extractor, _images(), sizes)
        self.assertEqual(actual_sizes.tolist(), [[-(-side // stride) for side in size] for size in SIZES])
        for i, (height, width) in enumerate(SIZES):
            image = jnp.asarray(_images()[i : i + 1, :height, :width])
            size = jnp.array([[height, width]], jnp.int32)
            inputs = networks.preprocess(image, size, self.network.spec.preprocessing)
            _, maps = self.network.apply(self.params, inputs, size)
            rows, columns = actual_sizes[i].tolist()
            np.testing.assert_allclose(actual[i, :rows, :columns], maps[layer][0], atol=1e-5)
            self.assertEqual(float(jnp.abs(actual[i, rows:]).sum() + jnp.abs(actual[i, :, columns:]).sum()), 0.0)

    def test_default_layer(self):
        self.assertEqual(self.load().layer, "conv2_1")

    def test_unknown_layer(self):
        with self.assertRaisesRegex(ValueError, "tiny_cam has no feature layer 'conv9_1'; it has conv1_1, conv2_1"):
            self.load(layer="conv9_1")

    def test_missing_and_incomplete_weights(self):
        with self.assertRaises(FileNotFoundError):
            encoder.load_extractor(self.network, self.folder / "none.npz")
        networks.save_params({"conv1_1": self.params["conv1_1"]}, self.folder / "part.npz", self.record())
        with self.assertRaisesRegex(CheckpointError, "missing conv2_1"):
            encoder.load_extractor(self.network, self.folder / "part.npz")

    def test_the_provenance_record_decides_the_preprocessing(self):
        other = networks.Preprocessing(channel_order="BGR", mean=(1.0, 2.0, 3.0))
        networks.save_params(self.params, self.folder / "other.npz", self.record(preprocessing=other))
        extractor = encoder.load_extractor(self.network, self.folder / "other.npz", layer="conv1_1")
        sizes = jnp.array([[16, 16]] * 2, jnp.int32)
        actual, _ = encoder.layer_maps(extractor, _images(), sizes)
        inputs = jnp.asarray(_images()[..., ::-1], jnp.float32) - jnp.array([1.0, 2.0, 3.0]).reshape(1, 1, 1, 3)
        expected = self.network.apply(self.params, inputs, sizes)[1]["conv1_1"]
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-2)

    def test_a_network_without_cams(self):
        network = networks.get("vgg16")
        self.assertIsNone(network.spec.cam_layer)
        extractor = encoder.Extractor({}, network, "conv5_1")
        self.assertEqual(extractor.dim, 512)


class RawFeaturesTest(absltest.TestCase):
    def test_sums_of_pool(self):
        network = tiny.network()
        model = cwcf_jax.load(network, network.initialize(0))
        image = np.random.default_rng(1).integers(0, 256, (2, 128, 160, 3)).astype(np.uint8)
        sizes = [(128, 160), (90, 77)]
        actual = encoder.raw_features(model, image, sizes=sizes)
        expected = encoder.pool(model, image, sizes=sizes, num_classes=1).sums
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-4)

    def test_sums_of_the_maps_of_an_extractor(self):
        images = np.random.default_rng(2).integers(0, 256, (1, 100, 140, 3)).astype(np.uint8)
        weights = shared.require("weights/googlenet_bvlc.npz")
        model = cwcf_jax.load("googlenet", weights, feature_layer="inception_3a")
        extractor = encoder.load_extractor(networks.get("googlenet"), weights, layer="inception_3a")
        maps, _ = encoder.layer_maps(extractor, images, jnp.array([[100, 140]], jnp.int32))
        expected = np.asarray(maps, np.float64).sum(axis=(1, 2))
        actual = encoder.raw_features(model, images)
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4)  # some channels are nearly 0
        self.assertEqual(actual.shape, (1, extractor.dim))


if __name__ == "__main__":
    absltest.main()
