import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest
from hypothesis import given, settings
from hypothesis import strategies as st

from cwcf_jax.search import rank, similarities

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
        found = similarities(jnp.asarray(query), jnp.asarray(database))
        self.assertEqual(found.dtype, jnp.float32)
        np.testing.assert_allclose(found, expected, atol=2e-7)

    def test_signs(self):
        database = jnp.array([[0.6, 0.8], [-0.6, -0.8], [0.8, -0.6], [0.0, 0.0]])
        # .6 * .6 + .8 * .8 = 1; the third is at a right angle, zero scores 0
        np.testing.assert_allclose(similarities(jnp.array([0.6, 0.8]), database), [1, -1, 0, 0], atol=1e-7)

    def test_a_zero_query_scores_zero_everywhere(self):
        scores = similarities(jnp.zeros(3), jnp.eye(3))
        np.testing.assert_array_equal(scores, np.zeros(3))
        np.testing.assert_array_equal(rank(scores), [0, 1, 2])

    def test_jit_and_vmap(self):
        database = jnp.eye(4)[jnp.array([2, 0, 3])]
        found = jax.jit(jax.vmap(similarities, in_axes=(0, None)))(jnp.eye(4), database)
        np.testing.assert_array_equal(found, [[0, 1, 0], [0, 0, 0], [1, 0, 0], [0, 0, 1]])


if __name__ == "__main__":
    absltest.main()
