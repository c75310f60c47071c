from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse
from absl.testing import absltest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.cluster import vq

from cwcf_jax.baselines import kmeans


def _blobs(seed=0, count=400, dim=6, spread=1.0):
    random = np.random.default_rng(seed)
    centres = 3 * random.normal(size=(8, dim))
    return (centres[random.integers(0, 8, count)] + spread * random.normal(size=(count, dim))).astype(np.float32)


class FitTest(absltest.TestCase):
    def test_lloyd_against_scipy(self):
        vectors = _blobs()
        for iterations in (1, 2, 7):
            start = kmeans.fit(vectors, 12, iterations=0, seed=3)
            # scipy runs Lloyd's algorithm from the same start, and raises if a cluster becomes empty.
            expected, _ = vq.kmeans2(
                vectors.astype(np.float64), start.astype(np.float64), iter=iterations, minit="matrix", missing="raise"
            )
            actual = kmeans.fit(vectors, 12, iterations=iterations, seed=3)
            self.assertEqual(actual.dtype, np.float32)
            np.testing.assert_allclose(actual, expected, atol=1e-5)

    def test_stops_when_no_vector_changes_its_word(self):
        vectors = _blobs()
        # Each iteration makes one sparse array.
        with mock.patch.object(scipy.sparse, "csr_array", wraps=scipy.sparse.csr_array) as means:
            actual = kmeans.fit(vectors, 12, iterations=200)
        self.assertLess(means.call_count, 60)
        words, _ = vq.vq(vectors.astype(np.float64), actual.astype(np.float64))
        expected = np.stack([vectors[words == word].mean(axis=0, dtype=np.float64) for word in range(12)])
        np.testing.assert_allclose(actual, expected, atol=1e-5)

    def test_starts_from_different_rows(self):
        vectors = _blobs()
        start = kmeans.fit(vectors, 50, iterations=0)
        self.assertLen(np.unique(start, axis=0), 50)
        self.assertTrue(all((row == vectors).all(axis=1).any() for row in start))

    def test_same_seed_same_words(self):
        vectors = _blobs()
        np.testing.assert_array_equal(kmeans.fit(vectors, 5, seed=1), kmeans.fit(vectors, 5, seed=1))
        self.assertFalse(np.array_equal(kmeans.fit(vectors, 5, seed=1), kmeans.fit(vectors, 5, seed=2)))

    def test_an_empty_word_moves_to_the_farthest_vector(self):
        # There are four different vectors: the four words must end on these for any random start.
        vectors = np.array([[0.0, 0.0]] * 9 + [[8.0, 0.0], [0.0, 4.0], [6.0, 6.0]], np.float32)
        for seed in range(10):
            actual = kmeans.fit(vectors, 4, iterations=10, seed=seed)
            self.assertCountEqual(actual.tolist(), [[0, 0], [8, 0], [0, 4], [6, 6]])

    def test_an_empty_word_moves_to_the_farthest_vector_first(self):
        # Both words start on equal vectors. Therefore the second word is empty; (5, 0) is farthest from the first word.
        vectors = np.array([[0.0, 0.0]] * 20 + [[5.0, 0.0], [0.0, 2.0]], np.float32)
        seed = next(s for s in range(50) if not kmeans.fit(vectors, 2, iterations=0, seed=s).any())
        actual = kmeans.fit(vectors, 2, iterations=1, seed=seed)
        np.testing.assert_allclose(actual, [[5 / 22, 2 / 22], [5, 0]], rtol=1e-6)

    def test_fewer_different_vectors_than_words(self):
        actual = kmeans.fit(np.ones((6, 3), np.float32), 4)
        np.testing.assert_array_equal(actual, np.ones((4, 3)))

    def test_a_word_for_every_vector(self):
        vectors = _blobs(count=9)
        self.assertCountEqual(kmeans.fit(vectors, 9).tolist(), vectors.tolist())

    def test_the_size_of_chunks_has_no_effect(self):
        vectors = _blobs()
        expected = kmeans.fit(vectors, 12)
        default = kmeans.CHUNK_VECTORS
        try:
            kmeans.CHUNK_VECTORS = 150  # two full chunks and a smaller chunk
            np.testing.assert_allclose(kmeans.fit(vectors, 12), expected, atol=1e-6)
        finally:
            kmeans.CHUNK_VECTORS = default

    def test_means_of_many_vectors_are_exact(self):
        # float32 cannot represent 2^24 + 1: a sum in float32 would stay at 2^24.
        vectors = np.array([[2.0**24]] + [[1.0]] * 15, np.float32)
        np.testing.assert_array_equal(kmeans.fit(vectors, 1), np.float32([[(2**24 + 15) / 16]]))

    def test_errors(self):
        with self.assertRaisesRegex(ValueError, "7 words of 6 vectors"):
            kmeans.fit(np.ones((6, 3), np.float32), 7)
        with self.assertRaisesRegex(ValueError, "0 words"):
            kmeans.fit(np.ones((6, 3), np.float32), 0)
        for value in (np.nan, np.inf):
            not_finite = np.ones((6, 3), np.float32)
            not_finite[4, 1] = value
            with self.assertRaisesRegex(ValueError, "not finite"):
                kmeans.fit(not_finite, 2)


