"""Search, re-ranking and expansion against float64, from paper/facts.md, section 1."""

import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from cwcf_jax.evaluation import benchmark
from cwcf_jax.search import pipeline
from cwcf_jax.search.pipeline import NOWHERE, Stages
from tests.support import oracles


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def circle(degrees):
    angles = np.radians(degrees)
    return jnp.asarray(np.stack([np.cos(angles), np.sin(angles)], -1), jnp.float32)


def ordered(scores, first=None):
    """Best first, ``first`` before all; and the smallest gap that decided anything."""
    ranking = sorted(range(len(scores)), key=lambda row: (row != first, -scores[row]))
    return ranking, np.diff(np.sort(scores)).min()


def search(query, database, *, own, expansion, own_row_first, expand_images, regions=None, rerank=0, alpha=None):
    """The rows "query in database", "query expansion" and "expansion after re-ranking" of the two protocols."""
    query, database = query.astype(np.float64), database.astype(np.float64)
    first = own if own_row_first and own != NOWHERE else None
    ranking, gap = ordered(database @ query, first)
    if regions is not None:
        seen, (scores, vectors) = ranking[:rerank], regions
        ranking = sorted(seen, key=lambda row: -scores[row]) + ranking[rerank:]
        database = database.copy()
        for row in seen:
            database[row] = vectors[row]
    if not expansion:
        return ranking, gap
    best = np.array([query if row == first and not expand_images else database[row] for row in ranking[:expansion]])
    total = best.sum(axis=0)
    if alpha is not None:  # Radenovic et al. 2018: the query, and rows by their similarity
        total = query + sum((row @ query) ** alpha * row for row in best if row @ query > 0)
    ranking, last_gap = ordered(database @ oracles.l2(total), first)
    return ranking, min(gap, last_gap)


