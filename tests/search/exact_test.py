import mmap

import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cwcf_jax.search import candidates, exact
from tests.support.slow import cases


def unit(random, *shape):
    vectors = random.normal(size=shape).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def oracle(queries, database, count):
    """Ranks rows by a stable sort of float64 cosines; returns rows and scores."""
    scores = queries.astype(np.float64) @ database.astype(np.float64).T
    return np.argsort(-scores, axis=1, kind="stable")[:, :count], -np.sort(-scores, axis=1)[:, :count]


class NearestTest(parameterized.TestCase):
    @parameterized.product(
        length=cases((1, 16, 2050), (1, 5, 16, 100, 2048, 2050, 5000)),
        num_queries=cases((1, 5), (1, 5, 40)),
        compacted=(False, True),
        scoring=exact.SCORINGS,
    )
    def test_against_a_sort(self, length, num_queries, compacted, scoring):
        random = np.random.default_rng(length)
        database, queries = unit(random, length, 24), unit(random, num_queries, 24)
        compact = exact.compact(jnp.asarray(database)) if compacted else None
        actual = exact.nearest(jnp.asarray(queries), jnp.asarray(database), 20, compact=compact, scoring=scoring)
        rows, scores = oracle(queries, database, min(20, length))
        np.testing.assert_array_equal(actual.rows, rows)
        np.testing.assert_allclose(actual.scores, scores, atol=1e-6)

    @settings(max_examples=cases(20, 40), deadline=None)
    @given(
        st.integers(0, 2**32 - 1),
        st.sampled_from((1, 37, 243)),
        st.integers(1, 6),
        st.sampled_from((1, 35)),
        st.booleans(),
        st.sampled_from(exact.SCORINGS),
    )
    @example(5, 243, 6, 35, False, "float32")  # the margin of rows within the groups ends among equal rows
    def test_ties_come_in_order(self, seed, length, different, count, compacted, scoring):
        """Repeated rows give every score many times, more often than any margin."""
        random = np.random.default_rng(seed)
        database = unit(random, different, 8)[random.integers(0, different, length)]
        queries = np.concatenate([unit(random, 5, 8), np.zeros((1, 8), np.float32)])
        compact = exact.compact(jnp.asarray(database)) if compacted else None
        actual = exact.nearest(jnp.asarray(queries), jnp.asarray(database), count, compact=compact, scoring=scoring)
        expected = exact.exhaustive(jnp.asarray(queries), jnp.asarray(database), min(count, length))
        np.testing.assert_array_equal(actual.rows, expected.rows)
        np.testing.assert_array_equal(actual.scores, expected.scores)
        for row_scores, rows in zip(np.asarray(actual.scores), np.asarray(actual.rows), strict=True):
            self.assertLen(set(rows.tolist()), min(count, length))
            for i in range(len(rows) - 1):
                self.assertTrue(row_scores[i] > row_scores[i + 1] or rows[i] < rows[i + 1])

    def test_many_queries_and_a_mapped_database(self):
        random = np.random.default_rng(0)
        mapped = np.frombuffer(mmap.mmap(-1, 3000 * 16 * 4), np.float32).reshape(3000, 16)
        mapped[:] = unit(random, 3000, 16)
        queries = unit(random, 300, 16)
        actual = exact.nearest(jnp.asarray(queries), mapped, 10)
        np.testing.assert_array_equal(actual.rows, oracle(queries, mapped, 10)[0])

    @parameterized.parameters(*exact.SCORINGS)
    def test_scores_closer_than_bfloat16_can_tell(self, scoring):
        """Rows within .002 of a query cannot be told apart in 16 bits: 16-bit candidates must not be certain."""
        random = np.random.default_rng(3)
        query = unit(random, 6, 32)
        near = query[random.integers(0, 6, 9000)] + 0.008 * random.normal(size=(9000, 32)).astype(np.float32)
        database = near / np.linalg.norm(near, axis=1, keepdims=True)
        actual = candidates.find(jnp.asarray(query), database, compact=None, count=20, scoring=scoring)
        self.assertEqual(actual.certain.tolist(), [scoring == "float32"] * 6)
        nearest = exact.nearest(jnp.asarray(query), database, 20, scoring=scoring)
        expected = oracle(query, database, 20)[1]
        np.testing.assert_allclose(nearest.scores, expected, atol=1e-6)
        cosines = np.einsum("qd,qkd->qk", query.astype(np.float64), database[nearest.rows].astype(np.float64))
        np.testing.assert_allclose(cosines, expected, atol=2e-7)
        for rows in np.asarray(nearest.rows):
            self.assertLen(set(rows.tolist()), 20)

    def test_rounding_that_hides_the_best(self):
        """Rounding to bfloat16 lowers every number of the query and of the best row, but no other rows."""
        rounded_down = np.full(16, 0.25 * (1 + 2.0**-8 - 2.0**-20), np.float32)
        others = np.full((400 * candidates.GROUP_ROWS, 16), 0.25, np.float32)
        others[:, 0] += 2.0**-9  # raises the scores by about 2 ** -11, so that all other rows hide the best row
        others[: candidates.GROUP_ROWS, :6] = 0.25 + 2.0**-9  # the best of the other rows, still behind the best row
        database = np.concatenate([others, rounded_down[None]])
        queries = np.tile(rounded_down, (6, 1))
        actual = candidates.find(jnp.asarray(queries), database, compact=None, count=1, scoring="bfloat16")
        self.assertNotIn(len(others), actual.ranking.rows[:, 0].tolist())
        self.assertFalse(np.any(actual.certain))
        rows = exact.nearest(jnp.asarray(queries), database, 1, scoring="bfloat16").rows
        np.testing.assert_array_equal(rows, np.full((6, 1), len(others)))

    def test_rows_that_share_a_group_are_all_found(self):
        random = np.random.default_rng(1)
        database = unit(random, 6000, 32)
        queries = unit(random, 8, 32)
        for i, query in enumerate(queries):  # the twelve best rows of each query are adjacent
            near = query + 0.02 * random.normal(size=(12, 32)).astype(np.float32)
            database[700 * i : 700 * i + 12] = near / np.linalg.norm(near, axis=1, keepdims=True)
        actual = exact.nearest(jnp.asarray(queries), jnp.asarray(database), 12)
        np.testing.assert_array_equal(actual.rows, oracle(queries, database, 12)[0])

    def test_error_of_a_compact_database(self):
        database = unit(np.random.default_rng(2), 500, 64)
        compact = exact.compact(jnp.asarray(database))
        self.assertEqual(compact.values.dtype, jnp.int8)
        dequantized = np.asarray(compact.values, np.float64) * np.asarray(compact.scales, np.float64)[:, None]
        errors = np.linalg.norm(dequantized - database, axis=1)
        self.assertAlmostEqual(float(compact.error), errors.max(), places=6)
        self.assertLess(errors.max(), 0.02)

    @parameterized.parameters((0, 3, 3, "at least 1 row, not 0"), (1, 0, 3, "0 queries"), (1, 3, 0, "0 rows"))
    def test_errors(self, count, queries, length, message):
        with self.assertRaisesRegex(ValueError, message):
            exact.nearest(jnp.zeros((queries, 4)), jnp.zeros((length, 4)), count)

    def test_unknown_scoring(self):
        with self.assertRaisesRegex(ValueError, "unknown scoring 'float64'; known: float32, bfloat16"):
            exact.nearest(jnp.zeros((1, 4)), jnp.zeros((3, 4)), 1, scoring="float64")


if __name__ == "__main__":
    absltest.main()
