import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized
from hypothesis import given, settings
from hypothesis import strategies as st

from cwcf_jax import descriptors
from tests.support import oracles


def _vectors(count=60, dim=8, seed=0):
    generator = np.random.default_rng(seed)
    return generator.normal(size=(count, dim)) @ generator.normal(size=(dim, dim)) + generator.normal(size=dim)


def _whiten(vectors, whitening):
    return np.asarray(descriptors.whiten(jnp.asarray(vectors, jnp.float32), whitening))


class PcaTest(parameterized.TestCase):
    @parameterized.parameters(1, 3, 8, None)
    def test_against_singular_values(self, dim):
        vectors = _vectors()
        whitening = descriptors.fit_pca_whitening(vectors, dim=dim, fitted_on="noise")
        mean, projection = oracles.whitening(vectors, dim or 8)
        actual, expected = _whiten(vectors, whitening), (vectors - mean) @ projection
        # The sign of a direction is arbitrary.
        np.testing.assert_allclose(np.abs(actual), np.abs(expected), atol=2e-4)
        self.assertEqual(whitening.dim, dim or 8)
        self.assertEqual(whitening.fitted_on, "noise")

    def test_result_is_white(self):
        vectors = _vectors()
        actual = _whiten(vectors, descriptors.fit_pca_whitening(vectors))
        np.testing.assert_allclose(actual.mean(axis=0), np.zeros(8), atol=1e-4)
        np.testing.assert_allclose(np.cov(actual.T), np.eye(8), atol=1e-3)  # np.cov divides by n - 1

    def test_largest_variance_first(self):
        eigenvalues = np.asarray(descriptors.fit_pca_whitening(_vectors()).eigenvalues)
        self.assertTrue(np.all(np.diff(eigenvalues) <= 0))

    @settings(deadline=None, max_examples=20)
    @given(st.integers(2, 7), st.integers(0, 100))
    def test_fewer_vectors_than_dimensions(self, count, seed):
        vectors = _vectors(count=count, seed=seed)
        whitening = descriptors.fit_pca_whitening(vectors, dim=8)
        self.assertEqual(whitening.dim, count - 1)  # centring removes one dimension
        self.assertTrue(np.isfinite(_whiten(vectors, whitening)).all())
        self.assertGreater(float(whitening.eigenvalues.min()), 0)

    def test_directions_without_variance_are_dropped(self):
        vectors = _vectors()
        vectors[:, 3] = 7.0
        whitening = descriptors.fit_pca_whitening(vectors)
        self.assertEqual(whitening.dim, 7)
        self.assertLess(np.abs(_whiten(vectors, whitening)).max(), 100)

    @parameterized.parameters(
        (np.zeros((1, 4)), "at least 2 vectors"),
        (np.zeros(4), "at least 2 vectors"),
        (np.ones((5, 4)), "all equal"),
        (np.full((5, 4), np.nan), "not finite"),
    )
    def test_vectors_without_a_whitening(self, vectors, message):
        for fit in (descriptors.fit_pca_whitening, descriptors.fit_shrinkage_whitening):
            with self.assertRaisesRegex(ValueError, message):
                fit(vectors)

    def test_zero_vectors_are_left_out(self):
        vectors = _vectors()
        with_zeros = np.insert(vectors, [0, 7, 60], 0.0, axis=0)
        for fit in (descriptors.fit_pca_whitening, descriptors.fit_shrinkage_whitening):
            for actual, expected in zip(jax.tree.leaves(fit(with_zeros)), jax.tree.leaves(fit(vectors)), strict=True):
                np.testing.assert_array_equal(actual, expected)
        with self.assertRaisesRegex(ValueError, "at least 2 vectors that are not zero"):
            descriptors.fit_pca_whitening(with_zeros[[0, 8]])

    def test_dim_below_one(self):
        with self.assertRaisesRegex(ValueError, "at least 1 dimension, not 0"):
            descriptors.fit_pca_whitening(_vectors(), dim=0)


class ShrinkageTest(parameterized.TestCase):
    def test_eigenvalues_are_drawn_to_their_mean(self):
        vectors = _vectors()
        plain = np.linalg.eigvalsh(np.cov(vectors.T))[::-1]
        actual = descriptors.fit_shrinkage_whitening(vectors, ratio=0.2)
        np.testing.assert_allclose(actual.eigenvalues, 0.8 * plain + 0.2 * plain.mean(), rtol=1e-4)

    def test_keeps_all_directions_of_few_vectors(self):
        vectors = _vectors(count=4)
        whitening = descriptors.fit_shrinkage_whitening(vectors, ratio=0.2)
        self.assertEqual(whitening.dim, 8)
        self.assertTrue(np.isfinite(_whiten(vectors, whitening)).all())
        gram = np.asarray(whitening.projection).T @ np.asarray(whitening.projection)
        np.testing.assert_allclose(gram, np.eye(8), atol=1e-5)

    def test_ratios_0_and_1(self):
        vectors = _vectors()
        whitened_0 = _whiten(vectors, descriptors.fit_shrinkage_whitening(vectors, ratio=0.0))
        np.testing.assert_array_equal(whitened_0, _whiten(vectors, descriptors.fit_pca_whitening(vectors)))
        whitened_1 = _whiten(vectors, descriptors.fit_shrinkage_whitening(vectors, ratio=1.0))
        lengths = np.linalg.norm(whitened_1, axis=1) / np.linalg.norm(vectors - vectors.mean(axis=0), axis=1)
        np.testing.assert_allclose(lengths, lengths[0], rtol=1e-4)  # only centred, rotated and scaled

    @parameterized.parameters(-0.1, 1.1)
    def test_ratio_out_of_range(self, ratio):
        with self.assertRaisesRegex(ValueError, "between 0 and 1"):
            descriptors.fit_shrinkage_whitening(_vectors(), ratio=ratio)


class PytreeTest(absltest.TestCase):
    def test_passes_through_jit(self):
        whitening = descriptors.fit_pca_whitening(_vectors())
        passed = jax.jit(lambda w: w)(whitening)
        for name in ("mean", "projection", "eigenvalues"):
            np.testing.assert_array_equal(getattr(passed, name), getattr(whitening, name))

    def test_another_name_causes_no_compilation(self):
        traced_shapes = []

        @jax.jit
        def whiten(vectors, whitening):
            traced_shapes.append(vectors.shape)
            return descriptors.whiten(vectors, whitening)

        noise, photographs = (
            descriptors.fit_pca_whitening(_vectors(), fitted_on=name) for name in ("noise", "photographs")
        )
        np.testing.assert_array_equal(whiten(_vectors(), noise), whiten(_vectors(), photographs))
        self.assertLen(traced_shapes, 1)
        self.assertEqual(whiten._cache_size(), 1)
        self.assertEqual((noise.fitted_on, photographs.fitted_on), ("noise", "photographs"))

    def test_the_name_is_no_part_of_the_pytree(self):
        noise, photographs = (
            descriptors.fit_pca_whitening(_vectors(), fitted_on=name) for name in ("noise", "photographs")
        )
        self.assertLen(jax.tree.leaves(noise), 3)
        self.assertEqual(jax.tree.structure(noise), jax.tree.structure(photographs))
        self.assertEqual(jax.tree.map(lambda leaf: leaf, noise).fitted_on, "")


if __name__ == "__main__":
    absltest.main()
