import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from cwcf_jax import benchmark, engine
from tests import oracles


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def search(query, database, expansion):
    """In float64, and the smallest gap between two scores that decided anything."""
    query, database = query.astype(np.float64), database.astype(np.float64)
    scores = database @ query
    gap = np.diff(np.sort(scores)).min()
    ranking = sorted(range(len(database)), key=lambda row: -scores[row])
    if expansion:
        scores = database @ oracles.l2(sum(database[row] for row in ranking[:expansion]))
        gap = min(gap, np.diff(np.sort(scores)).min())
        ranking = sorted(range(len(database)), key=lambda row: -scores[row])
    return ranking, gap


class SearchTest(parameterized.TestCase):
    @parameterized.product(expansion=(0, 1, 3, 10, 40, 99), seed=(0, 1))
    def test_against_float64(self, expansion, seed):
        random = np.random.default_rng(seed)
        database = unit(random.normal(size=(40, 16))).astype(np.float32)
        query = unit(random.normal(size=16)).astype(np.float32)
        expected, gap = search(query, database, expansion)
        self.assertGreater(gap, 1e-6)  # else float32 might order it differently
        found = engine.search(jnp.asarray(query), jnp.asarray(database), expansion=expansion)
        np.testing.assert_array_equal(found, expected)

    def test_expansion_follows_the_best_rows_and_drops_the_query(self):
        # Directions in degrees. From the query at 0: 10, 20, -25, -30, 40. From the best row at 10 alone they are
        # 10, 30, 35 and 40 away: 40 comes before -25 and -30. With the query in the sum, at 5, it would come after -25.
        degrees = np.array([20, -30, 10, 40, -25])
        database = jnp.asarray(np.stack([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))], 1), jnp.float32)
        query = jnp.array([1.0, 0.0])
        np.testing.assert_array_equal(engine.search(query, database), [2, 0, 4, 1, 3])
        np.testing.assert_array_equal(engine.search(query, database, expansion=1), [2, 0, 3, 4, 1])

    def test_ties_keep_the_order_of_the_database(self):
        database = jnp.array([[0.0, 1.0], [1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
        for expansion in (0, 1, 2):
            found = engine.search(jnp.array([1.0, 0.0]), database, expansion=expansion)
            np.testing.assert_array_equal(found, [1, 3, 0, 2])

    def test_zero_rows_come_between(self):
        database = jnp.array([[-1.0, 0.0], [0.0, 0.0], [1.0, 0.0]])
        np.testing.assert_array_equal(engine.search(jnp.array([1.0, 0.0]), database), [2, 1, 0])

    def test_a_negative_expansion_is_refused(self):
        with self.assertRaisesRegex(ValueError, "at least 1 row, not -1"):
            engine.search(jnp.array([1.0, 0.0]), jnp.eye(2), expansion=-1)


class TiesTest(parameterized.TestCase):
    @parameterized.product(rows=(33, 37, 997), dim=(512, 831))
    def test_equal_rows_keep_the_order_of_the_database(self, rows, dim):
        """A matrix product rounds the last rows of its blocks in another way and would break these ties."""
        generator = np.random.default_rng(rows)
        query, vector = (jnp.asarray(unit(generator.normal(size=dim)), jnp.float32) for _ in range(2))
        database = jnp.tile(vector, (rows, 1))
        for expansion in (0, 5):
            found = engine.search(query, database, expansion=expansion)
            np.testing.assert_array_equal(found, np.arange(rows))
            several = benchmark.rankings(jnp.stack([query] * 3), jnp.stack([database] * 3), expansion=expansion)
            np.testing.assert_array_equal(several, np.tile(np.arange(rows), (3, 1)))


if __name__ == "__main__":
    absltest.main()
