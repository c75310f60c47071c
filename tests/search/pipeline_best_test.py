"""These tests rank the best images of a search anew: under the query's classes, and by their neighbours."""

import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from cwcf_jax.search import pipeline
from cwcf_jax.search.diffusion import DiffusionConfig
from cwcf_jax.search.pipeline import NO_ROW, Database, SearchConfig
from cwcf_jax.search.reciprocal import ReciprocalConfig
from cwcf_jax.search.refinement import RefinementConfig
from cwcf_jax.search.reranking import BestRegions
from tests.search.rankings import ordered, ranking, unit
from tests.support import oracles


class OnlineTest(parameterized.TestCase):
    """These tests describe the best images of a search anew under the query's classes."""

    def setUp(self):
        super().setUp()
        random = np.random.default_rng(5)
        self.database, self.adapted = (unit(random.normal(size=(30, 8))).astype(np.float32) for _ in range(2))
        self.query = jnp.asarray(unit(random.normal(size=8)), jnp.float32)

    def search(self, count=30, adapted=None, **fields):
        online = Database(jnp.asarray(self.adapted if adapted is None else adapted)).vectors
        return pipeline.search(
            self.query,
            Database(jnp.asarray(self.database)),
            SearchConfig(**fields),
            count=count,
            query_row=fields.get("pin_query_row") and 17,
            online=online,
            reranker=fields.get("rerank") and self.regions,
        )[0]

    def test_the_best_are_sorted_by_their_other_descriptors(self):
        first, _ = ordered(self.database @ self.query)
        expected = sorted(first[:7], key=lambda row: -(self.adapted[row] @ self.query))
        for count in (3, 30):
            actual = self.search(count, online=7)
            self.assertEqual(actual.rows.tolist(), (expected + first[7:])[:count])
            cosines = [self.adapted[row] @ self.query for row in expected]
            np.testing.assert_allclose(actual.scores[:7], cosines[:count], atol=1e-6)

    def test_all_of_them_are_a_search_by_the_other_descriptors(self):
        self.assertEqual(self.search(online=99).rows.tolist(), ordered(self.adapted @ self.query)[0])

    def test_expansion_sums_the_other_descriptors(self):
        first, _ = ordered(self.database @ self.query)
        mixed = self.database.astype(np.float64)
        mixed[first[:7]] = self.adapted[first[:7]]
        best = sorted(first[:7], key=lambda row: -(mixed[row] @ self.query))[:3]
        expected, gap = ordered(mixed @ oracles.l2(mixed[best].sum(axis=0)))
        self.assertGreater(gap, 1e-6)
        self.assertEqual(self.search(online=7, expansion=3).rows.tolist(), expected)

    def regions(self, rows):
        self.reranked = rows.tolist()
        vectors = np.zeros((len(rows), 8), np.float32)
        return BestRegions(rows, np.arange(len(rows), dtype=np.float32), vectors, np.zeros((len(rows), 4), np.int32))

    def test_regions_come_from_the_best_images_under_the_querys_classes(self):
        first, _ = ordered(self.database @ self.query)
        best = sorted(first[:7], key=lambda row: -(self.adapted[row] @ self.query))
        actual = self.search(online=7, rerank=3)
        self.assertEqual(self.reranked, best[:3])
        self.assertEqual(actual.rows.tolist(), best[2::-1] + best[3:] + first[7:])

    def test_the_own_picture_stays_first_and_ties_keep_their_order(self):
        first, _ = ordered(self.database @ self.query, 17)
        actual = self.search(online=5, pin_query_row=True, adapted=np.zeros((30, 8), np.float32))
        self.assertEqual(actual.rows.tolist(), first)
        self.assertEqual(actual.scores[0], np.inf)


NEIGHBOURHOODS = (
    ReciprocalConfig(images=12, k1=5, k2=3),
    DiffusionConfig(images=12, neighbours=5, query_neighbours=3),
    RefinementConfig(images=12, neighbours=3),
)


class NeighbourhoodTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        random = np.random.default_rng(6)
        self.database = unit(random.normal(size=(30, 8))).astype(np.float32)
        self.query = unit(random.normal(size=8)).astype(np.float32)

    def search(self, database=None, own=NO_ROW, **fields):
        return ranking(self.query, self.database if database is None else database, SearchConfig(**fields), own)

    @parameterized.parameters(*NEIGHBOURHOODS)
    def test_only_the_order_of_the_best_changes(self, neighbourhood):
        first = self.search().tolist()
        best = jnp.asarray(self.database[first[:12]])
        scores = np.asarray(neighbourhood.scores(jnp.asarray(self.query), best))
        expected = [first[i] for i in np.argsort(-scores, kind="stable")]
        self.assertNotEqual(expected, first[:12])
        self.assertEqual(self.search(neighbourhood=neighbourhood).tolist(), expected + first[12:])

    @parameterized.parameters(*NEIGHBOURHOODS)
    def test_a_few_images_are_the_first_of_all_with_the_methods_scores(self, neighbourhood):
        config = SearchConfig(neighbourhood=neighbourhood)
        database, query = Database(jnp.asarray(self.database)), jnp.asarray(self.query)
        every, _ = pipeline.search(query, database, config, count=30)
        few, _ = pipeline.search(query, database, config, count=4)
        np.testing.assert_array_equal(few.rows, every.rows[:4])
        np.testing.assert_array_equal(few.scores, every.scores[:4])
        best = jnp.asarray(self.database[self.search()[:12]])
        np.testing.assert_allclose(
            every.scores[:12], -np.sort(-np.asarray(neighbourhood.scores(query, best))), atol=1e-6
        )

    @parameterized.parameters(*NEIGHBOURHOODS)
    def test_after_expansion_the_expanded_query_counts(self, neighbourhood):
        first = self.search().tolist()
        expanded = oracles.l2(self.database[first[:3]].sum(axis=0)).astype(np.float32)
        best = ranking(expanded, self.database, SearchConfig())[:12]
        scores = neighbourhood.scores(jnp.asarray(expanded), jnp.asarray(self.database[best]))
        expected = best[np.argsort(-np.asarray(scores), kind="stable")]
        actual = self.search(expansion=3, neighbourhood=neighbourhood)[:12]
        np.testing.assert_array_equal(actual, expected)

    @parameterized.parameters(*NEIGHBOURHOODS)
    def test_equal_images_keep_the_order_of_the_database(self, neighbourhood):
        best = int(self.search()[0])
        same = sorted({3, 9, 20, 28, best})
        self.database[same] = self.database[best]
        actual = self.search(neighbourhood=neighbourhood).tolist()
        ranks = [actual.index(row) for row in same]
        self.assertEqual(ranks, list(range(ranks[0], ranks[0] + len(same))))

    @parameterized.parameters(*NEIGHBOURHOODS)
    def test_the_own_picture_stays_first_and_the_query_replaces_its_row(self, neighbourhood):
        last = int(self.search()[-1])
        actual = self.search(own=last, pin_query_row=True, neighbourhood=neighbourhood).tolist()
        self.database[last] = self.query
        self.assertEqual(actual[0], last)
        self.assertEqual(actual, self.search(own=last, pin_query_row=True, neighbourhood=neighbourhood).tolist())

    @parameterized.parameters(*NEIGHBOURHOODS)
    def test_few_images_or_none(self, neighbourhood):
        for count in (2, 1, 0):
            actual = self.search(self.database[:count], neighbourhood=neighbourhood)
            self.assertEqual(sorted(actual.tolist()), list(range(count)))

    def test_regions_replace_their_images(self):
        vectors = unit(np.random.default_rng(7).normal(size=(30, 8))).astype(np.float32)

        def regions(rows):
            scores = np.zeros(len(rows), np.float32)
            return BestRegions(rows, scores, vectors[rows], np.zeros((len(rows), 4), np.int32))

        first = self.search()
        replaced = self.database[first[:12]].copy()
        replaced[:5] = vectors[first[:5]]
        for neighbourhood in NEIGHBOURHOODS:
            scores = neighbourhood.scores(jnp.asarray(self.query), jnp.asarray(replaced))
            config = SearchConfig(rerank=5, neighbourhood=neighbourhood)
            actual = ranking(self.query, self.database, config, regions=regions)
            np.testing.assert_array_equal(actual[:12], first[:12][np.argsort(-np.asarray(scores), kind="stable")])


if __name__ == "__main__":
    absltest.main()
