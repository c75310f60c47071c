import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest
from hypothesis import given, settings
from hypothesis import strategies as st

from cwcf_jax.search import class_pairs, rank, similarities

FEW_SCORES = st.lists(st.sampled_from([-1.0, -0.5, -0.0, 0.0, 0.25, 1.0]), min_size=1, max_size=12)  # many ties


class RankTest(absltest.TestCase):
    @settings(deadline=None, max_examples=60)
    @given(FEW_SCORES)
    def test_against_lexsort(self, scores):
        expected = np.lexsort((np.arange(len(scores)), -np.asarray(scores, np.float64)))
        np.testing.assert_array_equal(rank(jnp.array(scores, jnp.float32)), expected)

    def test_by_hand(self):
        np.testing.assert_array_equal(rank(jnp.array([0.2, 0.9, -0.3, 0.9, 0.2])), [1, 3, 0, 4, 2])

    def test_ties_keep_the_order_of_the_database(self):
        np.testing.assert_array_equal(rank(jnp.full(1000, 0.5)), np.arange(1000))

    def test_both_zeros_are_equal(self):
        np.testing.assert_array_equal(rank(jnp.array([-0.0, 0.0, -0.0, 0.0])), [0, 1, 2, 3])


class SimilaritiesTest(absltest.TestCase):
    def test_against_float64(self):
        random = np.random.default_rng(0)
        database = random.normal(size=(50, 512)).astype(np.float32)
        query = random.normal(size=512).astype(np.float32)
        database /= np.linalg.norm(database, axis=1, keepdims=True)
        query /= np.linalg.norm(query)
        expected = database.astype(np.float64) @ query.astype(np.float64)
        actual = similarities(jnp.asarray(query), jnp.asarray(database))
        self.assertEqual(actual.dtype, jnp.float32)
        np.testing.assert_allclose(actual, expected, atol=2e-7)

    def test_signs(self):
        database = jnp.array([[0.6, 0.8], [-0.6, -0.8], [0.8, -0.6], [0.0, 0.0]])
        # .6 * .6 + .8 * .8 = 1; the third row is orthogonal, the zero row scores 0
        np.testing.assert_allclose(similarities(jnp.array([0.6, 0.8]), database), [1, -1, 0, 0], atol=1e-7)

    def test_a_zero_query_scores_zero_everywhere(self):
        scores = similarities(jnp.zeros(3), jnp.eye(3))
        np.testing.assert_array_equal(scores, np.zeros(3))
        np.testing.assert_array_equal(rank(scores), [0, 1, 2])

    def test_jit_and_vmap(self):
        database = jnp.eye(4)[jnp.array([2, 0, 3])]
        actual = jax.jit(jax.vmap(similarities, in_axes=(0, None)))(jnp.eye(4), database)
        np.testing.assert_array_equal(actual, [[0, 1, 0], [0, 0, 0], [1, 0, 0], [0, 0, 1]])


class ClassPairsTest(absltest.TestCase):
    def test_by_hand(self):
        query = jnp.array([[3.0, 0.0], [0.0, 4.0]])  # the sum has norm 5
        image = jnp.array([[1.0, 0.0]])
        np.testing.assert_allclose(class_pairs(query, image), [[0.6], [0.0]], atol=1e-6)

    @settings(deadline=None, max_examples=30)
    @given(st.integers(0, 2**32 - 1), st.sampled_from((1, 6)), st.sampled_from((2, 9)))
    def test_terms_sum_to_the_score(self, seed, n, m):
        random = np.random.default_rng(seed)
        query, image = (random.normal(size=(count, 8)) for count in (n, m))
        sums = query.sum(axis=0), image.sum(axis=0)
        score = np.dot(*sums) / np.linalg.norm(sums[0]) / np.linalg.norm(sums[1])
        actual = class_pairs(jnp.asarray(query, jnp.float32), jnp.asarray(image, jnp.float32))
        self.assertAlmostEqual(float(actual.sum()), score, delta=1e-5)
        share = query[0] @ image[1] / np.linalg.norm(sums[0]) / np.linalg.norm(sums[1])
        self.assertAlmostEqual(float(actual[0, 1]), share, delta=1e-5 * max(1.0, abs(share)))

    def test_no_evidence(self):
        self.assertEqual(float(jnp.abs(class_pairs(jnp.zeros((2, 3)), jnp.ones((2, 3)))).max()), 0.0)


if __name__ == "__main__":
    absltest.main()
