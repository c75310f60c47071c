import pathlib

import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

import cwcf_jax
from cwcf_jax.descriptors import Whitening
from cwcf_jax.index import whitening
from cwcf_jax.search import reranking
from tests.support import indexes, oracles, thin


class FitTest(absltest.TestCase):
    def test_fitted_on_the_vector_of_each_pictures_best_class(self):
        model = cwcf_jax.load("thin_cam", indexes.WEIGHTS)
        random = np.random.default_rng(0)
        pictures = [
            {
                "features": np.maximum(random.normal(size=(4, 4, model.feature_dim)), 0),
                "cam_features": np.maximum(random.normal(size=(4, 4, thin.CAM_CHANNELS)), 0),
            }
            for _ in range(12)
        ]
        batches = [reranking.stack_maps(pictures[start : start + 6], (4, 4), (4, 4)) for start in (0, 6)]
        actual = whitening.fit(model, batches, 5, "noise")
        kernel, bias = (np.asarray(model.params["classifier"][name], np.float64) for name in ("kernel", "bias"))
        top = [np.argmax(maps["cam_features"].mean(axis=(0, 1)) @ kernel + bias) for maps in pictures]
        best = [indexes.float64_vectors(model, maps, np.array([c]))[0] for maps, c in zip(pictures, top, strict=True)]
        units = np.stack([oracles.l2(vector) for vector in best])
        np.testing.assert_allclose(actual.mean, units.mean(axis=0), atol=1e-6)
        centred = units - units.mean(axis=0)
        _, singular, directions = np.linalg.svd(centred, full_matrices=False)
        variances = singular**2 / 11
        mean = variances.sum() / units.shape[1]
        np.testing.assert_allclose(actual.eigenvalues, 0.02 * variances[:5] + 0.98 * mean, rtol=1e-4)
        np.testing.assert_allclose(np.abs(directions[:5] @ np.asarray(actual.projection)), np.eye(5), atol=1e-3)
        self.assertEqual(actual.fitted_on, "noise")


class RandomRotationTest(parameterized.TestCase):
    @parameterized.parameters((32, 32), (16, 32))
    def test_an_orthonormal_projection(self, dim, feature_dim):
        actual = whitening.random_rotation(dim, feature_dim)
        self.assertEqual((actual.dim, actual.fitted_on), (dim, "nothing"))
        projection = np.asarray(actual.projection, np.float64)
        np.testing.assert_allclose(projection.T @ projection, np.eye(dim), atol=1e-6)
        np.testing.assert_array_equal(actual.mean, np.zeros(feature_dim))
        np.testing.assert_array_equal(actual.eigenvalues, np.ones(dim))
        np.testing.assert_array_equal(whitening.random_rotation(dim, feature_dim).projection, actual.projection)


class SaveTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(self.create_tempdir().full_path)

    def test_save_and_read(self):
        saved = Whitening(jnp.arange(4.0), jnp.arange(8.0).reshape(4, 2), jnp.array([2.0, 1e-30]), "ä pictures")
        whitening.save(saved, self.folder)
        actual = whitening.read(self.folder)
        for name in ("mean", "projection", "eigenvalues"):
            np.testing.assert_array_equal(getattr(actual, name), getattr(saved, name), strict=True)
        self.assertEqual(actual.fitted_on, "ä pictures")

    @parameterized.parameters(0, 1, 100, -1)
    def test_a_damaged_file_is_named(self, size):
        whitening.save(whitening.random_rotation(2, 4), self.folder)
        file = self.folder / whitening.WHITENING_FILE
        file.write_bytes(file.read_bytes()[:size])
        with self.assertRaisesRegex(ValueError, f"{file} cannot be used .*; index the folder again"):
            whitening.read(self.folder)

    def test_a_missing_file(self):
        with self.assertRaisesRegex(ValueError, "whitening.npz cannot be used"):
            whitening.read(self.folder)

    def test_another_archive(self):
        np.savez(self.folder / whitening.WHITENING_FILE, mean=np.zeros(3))
        with self.assertRaisesRegex(ValueError, "projection"):
            whitening.read(self.folder)


if __name__ == "__main__":
    absltest.main()
