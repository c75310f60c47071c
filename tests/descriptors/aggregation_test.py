import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized
from hypothesis import given, settings
from hypothesis import strategies as st

from cwcf_jax import descriptors
from tests.support import oracles

VECTORS = np.random.default_rng(0).random((6, 8)).astype(np.float32)
TRAINING = np.random.default_rng(1).normal(size=(50, 8))


class AggregateTest(parameterized.TestCase):
    @parameterized.parameters(True, False)
    def test_against_float64(self, whitened):
        whitening = descriptors.fit_pca_whitening(TRAINING, dim=5) if whitened else None
        mean, projection = oracles.whitening(TRAINING, 5) if whitened else (None, None)
        expected = oracles.descriptor(VECTORS, mean, projection)
        actual = np.asarray(descriptors.aggregate(jnp.asarray(VECTORS), whitening))
        if whitened:  # the signs of directions are arbitrary
            signs = np.sign(np.asarray(whitening.projection).T[:5] @ projection).diagonal()
            actual = actual * signs
        np.testing.assert_allclose(actual, expected, atol=1e-5)

    @parameterized.parameters(True, False)
    def test_zero_vectors_are_ignored(self, whitened):
        whitening = descriptors.fit_pca_whitening(TRAINING) if whitened else None
        with_zeros = jnp.asarray(np.insert(VECTORS, [0, 3, 6], 0.0, axis=0))
        np.testing.assert_allclose(
            descriptors.aggregate(with_zeros, whitening),
            descriptors.aggregate(jnp.asarray(VECTORS), whitening),
            atol=1e-6,
        )
        zero = descriptors.aggregate(jnp.zeros((4, 8)), whitening)
        np.testing.assert_array_equal(zero, np.zeros(8))

    def test_order_of_classes_and_scale_of_vectors_do_not_matter(self):
        whitening = descriptors.fit_pca_whitening(TRAINING)
        expected = descriptors.aggregate(jnp.asarray(VECTORS), whitening)
        scaled = VECTORS[::-1] * np.arange(1, 7, dtype=np.float32)[:, None]
        np.testing.assert_allclose(descriptors.aggregate(jnp.asarray(scaled), whitening), expected, atol=1e-6)

    def test_hand_worked(self):
        # (3, 4) and (0, 2) become (.6, .8) and (0, 1); their sum (.6, 1.8) has length sqrt(3.6).
        actual = descriptors.aggregate(jnp.array([[3.0, 4.0], [0.0, 2.0]]), None)
        np.testing.assert_allclose(actual, np.array([0.6, 1.8]) / np.sqrt(3.6), rtol=1e-6)


class RepeatDroppedTest(absltest.TestCase):
    def test_hand_worked(self):
        rows = [[0, 0], [0, 0], [1, 2], [0, 0], [0, 3], [0, 0], [0, 0]]
        expected = [[0, 0], [0, 0], [1, 2], [1, 2], [0, 3], [0, 3], [0, 3]]
        np.testing.assert_array_equal(descriptors.repeat_dropped(jnp.array(rows, jnp.float32)), expected)

    @settings(deadline=None, max_examples=50)
    @given(st.lists(st.booleans(), min_size=8, max_size=8), st.integers(0, 100))
    def test_repeats_the_last_nonzero_row(self, dropped, seed):
        vectors = np.random.default_rng(seed).normal(size=(8, 3)).astype(np.float32)
        vectors[dropped] = 0.0
        expected, last_nonzero = [], np.zeros(3)
        for vector in vectors:
            last_nonzero = vector if vector.any() else last_nonzero
            expected.append(last_nonzero)
        np.testing.assert_array_equal(descriptors.repeat_dropped(jnp.asarray(vectors)), expected)

    def test_one_row_and_none_dropped(self):
        np.testing.assert_array_equal(descriptors.repeat_dropped(jnp.zeros((1, 3))), np.zeros((1, 3)))
        np.testing.assert_array_equal(descriptors.repeat_dropped(jnp.asarray(VECTORS)), VECTORS)

    def test_before_or_after_whitening(self):
        """Both orders give the same result, because whitening keeps zero rows and treats each row separately."""
        whitening = descriptors.fit_pca_whitening(TRAINING)
        vectors = jnp.asarray(np.insert(VECTORS, [0, 3, 6], 0.0, axis=0))
        before = descriptors.whiten_normalized(descriptors.repeat_dropped(vectors), whitening)
        after = descriptors.repeat_dropped(descriptors.whiten_normalized(vectors, whitening))
        np.testing.assert_allclose(before, after, atol=1e-6)


class AggregatePrefixesTest(absltest.TestCase):
    def test_equals_aggregate_of_each_prefix(self):
        whitening = descriptors.fit_pca_whitening(TRAINING)
        whitened = descriptors.whiten_normalized(jnp.asarray(VECTORS), whitening)
        actual = descriptors.aggregate_prefixes(whitened, (1, 3, 6))
        for row, count in zip(actual, (1, 3, 6), strict=True):
            expected = descriptors.aggregate(jnp.asarray(VECTORS[:count]), whitening)
            np.testing.assert_allclose(row, expected, atol=1e-6)

    def test_counts_out_of_range(self):
        for counts in ((), (0,), (7,)):
            with self.assertRaisesRegex(ValueError, "counts must lie between 1 and 6"):
                descriptors.aggregate_prefixes(jnp.asarray(VECTORS), counts)


if __name__ == "__main__":
    absltest.main()
