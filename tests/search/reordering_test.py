import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest
from hypothesis import given, settings
from hypothesis import strategies as st

from cwcf_jax.search import reordering

SCORES = st.lists(st.sampled_from([-1.0, -0.0, 0.0, 0.25, 1.0]), max_size=12)  # many ties


class ReorderTest(absltest.TestCase):
    def test_by_hand(self):
        found = reordering.reorder(jnp.array([7, 3, 9, 1, 4]), jnp.array([0.2, 0.9, 0.2]))
        np.testing.assert_array_equal(found, [3, 7, 9, 1, 4])

    @settings(deadline=None, max_examples=60)
    @given(SCORES, st.integers(0, 5), st.integers(0, 1000))
    def test_against_sorted(self, scores, more, seed):
        ranking = np.random.default_rng(seed).permutation(len(scores) + more).astype(np.int32)
        places = sorted(range(len(scores)), key=lambda place: (-scores[place], place))
        expected = [*ranking[places], *ranking[len(scores) :]]
        found = reordering.reorder(jnp.asarray(ranking), jnp.array(scores, jnp.float32))
        np.testing.assert_array_equal(found, expected)

    def test_no_scores_change_nothing(self):
        np.testing.assert_array_equal(reordering.reorder(jnp.array([2, 0, 1]), jnp.zeros(0)), [2, 0, 1])

    def test_more_scores_than_images(self):
        with self.assertRaisesRegex(ValueError, "3 scores for a ranking of 2"):
            reordering.reorder(jnp.array([1, 0]), jnp.ones(3))

    def test_jit_and_vmap(self):
        rankings = jnp.array([[0, 1, 2], [2, 1, 0]])
        found = jax.jit(jax.vmap(reordering.reorder))(rankings, jnp.array([[0.1, 0.2], [0.3, 0.4]]))
        np.testing.assert_array_equal(found, [[1, 0, 2], [1, 2, 0]])


class ReplaceRowsTest(absltest.TestCase):
    def test_by_hand(self):
        database = jnp.arange(8.0).reshape(4, 2)
        found = jax.jit(reordering.replace_rows)(database, jnp.array([3, 0]), jnp.array([[-1.0, -2.0], [-3.0, -4.0]]))
        np.testing.assert_array_equal(found, [[-3, -4], [2, 3], [4, 5], [-1, -2]])
        np.testing.assert_array_equal(database, np.arange(8.0).reshape(4, 2))

    def test_no_rows(self):
        database = jnp.eye(3)
        found = reordering.replace_rows(database, jnp.zeros(0, jnp.int32), jnp.zeros((0, 3)))
        np.testing.assert_array_equal(found, database)


if __name__ == "__main__":
    absltest.main()
