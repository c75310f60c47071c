import functools

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest
from hypothesis import given, settings
from hypothesis import strategies as st

from cwcf_jax import descriptors
from cwcf_jax.arrays import valid_mask
from cwcf_jax.descriptors import words
from tests.support import oracles
from tests.support.packages import package


def _features(seed=0, shape=(5, 7, 6)):
    return np.maximum(np.random.default_rng(seed).normal(size=shape), 0).astype(np.float32)


class LocalFeaturesTest(absltest.TestCase):
    def test_doubled_then_l2_whitening_l2(self):
        cv2 = package("cv2")
        features = _features()
        samples = np.stack([oracles.l2(row) for row in 0.1 + _features(1, (200, 6))])
        mean, projection = oracles.whitening(samples, 4)
        doubled = cv2.resize(features, (14, 10), interpolation=cv2.INTER_LINEAR)
        expected = [[oracles.l2((oracles.l2(cell) - mean) @ projection) for cell in row] for row in doubled]
        found = words.local_features(
            jnp.asarray(features),
            jnp.array([5, 7]),
            jnp.array([10, 14]),
            (10, 14),
            descriptors.fit_pca_whitening(samples, dim=4),
        )
        # a direction's sign is free
        np.testing.assert_allclose(np.abs(found), np.abs(expected), atol=2e-5)

    def test_padding_changes_nothing_and_stays_zero(self):
        features = _features()
        whitening = descriptors.fit_pca_whitening(_features(1, (200, 6)))
        plain = words.local_features(jnp.asarray(features), jnp.array([5, 7]), jnp.array([10, 14]), (10, 14), whitening)
        padded = np.zeros((8, 8, 6), np.float32)
        padded[:5, :7] = features
        found = words.local_features(jnp.asarray(padded), jnp.array([5, 7]), jnp.array([10, 14]), (16, 16), whitening)
        np.testing.assert_allclose(found[:10, :14], plain, atol=1e-6)
        self.assertFalse(found[10:].any() or found[:, 14:].any())

    def test_norms(self):
        features = np.zeros((4, 4, 6), np.float32)
        features[0, 0] = 2.0
        sizes = jnp.array([4, 4]), jnp.array([8, 8])
        for whitening in (None, descriptors.fit_pca_whitening(_features(1, (200, 6)))):
            norms = np.linalg.norm(words.local_features(jnp.asarray(features), *sizes, (8, 8), whitening), axis=-1)
            np.testing.assert_allclose(norms[:3, :3], 1.0, atol=1e-6)  # the cell's two and half of the next
            np.testing.assert_array_equal(norms[3:], np.zeros((5, 8)))
        half = words.local_features(jnp.asarray(features, jnp.bfloat16), *sizes, (8, 8), None)
        self.assertEqual(half.dtype, jnp.float32)


class AssignCellsTest(absltest.TestCase):
    def test_nearest_word_or_none(self):
        centroids = jnp.eye(3)[jnp.array([2, 0, 1])]
        local = jnp.array([[[1.0, 0.0, 0.0], [0.0, 0.6, 0.8]], [[0.0, 0.0, 0.0], [0.0, 1.0, 0.0]]])
        found = words.assign_cells(local, centroids)
        self.assertEqual(found.dtype, jnp.int32)
        np.testing.assert_array_equal(found, [[1, 0], [-1, 2]])

    def test_vmap(self):
        local, centroids = jnp.asarray(0.1 + _features(0, (3, 4, 5, 6))), jnp.asarray(_features(1, (7, 6)))
        found = jax.vmap(words.assign_cells, in_axes=(0, None))(local, centroids)
        distances = np.linalg.norm(np.asarray(local)[..., None, :] - np.asarray(centroids), axis=-1)
        np.testing.assert_array_equal(found, distances.argmin(axis=-1))


class HistogramTest(absltest.TestCase):
    def test_by_hand(self):
        # 2 of word 0, 1 of word 3 and 2 of word 4 inside: norm 3.
        assignment = jnp.array([[0, 3, 4, 1], [4, 0, -1, 1]])
        region = valid_mask(jnp.array([2, 3]), (2, 4))
        np.testing.assert_array_equal(words.word_counts(assignment, region, 5), [2, 0, 0, 1, 2])
        np.testing.assert_allclose(words.histogram(assignment, region, 5), np.array([2, 0, 0, 1, 2]) / 3, rtol=1e-6)

    @settings(deadline=None, max_examples=20)
    @given(st.integers(0, 1000))
    def test_against_bincount(self, seed):
        random = np.random.default_rng(seed)
        assignment, region = random.integers(-1, 9, (6, 5)), random.random((6, 5)) < 0.5
        expected = np.bincount(assignment[region & (assignment >= 0)], minlength=9)
        found = words.word_counts(jnp.asarray(assignment), jnp.asarray(region), 9)
        np.testing.assert_array_equal(found, expected)
        np.testing.assert_allclose(
            words.histogram(jnp.asarray(assignment), jnp.asarray(region), 9), oracles.l2(expected), atol=1e-6
        )

    def test_nothing_in_the_region_is_zero(self):
        assignment = jnp.array([[0, 1], [-1, -1]])
        for region in (jnp.zeros((2, 2), bool), jnp.array([[False, False], [True, True]])):
            np.testing.assert_array_equal(words.histogram(assignment, region, 3), np.zeros(3))

    def test_vmap_and_jit(self):
        random = np.random.default_rng(0)
        assignment, region = random.integers(-1, 9, (4, 6, 5)), random.random((4, 6, 5)) < 0.5
        counted = jax.jit(jax.vmap(functools.partial(words.word_counts, words=9)))(
            jnp.asarray(assignment), jnp.asarray(region)
        )
        for i in range(4):
            np.testing.assert_array_equal(counted[i], np.bincount(assignment[i][region[i]] + 1, minlength=10)[1:])


if __name__ == "__main__":
    absltest.main()