class SearchTest(parameterized.TestCase):
    @parameterized.product(expansion=(0, 1, 10, 99), own_row_first=(False, True), expand_images=(False, True))
    def test_against_float64(self, expansion, own_row_first, expand_images):
        random = np.random.default_rng(expansion)
        database = unit(random.normal(size=(40, 16))).astype(np.float32)
        query = unit(random.normal(size=16)).astype(np.float32)
        stages = Stages(expansion=expansion, own_row_first=own_row_first, expand_images=expand_images)
        for own in (NOWHERE, 0, 7, 39):
            expected, gap = search(
                query,
                database,
                own=own,
                expansion=expansion,
                own_row_first=own_row_first,
                expand_images=expand_images,
            )
            self.assertGreater(gap, 1e-6)  # else float32 might order it differently
            found = pipeline.search(jnp.asarray(query), jnp.asarray(database), own, stages=stages)
            np.testing.assert_array_equal(found, expected)

    @parameterized.product(alpha=(0.0, 3.0), expand_images=(False, True))
    def test_weighted_expansion_against_float64(self, alpha, expand_images):
        random = np.random.default_rng(7)
        database = unit(random.normal(size=(40, 16))).astype(np.float32)
        query = unit(random.normal(size=16)).astype(np.float32)
        options = {"expansion": 25, "own_row_first": True, "expand_images": expand_images, "alpha": alpha}
        expected, gap = search(query, database, own=7, **options)
        self.assertGreater(gap, 1e-6)
        found = pipeline.search(jnp.asarray(query), jnp.asarray(database), 7, stages=Stages(**options))
        np.testing.assert_array_equal(found, expected)

    def test_expansion_follows_the_best_rows_and_drops_the_query(self):
        # Directions in degrees. From the query at 0: 10, 20, -25, -30, 40. From the best row at 10 alone they are
        # 10, 30, 35 and 40 away: 40 comes before -25 and -30. With the query in the sum, at 5, it would come after -25.
        database, query = circle([20, -30, 10, 40, -25]), jnp.array([1.0, 0.0])
        np.testing.assert_array_equal(pipeline.search(query, database, stages=Stages()), [2, 0, 4, 1, 3])
        np.testing.assert_array_equal(pipeline.search(query, database, stages=Stages(expansion=1)), [2, 0, 3, 4, 1])

    def test_ties_keep_the_order_of_the_database(self):
        database = jnp.array([[0.0, 1.0], [1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
        for expansion in (0, 1, 2):
            found = pipeline.search(jnp.array([1.0, 0.0]), database, stages=Stages(expansion=expansion))
            np.testing.assert_array_equal(found, [1, 3, 0, 2])

    def test_zero_rows_come_between(self):
        database = jnp.array([[-1.0, 0.0], [0.0, 0.0], [1.0, 0.0]])
        np.testing.assert_array_equal(pipeline.search(jnp.array([1.0, 0.0]), database, stages=Stages()), [2, 1, 0])

    def test_a_negative_expansion_is_refused(self):
        with self.assertRaisesRegex(ValueError, "at least 1 row, not -1"):
            pipeline.search(jnp.array([1.0, 0.0]), jnp.eye(2), stages=Stages(expansion=-1))

    def test_stages_of_regions_change_nothing_here(self):
        database, query = circle([20, -30, 10]), jnp.array([1.0, 0.0])
        found = pipeline.search(query, database, stages=Stages(rerank=2, expansion=1))
        np.testing.assert_array_equal(found, pipeline.search(query, database, stages=Stages(expansion=1)))


class OwnRowTest(parameterized.TestCase):
    # The query at 0 degrees; its own picture, row 1, lies at 90, the others at 10, -20 and 50.
    QUERY, DATABASE = circle(0), circle([10, 90, -20, 50])

    def search(self, own=1, **stages):
        return pipeline.search(self.QUERY, self.DATABASE, own, stages=Stages(**stages)).tolist()

    def test_ranked_like_any_other(self):
        self.assertEqual(self.search(), [0, 2, 3, 1])
        self.assertEqual(self.search(expansion=1), [0, 2, 3, 1])  # from row 0, at 10, they are 30, 40 and 80 away

    def test_first_whatever_its_score(self):
        self.assertEqual(self.search(own_row_first=True), [1, 0, 2, 3])

    def test_a_query_from_elsewhere_puts_nothing_first(self):
        self.assertEqual(self.search(NOWHERE, own_row_first=True), [0, 2, 3, 1])
        self.assertEqual(self.search(NOWHERE, own_row_first=True, expansion=1), [0, 2, 3, 1])

    def test_expansion_sums_the_query_where_it_stood_in(self):
        self.assertEqual(self.search(own_row_first=True, expansion=1), [1, 0, 2, 3])  # from 0 degrees again

    def test_expansion_sums_the_pictures_own_row(self):
        # From its own row at 90 alone: 50 is 40 away, 10 is 80 and -20 is 110.
        self.assertEqual(self.search(own_row_first=True, expand_images=True, expansion=1), [1, 3, 0, 2])

    def test_first_in_the_last_search_too(self):
        # The sum of rows 1 and 0, at 50 degrees, is nearest to row 3.
        self.assertEqual(self.search(own_row_first=True, expand_images=True, expansion=2), [1, 3, 0, 2])

    def test_images_are_summed_anyway_where_nothing_stands_in(self):
        for expansion in (1, 2, 3):
            self.assertEqual(self.search(expansion=expansion, expand_images=True), self.search(expansion=expansion))


class SearchRegionsTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        random = np.random.default_rng(3)
        self.database = unit(random.normal(size=(30, 8))).astype(np.float32)
        self.query = unit(random.normal(size=8)).astype(np.float32)
        self.vectors = unit(random.normal(size=(30, 8))).astype(np.float32)
        self.scores = random.permutation(30).astype(np.float32)
        self.asked = []

    def regions(self, rows):
        self.asked.append(rows.tolist())
        return self.scores[rows], self.vectors[rows]

    def search(self, own=NOWHERE, **stages):
        return pipeline.search_regions(
            jnp.asarray(self.query), jnp.asarray(self.database), own, self.regions, stages=Stages(**stages)
        )

    @parameterized.product(
        rerank=(5, 30),
        expansion=(0, 1, 4),
        own=(NOWHERE, 17),
        own_row_first=(False, True),
        expand_images=(False, True),
    )
    def test_against_float64(self, rerank, expansion, own, own_row_first, expand_images):
        options = {"expansion": expansion, "own_row_first": own_row_first, "expand_images": expand_images}
        expected, gap = search(
            self.query, self.database, own=own, regions=(self.scores, self.vectors), rerank=rerank, **options
        )
        self.assertGreater(gap, 1e-6)
        found, _ = self.search(own, rerank=rerank, **options)
        self.assertEqual(found.tolist(), expected)

    def test_only_the_best_are_asked_for_and_once(self):
        first = pipeline.search(jnp.asarray(self.query), jnp.asarray(self.database), stages=Stages())
        self.search(rerank=6, expansion=3)
        self.assertEqual(self.asked, [first[:6].tolist()])

    def test_more_than_there_are(self):
        found, _ = self.search(rerank=99)
        self.assertEqual(found.tolist(), np.argsort(-self.scores).tolist())

    def test_the_database_with_the_winning_regions(self):
        before = self.database.copy()
        _, replaced = self.search(rerank=5, expansion=2)
        (rows,) = self.asked
        np.testing.assert_array_equal(np.asarray(replaced)[rows], self.vectors[rows])
        others = np.setdiff1d(np.arange(30), rows)
        np.testing.assert_array_equal(np.asarray(replaced)[others], before[others])
        np.testing.assert_array_equal(self.database, before)

    def test_images_without_a_region_come_last_of_those_looked_at(self):
        first = pipeline.search(jnp.asarray(self.query), jnp.asarray(self.database), stages=Stages()).tolist()
        self.scores[first[1]] = self.scores[first[3]] = -np.inf
        found, _ = self.search(rerank=5)
        self.assertEqual(found[3:5].tolist(), [first[1], first[3]])  # in their old order
        self.assertEqual(found[5:].tolist(), first[5:])

    def test_the_last_search_is_among_the_winning_regions(self):
        # Rows at 10, -20 and 50; the regions of the first two lie at 60 and -5, that of the second scores more. The
        # sum of one, -5, is nearest to itself; then come 50, by 55, and 60, by 65. As images it would be 10, -20, 50.
        self.query, self.database = np.asarray(circle(0)), np.asarray(circle([10, -20, 50]))
        self.vectors, self.scores = np.asarray(circle([60, -5, 0])), np.array([1.0, 2.0, 0.0], np.float32)
        self.assertEqual(self.search(rerank=2)[0].tolist(), [1, 0, 2])
        self.assertEqual(self.search(rerank=2, expansion=1)[0].tolist(), [1, 2, 0])


class TiesTest(parameterized.TestCase):
    @parameterized.product(rows=(33, 37, 997), dim=(512, 831))
    def test_equal_rows_keep_the_order_of_the_database(self, rows, dim):
        """A matrix product rounds the last rows of its blocks in another way and would break these ties."""
        generator = np.random.default_rng(rows)
        query, vector = (jnp.asarray(unit(generator.normal(size=dim)), jnp.float32) for _ in range(2))
        database = jnp.tile(vector, (rows, 1))
        for expansion in (0, 5):
            stages = Stages(expansion=expansion)
            found = pipeline.search(query, database, stages=stages)
            np.testing.assert_array_equal(found, np.arange(rows))
            several = benchmark.rankings(jnp.stack([query] * 3), jnp.stack([database] * 3), stages=stages)
            np.testing.assert_array_equal(several, np.tile(np.arange(rows), (3, 1)))


if __name__ == "__main__":
    absltest.main()