class AssignTest(absltest.TestCase):
    @settings(deadline=None, max_examples=20)
    @given(st.integers(0, 1000), st.integers(0, 7), st.sampled_from([1, 2, 9]))
    def test_against_distances(self, seed, count, words):
        # Distances of small integers are exact. Of equal distances, the first word wins.
        random = np.random.default_rng(seed)
        vectors, centroids = random.integers(-2, 3, (count, 3)), random.integers(-2, 3, (words, 3))
        expected = np.argmin(np.square(vectors[:, None] - centroids[None]).sum(axis=2), axis=1)
        actual = kmeans.assign(jnp.asarray(vectors, jnp.float32), jnp.asarray(centroids, jnp.float32))
        self.assertEqual(actual.dtype, jnp.int32)
        np.testing.assert_array_equal(actual, expected)

    def test_against_scipy(self):
        vectors, centroids = _blobs(0), _blobs(1, count=60)
        expected, _ = vq.vq(vectors.astype(np.float64), centroids.astype(np.float64))
        np.testing.assert_array_equal(kmeans.assign(jnp.asarray(vectors), jnp.asarray(centroids)), expected)

    def test_the_size_of_blocks_has_no_effect(self):
        vectors, centroids = jnp.asarray(_blobs(0)), jnp.asarray(_blobs(1, count=61))
        expected = kmeans.assign(vectors, centroids)
        default = kmeans.BLOCK_DISTANCES
        for block in (1, 61 * 64, 61 * 64 + 7):  # blocks of one vector, or 6 full blocks and a smaller block
            try:
                kmeans.BLOCK_DISTANCES = block
                jax.clear_caches()
                np.testing.assert_array_equal(kmeans.assign(vectors, centroids), expected)
            finally:
                kmeans.BLOCK_DISTANCES = default
                jax.clear_caches()

    def test_distances_are_computed_in_blocks(self):
        count, words, dim = 200_000, 25_000, 4
        lowered = kmeans.assign.lower(
            jax.ShapeDtypeStruct((count, dim), jnp.float32), jax.ShapeDtypeStruct((words, dim), jnp.float32)
        )
        memory = lowered.compile().memory_analysis()
        self.assertLess(memory.temp_size_in_bytes, 4 * 4 * kmeans.BLOCK_DISTANCES)
        self.assertLess(4 * 4 * kmeans.BLOCK_DISTANCES, 4 * count * words)

    def test_vmap(self):
        vectors, centroids = jnp.asarray(_blobs(0)), jnp.asarray(_blobs(1, count=20))
        actual = jax.vmap(kmeans.assign, in_axes=(0, None))(vectors.reshape(4, 100, -1), centroids)
        np.testing.assert_array_equal(actual.reshape(-1), kmeans.assign(vectors, centroids))


if __name__ == "__main__":
    absltest.main()
