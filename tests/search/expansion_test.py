import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from cwcf_jax.search import average_expansion, expansion
from tests.support import oracles


def unit_rows(seed, rows, dim):
    vectors = np.random.default_rng(seed).normal(size=(rows, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


class AverageExpansionTest(parameterized.TestCase):
    @parameterized.parameters(1, 2, 5, 20)
    def test_against_float64(self, count):
        database = unit_rows(0, 20, 64)
        ranking = np.random.default_rng(1).permutation(20)
        expected = oracles.l2(sum(database[i].astype(np.float64) for i in ranking[:count]))
        found = average_expansion(jnp.asarray(database), jnp.asarray(ranking, jnp.int32), count)
        np.testing.assert_allclose(found, expected, atol=1e-6)

    def test_by_hand(self):
        # (0, 1) + (.6, .8) = (.6, 1.8), of norm sqrt(3.6) = 1.897367: (.316228, .948683)
        database = jnp.array([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])
        found = average_expansion(database, jnp.array([2, 1, 0]), 2)
        np.testing.assert_allclose(found, [0.316228, 0.948683], atol=1e-6)

    def test_one_row_is_the_row(self):
        database = unit_rows(2, 6, 8)
        found = average_expansion(jnp.asarray(database), jnp.array([3, 1, 0, 2, 5, 4]), 1)
        np.testing.assert_allclose(found, database[3], atol=1e-6)

    def test_more_than_there_are_sums_them_all(self):
        database = unit_rows(3, 4, 8)
        found = average_expansion(jnp.asarray(database), jnp.array([1, 3, 0, 2]), 10)
        np.testing.assert_allclose(found, oracles.l2(database.sum(axis=0, dtype=np.float64)), atol=1e-6)

    def test_rows_that_cancel_leave_zero(self):
        found = average_expansion(jnp.array([[1.0, 0.0], [-1.0, 0.0]]), jnp.array([0, 1]), 2)
        np.testing.assert_array_equal(found, [0.0, 0.0])

    @parameterized.parameters(0, -1)
    def test_too_few(self, count):
        with self.assertRaisesWithLiteralMatch(ValueError, f"query expansion sums at least 1 row, not {count}"):
            average_expansion(jnp.eye(2), jnp.array([0, 1]), count)

    def test_jit(self):
        database, ranking = jnp.asarray(unit_rows(4, 9, 8)), jnp.arange(9)
        compiled = jax.jit(average_expansion, static_argnums=2)
        expected = average_expansion(database, ranking, 3)
        np.testing.assert_allclose(compiled(database, ranking, 3), expected, atol=1e-6)


def weighted(query, rows, alpha):
    """One row at a time, in float64."""
    total = np.array(query, np.float64)
    for row in rows.astype(np.float64):
        similarity = row @ np.asarray(query, np.float64)
        total += (similarity**alpha if similarity > 0 else 0.0) * row
    return oracles.l2(total)


class AlphaExpansionTest(parameterized.TestCase):
    @parameterized.product(count=(1, 4, 50), alpha=(0.0, 0.5, 1.0, 3.0))
    def test_against_float64(self, count, alpha):
        query, database = unit_rows(5, 1, 4)[0], unit_rows(6, 20, 4)
        ranking = np.random.default_rng(7).permutation(20).astype(np.int32)
        found = expansion.alpha_expansion(
            jnp.asarray(query), jnp.asarray(database), jnp.asarray(ranking), count, alpha=alpha
        )
        np.testing.assert_allclose(found, weighted(query, database[ranking[:count]], alpha), atol=1e-6)

    def test_by_hand(self):
        # (1, 0) + .6^2 (.6, .8) = (1.216, .288), of norm 1.249640; the row at -.6 counts nothing
        database = jnp.array([[-0.6, 0.8], [0.6, 0.8]])
        found = expansion.alpha_expansion(jnp.array([1.0, 0.0]), database, jnp.array([1, 0]), 2, alpha=2.0)
        np.testing.assert_allclose(found, [0.973080, 0.230466], atol=1e-6)

    def test_without_alpha_it_is_the_average_with_the_query(self):
        query, database = unit_rows(8, 1, 8)[0], np.abs(unit_rows(9, 6, 8))
        query = np.abs(query)
        together = jnp.asarray(np.vstack([database, query]))
        expected = average_expansion(together, jnp.array([6, 2, 0, 1, 3, 4, 5]), 3)
        found = expansion.alpha_expansion(
            jnp.asarray(query), jnp.asarray(database), jnp.array([2, 0, 1, 3, 4, 5]), 2, alpha=0.0
        )
        np.testing.assert_allclose(found, expected, atol=1e-6)

    @parameterized.parameters(0.0, 0.5, 3.0)
    def test_nothing_similar_leaves_the_query(self, alpha):
        query = jnp.array([1.0, 0.0])
        database = jnp.array([[-1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
        found = expansion.alpha_expansion(query, database, jnp.array([1, 2, 0]), 3, alpha=alpha)
        np.testing.assert_array_equal(found, query)
        zero = expansion.alpha_expansion(jnp.zeros(2), database, jnp.array([1, 2, 0]), 3, alpha=alpha)
        np.testing.assert_array_equal(zero, np.zeros(2))

    def test_gradients_are_finite(self):
        database = jnp.array([[0.0, 1.0], [-1.0, 0.0]])

        def first(query):
            return expansion.alpha_expansion(query, database, jnp.array([0, 1]), 2, alpha=0.5)[0]

        self.assertTrue(bool(jnp.isfinite(jax.grad(first)(jnp.array([1.0, 0.0]))).all()))

    def test_refused(self):
        arguments = jnp.ones(2), jnp.eye(2), jnp.array([0, 1])
        with self.assertRaisesRegex(ValueError, "query expansion sums at least 1 row, not 0"):
            expansion.alpha_expansion(*arguments, 0, alpha=1.0)
        for alpha in (-1.0, float("nan")):
            with self.assertRaisesRegex(ValueError, f"alpha must be 0 or more, not {alpha}"):
                expansion.alpha_expansion(*arguments, 1, alpha=alpha)


class AugmentDatabaseTest(parameterized.TestCase):
    @parameterized.product(neighbours=(1, 5, 40), alpha=(0.0, 3.0), block=(1, 7, 64))
    def test_against_float64(self, neighbours, alpha, block):
        database = unit_rows(10, 30, 16)
        found = expansion.augment_database(jnp.asarray(database), neighbours, alpha=alpha, block=block)
        for place, row in enumerate(database):
            others = np.delete(database, place, axis=0)
            order = np.argsort(-(others.astype(np.float64) @ row.astype(np.float64)), kind="stable")[:neighbours]
            np.testing.assert_allclose(found[place], weighted(row, others[order], alpha), atol=2e-6)

    def test_by_hand(self):
        # The first two rows, .8 apart, draw each other: (1, 0) + .8 (.8, .6) = (1.64, .48), of norm 1.708801, and
        # (.8, .6) + .8 (1, 0) = (1.6, .6), of norm 1.708801. The third is nearest to the second, at .6 - .8 < 0.
        database = jnp.array([[1.0, 0.0], [0.8, 0.6], [-1.0, 0.0]])
        found = expansion.augment_database(database, 1, alpha=1.0)
        np.testing.assert_allclose(found, [[0.959737, 0.280899], [0.936329, 0.351123], [-1.0, 0.0]], atol=1e-6)

    def test_duplicates_are_neighbours_and_a_row_is_not_its_own(self):
        database = jnp.array([[1.0, 0.0], [1.0, 0.0], [0.6, 0.8]])
        found = expansion.augment_database(database, 1, alpha=1.0)
        # the third row, itself and .6 of the first: (1.2, .8), of norm sqrt(2.08)
        np.testing.assert_allclose(found, [[1, 0], [1, 0], [0.832050, 0.554700]], atol=1e-6)

    def test_zero_rows_stay_zero_and_one_row_stays(self):
        database = jnp.array([[0.0, 0.0], [0.6, 0.8], [0.6, 0.8]])
        found = expansion.augment_database(database, 2, alpha=0.0)
        np.testing.assert_allclose(found, database, atol=1e-6)
        np.testing.assert_allclose(expansion.augment_database(database[1:2], 3, alpha=1.0), database[1:2], atol=1e-6)
        self.assertEqual(expansion.augment_database(jnp.zeros((0, 4)), 3, alpha=1.0).shape, (0, 4))

    def test_the_whole_product_is_never_held(self):
        augment = jax.jit(lambda rows: expansion.augment_database(rows, 3, alpha=1.0, block=8))
        analysis = augment.lower(jnp.zeros((2000, 4))).compile().memory_analysis()
        self.assertLess(analysis.temp_size_in_bytes, 2000 * 2000)  # a quarter of it

    def test_refused(self):
        with self.assertRaisesRegex(ValueError, "database augmentation sums at least 1 row, not 0"):
            expansion.augment_database(jnp.eye(2), 0, alpha=1.0)
        with self.assertRaisesRegex(ValueError, "a block holds at least 1 row, not 0"):
            expansion.augment_database(jnp.eye(2), 1, alpha=1.0, block=0)
        with self.assertRaisesRegex(ValueError, "alpha must be 0 or more"):
            expansion.augment_database(jnp.eye(2), 1, alpha=-0.5)


if __name__ == "__main__":
    absltest.main()
