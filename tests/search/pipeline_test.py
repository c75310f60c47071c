"""These tests compare search, re-ranking and expansion with the paper's definitions in float64."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from cwcf_jax.search import pipeline
from cwcf_jax.search.pipeline import NO_ROW, Database, SearchConfig
from cwcf_jax.search.reranking import BestRegions
from tests.search.rankings import circle, oracle, ranking, unit


class SearchTest(parameterized.TestCase):
    @parameterized.product(expansion=(0, 1, 10, 99), pin_query_row=(False, True), expand_images=(False, True))
    def test_against_float64(self, expansion, pin_query_row, expand_images):
        if expand_images and not (expansion and pin_query_row):
            return  # refused, see ConfigTest
        random = np.random.default_rng(expansion)
        database = unit(random.normal(size=(40, 16))).astype(np.float32)
        query = unit(random.normal(size=16)).astype(np.float32)
        config = SearchConfig(expansion=expansion, pin_query_row=pin_query_row, expand_images=expand_images)
        for own in (NO_ROW, 0, 7, 39):
            expected, gap = oracle(query, database, config, own=own)
            self.assertGreater(gap, 1e-6)  # otherwise float32 could give another order
            np.testing.assert_array_equal(ranking(query, database, config, own), expected)

    @parameterized.product(alpha=(None, 0.0, 3.0), expand_images=(False, True), add_query=(False, True))
    def test_weighted_expansion_against_float64(self, alpha, expand_images, add_query):
        random = np.random.default_rng(7)
        database = unit(random.normal(size=(40, 16))).astype(np.float32)
        query = unit(random.normal(size=16)).astype(np.float32)
        config = SearchConfig(
            expansion=25, pin_query_row=True, expand_images=expand_images, alpha=alpha, add_query=add_query
        )
        expected, gap = oracle(query, database, config, own=7)
        self.assertGreater(gap, 1e-6)
        np.testing.assert_array_equal(ranking(query, database, config, 7), expected)

    def test_expansion_follows_the_best_rows_and_drops_the_query(self):
        # Directions in degrees: the query at 0 ranks 10, 20, -25, -30, 40. The expanded query at 10 ranks 40 before
        # -25 and -30. With the query in the sum, the expanded query is at 5 and ranks 40 after -25.
        database, query = circle([20, -30, 10, 40, -25]), jnp.array([1.0, 0.0])
        np.testing.assert_array_equal(ranking(query, database, SearchConfig()), [2, 0, 4, 1, 3])
        np.testing.assert_array_equal(ranking(query, database, SearchConfig(expansion=1)), [2, 0, 3, 4, 1])
        with_query = SearchConfig(expansion=1, add_query=True)
        np.testing.assert_array_equal(ranking(query, database, with_query)[:3], [2, 0, 4])

    def test_ties_keep_the_order_of_the_database(self):
        database = jnp.array([[0.0, 1.0], [1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
        for expansion in (0, 1, 2):
            actual = ranking(jnp.array([1.0, 0.0]), database, SearchConfig(expansion=expansion))
            np.testing.assert_array_equal(actual, [1, 3, 0, 2])

    def test_zero_rows_rank_between_positive_and_negative_cosines(self):
        database = jnp.array([[-1.0, 0.0], [0.0, 0.0], [1.0, 0.0]])
        np.testing.assert_array_equal(ranking(jnp.array([1.0, 0.0]), database, SearchConfig()), [2, 1, 0])

    @parameterized.parameters(
        SearchConfig(), SearchConfig(expansion=9, add_query=True), SearchConfig(expansion=3, pin_query_row=True)
    )
    def test_the_best_few_are_the_first_of_all(self, config):
        random = np.random.default_rng(11)
        database = jnp.asarray(unit(random.normal(size=(40, 16))), jnp.float32)
        query = jnp.asarray(unit(random.normal(size=16)), jnp.float32)
        last = ranking(query, database, SearchConfig())[-1]
        own = last if config.pin_query_row else None
        everything, _ = pipeline.search(query, Database(database), config, count=99, query_row=own)
        few, _ = pipeline.search(query, Database(database), config, count=5, query_row=own)
        np.testing.assert_array_equal(few.rows, everything.rows[:5])
        np.testing.assert_array_equal(few.scores, everything.scores[:5])
        self.assertEqual(everything.rows.shape, (40,))
        self.assertEqual(sorted(everything.rows.tolist()), list(range(40)))

    def test_scores_are_cosines_with_the_last_query(self):
        database, query = circle([20, -30, 10]), jnp.array([1.0, 0.0])
        actual, regions = pipeline.search(query, Database(database), SearchConfig(expansion=1), count=2)
        self.assertIsNone(regions)
        np.testing.assert_allclose(actual.scores, [1.0, np.cos(np.radians(10))], atol=1e-6)


class ConfigTest(parameterized.TestCase):
    @parameterized.parameters(
        (dict(rerank=-1), "rerank is a number of images, not -1"),
        (dict(expansion=-2), "expansion is a number of images, not -2"),
        (dict(online=-1), "online is a number of images, not -1"),
        (dict(expansion=1, alpha=-0.5), "alpha must be 0 or more, not -0.5"),
        (dict(rerank=3, add_query=True), "add_query changes nothing without expansion"),
        (dict(alpha=0.0), "alpha changes nothing without expansion"),
        (dict(pin_query_row=True, expand_images=True), "expand_images changes nothing without expansion"),
        (dict(expansion=2, expand_images=True), "expand_images changes nothing without pin_query_row"),
    )
    def test_fields_that_are_invalid_or_change_nothing(self, fields, message):
        with self.assertRaisesRegex(ValueError, message):
            SearchConfig(**fields)

    def test_arguments_that_the_configuration_needs_or_ignores(self):
        search = functools.partial(pipeline.search, jnp.array([1.0, 0.0]), Database(jnp.eye(2)), count=2)
        for config, arguments, message in (
            (SearchConfig(rerank=2), {}, "the configuration needs reranker"),
            (SearchConfig(), {"reranker": lambda rows: rows}, "the configuration ignores reranker"),
            (SearchConfig(pin_query_row=True), {}, "the configuration needs query_row"),
            (SearchConfig(), {"query_row": 0}, "the configuration ignores query_row"),
            (SearchConfig(online=1), {}, "the configuration needs online"),
            (SearchConfig(), {"online": lambda rows: rows}, "the configuration ignores online"),
        ):
            with self.assertRaisesRegex(ValueError, message):
                search(config, **arguments)


class DatabaseTest(absltest.TestCase):
    def test_other_descriptors_replace_some_rows(self):
        database = Database(jnp.arange(8.0).reshape(4, 2))
        replaced = database.replace(np.array([3, 0]), np.array([[-1.0, -2.0], [-3.0, -4.0]], np.float32))
        np.testing.assert_array_equal(replaced.descriptors, [[-3, -4], [2, 3], [4, 5], [-1, -2]])
        np.testing.assert_array_equal(database.descriptors, np.arange(8.0).reshape(4, 2))
        np.testing.assert_array_equal(replaced.vectors(np.array([3, 1])), [[-1, -2], [2, 3]])
        np.testing.assert_array_equal(replaced.best(jnp.array([0.0, 1.0]), 3).rows, [2, 1, 3])

    def test_no_rows(self):
        replaced = Database(jnp.eye(3)).replace(np.zeros(0, np.int32), np.zeros((0, 3), np.float32))
        np.testing.assert_array_equal(replaced.descriptors, np.eye(3))


class OwnRowTest(parameterized.TestCase):
    # The query is at 0 degrees, its own picture (row 1) at 90, and the other rows are at 10, -20 and 50.
    QUERY, DATABASE = circle(0), circle([10, 90, -20, 50])

    def search(self, own=1, **fields):
        return ranking(self.QUERY, self.DATABASE, SearchConfig(**fields), own).tolist()

    def test_ranked_like_any_other(self):
        self.assertEqual(self.search(), [0, 2, 3, 1])
        self.assertEqual(self.search(expansion=1), [0, 2, 3, 1])  # row 0 is at 10; the others are 30, 40, 80 away

    def test_first_whatever_its_score(self):
        self.assertEqual(self.search(pin_query_row=True), [1, 0, 2, 3])

    def test_a_query_outside_the_database_pins_nothing(self):
        self.assertEqual(self.search(NO_ROW, pin_query_row=True), [0, 2, 3, 1])
        self.assertEqual(self.search(NO_ROW, pin_query_row=True, expansion=1), [0, 2, 3, 1])

    def test_expansion_sums_the_query_instead_of_the_pinned_row(self):
        self.assertEqual(self.search(pin_query_row=True, expansion=1), [1, 0, 2, 3])  # expanded query at 0 degrees

    def test_expansion_sums_the_pictures_own_row(self):
        # The expanded query is the picture's own row at 90: 50 is 40 away, 10 is 80 and -20 is 110 away.
        self.assertEqual(self.search(pin_query_row=True, expand_images=True, expansion=1), [1, 3, 0, 2])

    def test_the_pinned_row_is_first_in_the_last_search_too(self):
        # The sum of rows 1 and 0, at 50 degrees, is nearest to row 3.
        self.assertEqual(self.search(pin_query_row=True, expand_images=True, expansion=2), [1, 3, 0, 2])


class SearchRegionsTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        random = np.random.default_rng(3)
        self.database = unit(random.normal(size=(30, 8))).astype(np.float32)
        self.query = unit(random.normal(size=8)).astype(np.float32)
        self.vectors = unit(random.normal(size=(30, 8))).astype(np.float32)
        self.scores = random.permutation(30).astype(np.float32)
        self.calls = []

    def regions(self, rows):
        self.calls.append(rows.tolist())
        return BestRegions(rows, self.scores[rows], self.vectors[rows], np.zeros((len(rows), 4), np.int32))

    def search(self, own=NO_ROW, **fields):
        return ranking(self.query, self.database, SearchConfig(**fields), own, self.regions)

    @parameterized.product(
        rerank=(5, 30),
        expansion=(0, 1, 4),
        own=(NO_ROW, 17),
        pin_query_row=(False, True),
        expand_images=(False, True),
    )
    def test_against_float64(self, rerank, expansion, own, pin_query_row, expand_images):
        if expand_images and not (expansion and pin_query_row):
            return  # refused, see ConfigTest
        config = SearchConfig(rerank, expansion, pin_query_row=pin_query_row, expand_images=expand_images)
        expected, gap = oracle(self.query, self.database, config, own=own, regions=(self.scores, self.vectors))
        self.assertGreater(gap, 1e-6)
        actual = ranking(self.query, self.database, config, own, self.regions)
        self.assertEqual(actual.tolist(), expected)

    def test_only_the_best_are_reranked_and_once(self):
        first = ranking(self.query, self.database, SearchConfig())
        self.search(rerank=6, expansion=3)
        self.assertEqual(self.calls, [first[:6].tolist()])

    def test_reranking_more_images_than_the_database_has(self):
        actual = self.search(rerank=99)
        self.assertEqual(actual.tolist(), np.argsort(-self.scores).tolist())

    def test_regions_scores_and_rows_are_returned(self):
        database = Database(jnp.asarray(self.database))
        actual, regions = pipeline.search(
            jnp.asarray(self.query), database, SearchConfig(rerank=5), count=7, reranker=self.regions
        )
        (rows,) = self.calls
        np.testing.assert_array_equal(regions.rows, rows)
        np.testing.assert_array_equal(regions.vectors, self.vectors[rows])
        np.testing.assert_array_equal(actual.scores[:5], -np.sort(-self.scores[rows]))
        cosines = self.database @ self.query
        np.testing.assert_allclose(actual.scores[5:], cosines[actual.rows[5:]], atol=1e-6)
        np.testing.assert_array_equal(database.descriptors, self.database)

    def test_images_without_a_region_come_last_of_the_reranked_images(self):
        first = ranking(self.query, self.database, SearchConfig()).tolist()
        self.scores[first[1]] = self.scores[first[3]] = -np.inf
        actual = self.search(rerank=5)
        self.assertEqual(actual[3:5].tolist(), [first[1], first[3]])  # in the order of the first search
        self.assertEqual(actual[5:].tolist(), first[5:])

    def test_the_last_search_ranks_the_best_regions(self):
        # The rows are at 10, -20 and 50. The regions of the first two rows are at 60 and -5, and the second region has
        # the higher score. The expanded query at -5 is nearest to -5, then to 50 (55 away) and 60 (65 away). The
        # images themselves would be ranked 10, -20, 50.
        self.query, self.database = np.asarray(circle(0)), np.asarray(circle([10, -20, 50]))
        self.vectors, self.scores = np.asarray(circle([60, -5, 0])), np.array([1.0, 2.0, 0.0], np.float32)
        self.assertEqual(self.search(rerank=2).tolist(), [1, 0, 2])
        self.assertEqual(self.search(rerank=2, expansion=1).tolist(), [1, 2, 0])


class TiesTest(parameterized.TestCase):
    @parameterized.product(rows=(33, 37, 997), dim=(512, 831))
    def test_equal_rows_keep_the_order_of_the_database(self, rows, dim):
        """A matrix product rounds the last rows of its blocks differently and would break these ties."""
        generator = np.random.default_rng(rows)
        query, vector = (jnp.asarray(unit(generator.normal(size=dim)), jnp.float32) for _ in range(2))
        database = jnp.tile(vector, (rows, 1))
        for expansion in (0, 5):
            config = SearchConfig(expansion=expansion)
            np.testing.assert_array_equal(ranking(query, database, config), np.arange(rows))
            batched = jax.jit(jax.vmap(lambda query, database, config=config: ranking(query, database, config)))
            actual = batched(jnp.stack([query] * 3), jnp.stack([database] * 3))
            np.testing.assert_array_equal(actual, np.tile(np.arange(rows), (3, 1)))


if __name__ == "__main__":
    absltest.main()
