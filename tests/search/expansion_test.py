import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from cwcf_jax.search import expand_query, expansion
from tests.support import oracles
from tests.support.slow import cases


def unit_rows(seed, rows, dim):
    vectors = np.random.default_rng(seed).normal(size=(rows, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


class PlainExpansionTest(parameterized.TestCase):
    @parameterized.product(count=(1, 2, 5, 20), add_query=(False, True))
    def test_against_float64(self, count, add_query):
        query, rows = unit_rows(1, 1, 64)[0], unit_rows(0, count, 64)
        expected = oracles.l2(rows.sum(axis=0, dtype=np.float64) + add_query * query.astype(np.float64))
        actual = expand_query(jnp.asarray(query), jnp.asarray(rows), add_query=add_query)
        np.testing.assert_allclose(actual, expected, atol=1e-6)

    def test_by_hand(self):
        # (0, 1) + (.6, .8) = (.6, 1.8), of norm sqrt(3.6) = 1.897367: (.316228, .948683)
        query, rows = jnp.array([1.0, 0.0]), jnp.array([[0.6, 0.8], [0.0, 1.0]])
        np.testing.assert_allclose(expand_query(query, rows), [0.316228, 0.948683], atol=1e-6)
        # with the query (1.6, 1.8), of norm sqrt(5.8) = 2.408319: (.664364, .747409)
        np.testing.assert_allclose(expand_query(query, rows, add_query=True), [0.664364, 0.747409], atol=1e-6)

    def test_sum_of_one_row_is_the_row(self):
        rows = unit_rows(2, 1, 8)
        actual = expand_query(jnp.asarray(unit_rows(3, 1, 8)[0]), jnp.asarray(rows))
        np.testing.assert_allclose(actual, rows[0], atol=1e-6)

    def test_rows_that_cancel_leave_zero(self):
        actual = expand_query(jnp.array([0.0, 1.0]), jnp.array([[1.0, 0.0], [-1.0, 0.0]]))
        np.testing.assert_array_equal(actual, [0.0, 0.0])

    def test_too_few(self):
        with self.assertRaisesWithLiteralMatch(ValueError, "query expansion sums at least 1 row, not 0"):
            expand_query(jnp.ones(2), jnp.zeros((0, 2)))

    def test_vmap(self):
        queries, rows = jnp.asarray(unit_rows(4, 3, 8)), jnp.asarray(unit_rows(5, 12, 8)).reshape(3, 4, 8)
        for options in ({}, {"alpha": 3.0, "add_query": True}):
            batched = jax.vmap(lambda query, best, options=options: expand_query(query, best, **options))(queries, rows)
            for i in range(3):
                np.testing.assert_allclose(batched[i], expand_query(queries[i], rows[i], **options), atol=1e-6)


def weighted(query, rows, alpha):
    """Computes the weighted expansion one row at a time, in float64."""
    total = np.array(query, np.float64)
    for row in rows.astype(np.float64):
        similarity = row @ np.asarray(query, np.float64)
        total += (similarity**alpha if similarity > 0 else 0.0) * row
    return oracles.l2(total)


class AlphaExpansionTest(parameterized.TestCase):
    @parameterized.product(count=(1, 4, 20), alpha=(0.0, 0.5, 1.0, 3.0))
    def test_against_float64(self, count, alpha):
        query, rows = unit_rows(5, 1, 4)[0], unit_rows(6, count, 4)
        actual = expand_query(jnp.asarray(query), jnp.asarray(rows), alpha=alpha, add_query=True)
        np.testing.assert_allclose(actual, weighted(query, rows, alpha), atol=1e-6)

    def test_without_the_query(self):
        # .6^2 (.6, .8) alone is (.6, .8) again; the row with similarity -.6 has the weight 0
        actual = expand_query(jnp.array([1.0, 0.0]), jnp.array([[0.6, 0.8], [-0.6, 0.8]]), alpha=2.0)
        np.testing.assert_allclose(actual, [0.6, 0.8], atol=1e-6)

    def test_by_hand(self):
        # (1, 0) + .6^2 (.6, .8) = (1.216, .288), of norm 1.249640; the row with similarity -.6 has the weight 0
        rows = jnp.array([[0.6, 0.8], [-0.6, 0.8]])
        actual = expand_query(jnp.array([1.0, 0.0]), rows, alpha=2.0, add_query=True)
        np.testing.assert_allclose(actual, [0.973080, 0.230466], atol=1e-6)

    def test_alpha_0_is_the_average_with_the_query(self):
        query, rows = np.abs(unit_rows(8, 1, 8)[0]), np.abs(unit_rows(9, 2, 8))
        expected = expand_query(jnp.asarray(query), jnp.asarray(rows), add_query=True)
        actual = expand_query(jnp.asarray(query), jnp.asarray(rows), alpha=0.0, add_query=True)
        np.testing.assert_allclose(actual, expected, atol=1e-6)

    @parameterized.parameters(0.0, 0.5, 3.0)
    def test_without_similar_rows_the_query_stays(self, alpha):
        query = jnp.array([1.0, 0.0])
        rows = jnp.array([[0.0, 1.0], [0.0, 0.0], [-1.0, 0.0]])
        actual = expand_query(query, rows, alpha=alpha, add_query=True)
        np.testing.assert_array_equal(actual, query)
        zero = expand_query(jnp.zeros(2), rows, alpha=alpha, add_query=True)
        np.testing.assert_array_equal(zero, np.zeros(2))

    def test_gradients_are_finite(self):
        rows = jnp.array([[0.0, 1.0], [-1.0, 0.0]])

        def first(query):
            return expand_query(query, rows, alpha=0.5, add_query=True)[0]

        self.assertTrue(bool(jnp.isfinite(jax.grad(first)(jnp.array([1.0, 0.0]))).all()))

    def test_refused(self):
        with self.assertRaisesRegex(ValueError, "query expansion sums at least 1 row, not 0"):
            expand_query(jnp.ones(2), jnp.zeros((0, 2)), alpha=1.0)
        for alpha in (-1.0, float("nan")):
            with self.assertRaisesRegex(ValueError, f"alpha must be 0 or more, not {alpha}"):
                expand_query(jnp.ones(2), jnp.eye(2), alpha=alpha)


class AugmentDatabaseTest(parameterized.TestCase):
    @parameterized.product(neighbours=cases((1, 40), (1, 5, 40)), alpha=(0.0, 3.0), block=cases((7,), (1, 7, 64)))
    def test_against_float64(self, neighbours, alpha, block):
        database = unit_rows(10, 30, 16)
        actual = expansion.augment_database(jnp.asarray(database), neighbours, alpha=alpha, block=block)
        for i, row in enumerate(database):
            others = np.delete(database, i, axis=0)
            order = np.argsort(-(others.astype(np.float64) @ row.astype(np.float64)), kind="stable")[:neighbours]
            np.testing.assert_allclose(actual[i], weighted(row, others[order], alpha), atol=2e-6)

    def test_by_hand(self):
        # The first two rows, with cosine .8, are each other's neighbours: (1, 0) + .8 (.8, .6) = (1.64, .48), of norm
        # 1.708801, and (.8, .6) + .8 (1, 0) = (1.6, .6), of norm 1.708801. The third row is nearest to the second, but
        # their cosine is negative.
        database = jnp.array([[1.0, 0.0], [0.8, 0.6], [-1.0, 0.0]])
        actual = expansion.augment_database(database, 1, alpha=1.0)
        np.testing.assert_allclose(actual, [[0.959737, 0.280899], [0.936329, 0.351123], [-1.0, 0.0]], atol=1e-6)

    def test_duplicates_are_neighbours_and_a_row_is_not_its_own(self):
        database = jnp.array([[1.0, 0.0], [1.0, 0.0], [0.6, 0.8]])
        actual = expansion.augment_database(database, 1, alpha=1.0)
        # the third row plus .6 times the first: (1.2, .8), of norm sqrt(2.08)
        np.testing.assert_allclose(actual, [[1, 0], [1, 0], [0.832050, 0.554700]], atol=1e-6)

    def test_zero_rows_stay_zero_and_one_row_stays(self):
        database = jnp.array([[0.0, 0.0], [0.6, 0.8], [0.6, 0.8]])
        actual = expansion.augment_database(database, 2, alpha=0.0)
        np.testing.assert_allclose(actual, database, atol=1e-6)
        np.testing.assert_allclose(expansion.augment_database(database[1:2], 3, alpha=1.0), database[1:2], atol=1e-6)
        self.assertEqual(expansion.augment_database(jnp.zeros((0, 4)), 3, alpha=1.0).shape, (0, 4))

    def test_the_product_of_all_rows_is_never_in_memory(self):
        augment = jax.jit(lambda rows: expansion.augment_database(rows, 3, alpha=1.0, block=8))
        analysis = augment.lower(jnp.zeros((2000, 4))).compile().memory_analysis()
        self.assertLess(analysis.temp_size_in_bytes, 2000 * 2000)  # a quarter of the product's bytes

    def test_refused(self):
        with self.assertRaisesRegex(ValueError, "database augmentation sums at least 1 row, not 0"):
            expansion.augment_database(jnp.eye(2), 0, alpha=1.0)
        with self.assertRaisesRegex(ValueError, "a block holds at least 1 row, not 0"):
            expansion.augment_database(jnp.eye(2), 1, alpha=1.0, block=0)
        with self.assertRaisesRegex(ValueError, "alpha must be 0 or more"):
            expansion.augment_database(jnp.eye(2), 1, alpha=-0.5)


if __name__ == "__main__":
    absltest.main()
