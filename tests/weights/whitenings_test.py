import dataclasses
import json
import pathlib

import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from cwcf_jax import descriptors, encoder, networks
from cwcf_jax.weights import installed, whitenings
from cwcf_jax.weights.whitenings import FittingImages, WhiteningRecord
from tests.support import oracles

RECORD = WhiteningRecord(
    network="a_network",
    params="12" * 32,
    weights="34" * 32,
    encoder={"pooling": "gem", "gem_p": 3.0, "pixel_mean": [1.0, 2.5, 3.0]},
    resize="max640",
    classes=32,
    shrinkage=0.2,
    data=(FittingImages("ä pictures", 12, "56" * 32, "CC BY 4.0"), FittingImages("others", 3, "78" * 32, "unknown")),
    versions={"jax": "0.0"},
)


class FileTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.file = pathlib.Path(self.create_tempdir().full_path, "a_network.npz")
        vectors = np.random.default_rng(0).gamma(0.3, size=(300, 64))
        self.vectors = np.stack([oracles.l2(vector) for vector in vectors])
        self.fitted = descriptors.fit_shrinkage_whitening(self.vectors)

    def test_round_trip(self):
        whitenings.write(self.file, self.fitted, RECORD, dtype="float32")
        actual, record = whitenings.read(self.file)
        self.assertEqual(record, RECORD)
        self.assertEqual(whitenings.read_record(self.file), RECORD)
        for name in ("mean", "projection", "eigenvalues"):
            np.testing.assert_array_equal(getattr(actual, name), getattr(self.fitted, name), strict=True)
        self.assertEqual(actual.fitted_on, "12 pictures of ä pictures, 3 pictures of others")

    def test_half_the_bytes_cost_the_fifth_digit_of_a_cosine(self):
        whitenings.write(self.file, self.fitted, RECORD)
        actual, _ = whitenings.read(self.file)
        self.assertLess(self.file.stat().st_size, 64 * 64 * 2 + 5000)
        self.assertEqual(actual.projection.dtype, jnp.float32)
        np.testing.assert_array_equal(actual.mean, self.fitted.mean)
        np.testing.assert_array_equal(actual.eigenvalues, self.fitted.eigenvalues)
        vectors = jnp.asarray(self.vectors, jnp.float32)
        exact = np.asarray(descriptors.whiten_normalized(vectors, self.fitted), np.float64)
        rounded = np.asarray(descriptors.whiten_normalized(vectors, actual), np.float64)
        self.assertLess(np.abs(exact @ exact.T - rounded @ rounded.T).max(), 1e-3)
        self.assertGreater(np.abs(exact - rounded).max(), 0)

    def test_the_same_whitening_gives_the_same_file(self):
        whitenings.write(self.file, self.fitted, RECORD)
        first = self.file.read_bytes()
        whitenings.write(self.file, self.fitted, RECORD)
        self.assertEqual(self.file.read_bytes(), first)

    @parameterized.parameters(0, 1, 3000, -1)
    def test_a_damaged_file_is_named(self, size):
        whitenings.write(self.file, self.fitted, RECORD)
        self.file.write_bytes(self.file.read_bytes()[:size])
        with self.assertRaisesRegex(ValueError, f"{self.file} holds no .*whitening .*whitenings.write makes"):
            whitenings.read(self.file)

    @parameterized.parameters("not json", "[]", "{}", '{"network": "a"}')
    def test_malformed_record(self, text):
        np.savez(self.file, record=np.array(text))
        with self.assertRaisesRegex(ValueError, "holds no record of a whitening"):
            whitenings.read(self.file)

    @parameterized.parameters(
        dict(projection=np.zeros((64, 3))), dict(eigenvalues=np.zeros(64)), dict(mean=np.zeros(3))
    )
    def test_arrays_that_do_not_fit(self, **changed):
        arrays = dict(mean=np.zeros(64), projection=np.zeros((64, 64)), eigenvalues=np.ones(64))
        np.savez(self.file, record=np.array(json.dumps(dataclasses.asdict(RECORD))), **arrays | changed)
        with self.assertRaisesRegex(ValueError, "its arrays do not fit one another"):
            whitenings.read(self.file)

    def test_missing_file(self):
        with self.assertRaisesRegex(FileNotFoundError, "no whitening at .*whitenings.write makes one"):
            whitenings.read(self.file)


class ShippedTest(parameterized.TestCase):
    def test_shipped_networks(self):
        self.assertContainsSubset({f"efficientnet_lite{i}" for i in range(3)}, whitenings.shipped())

    @parameterized.parameters(*((name,) for name in whitenings.shipped()))
    def test_shipped_whitening(self, name):
        file = whitenings.shipped()[name]
        self.assertLessEqual(file.stat().st_size, 1.5e6)
        actual, record = whitenings.read(file)
        spec = networks.get(name).spec
        channels = spec.layer(None).channels
        self.assertEqual(record.network, name)
        self.assertEqual(actual.projection.shape, (channels, channels))
        self.assertEqual(record.encoder, encoder.vector_settings(
            encoder.EncoderConfig(spec.feature_layer, pooling="gem")))  # fmt: skip
        self.assertEqual((record.classes, record.shrinkage), (32, 0.2))
        directions = np.asarray(actual.projection, np.float64)
        np.testing.assert_allclose(directions.T @ directions, np.eye(channels), atol=2e-3)
        variances = np.asarray(actual.eigenvalues)
        self.assertTrue((np.diff(variances) <= 0).all())
        # Shrinkage gives every direction at least its share of the mean variance.
        np.testing.assert_array_less(0.2 * variances.mean() * (1 - 1e-4), variances)
        self.assertNotEmpty(record.data)
        for images in record.data:
            self.assertNotIn(images.licence, ("", "unknown"))
        if name in installed.read_packages():
            self.assertEqual(record.weights, installed.read_packages()[name].sha256)


if __name__ == "__main__":
    absltest.main()
