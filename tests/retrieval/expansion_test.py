import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from cwcf_jax import retrieval
from tests import oracles


def unit_rows(seed, rows, dim):
    vectors = np.random.default_rng(seed).normal(size=(rows, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


class AverageExpansionTest(parameterized.TestCase):
    @parameterized.parameters(1, 2, 5, 20)
    def test_against_float64(self, count):
        database = unit_rows(0, 20, 64)
        ranking = np.random.default_rng(1).permutation(20)
        expected = oracles.l2(sum(database[i].astype(np.float64) for i in ranking[:count]))
        found = retrieval.average_expansion(jnp.asarray(database), jnp.asarray(ranking, jnp.int32), count)
        np.testing.assert_allclose(found, expected, atol=1e-6)

    def test_by_hand(self):
        # (0, 1) + (.6, .8) = (.6, 1.8), of norm sqrt(3.6) = 1.897367: (.316228, .948683)
        database = jnp.array([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])
        found = retrieval.average_expansion(database, jnp.array([2, 1, 0]), 2)
        np.testing.assert_allclose(found, [0.316228, 0.948683], atol=1e-6)

    def test_one_row_is_the_row(self):
        database = unit_rows(2, 6, 8)
        found = retrieval.average_expansion(jnp.asarray(database), jnp.array([3, 1, 0, 2, 5, 4]), 1)
        np.testing.assert_allclose(found, database[3], atol=1e-6)

    def test_more_than_there_are_sums_them_all(self):
        database = unit_rows(3, 4, 8)
        found = retrieval.average_expansion(jnp.asarray(database), jnp.array([1, 3, 0, 2]), 10)
        np.testing.assert_allclose(found, oracles.l2(database.sum(axis=0, dtype=np.float64)), atol=1e-6)

    def test_rows_that_cancel_leave_zero(self):
        found = retrieval.average_expansion(jnp.array([[1.0, 0.0], [-1.0, 0.0]]), jnp.array([0, 1]), 2)
        np.testing.assert_array_equal(found, [0.0, 0.0])

    @parameterized.parameters(0, -1)
    def test_too_few(self, count):
        with self.assertRaisesWithLiteralMatch(ValueError, f"query expansion sums at least 1 row, not {count}"):
            retrieval.average_expansion(jnp.eye(2), jnp.array([0, 1]), count)

    def test_jit(self):
        database, ranking = jnp.asarray(unit_rows(4, 9, 8)), jnp.arange(9)
        compiled = jax.jit(retrieval.average_expansion, static_argnums=2)
        expected = retrieval.average_expansion(database, ranking, 3)
        np.testing.assert_allclose(compiled(database, ranking, 3), expected, atol=1e-6)


if __name__ == "__main__":
    absltest.main()
