"""These tests rank descriptors on a circle, so that every order can be worked out by hand."""

import functools

import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from cwcf_jax.evaluation import rank_images, select_images
from cwcf_jax.search import pipeline
from cwcf_jax.search.pipeline import NO_ROW, Database, SearchConfig
from cwcf_jax.search.reciprocal import ReciprocalConfig
from cwcf_jax.search.reranking import BestRegions


def circle(degrees):
    angles = np.radians(np.asarray(degrees, np.float64))
    return jnp.asarray(np.stack([np.cos(angles), np.sin(angles)], axis=-1), jnp.float32)


def unit(random, *shape):
    vectors = random.normal(size=shape)
    return jnp.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True), jnp.float32)


class RankImagesTest(parameterized.TestCase):
    def rank(self, queries, images, *configs, query_rows=None):
        """Ranks ``images`` [m, n] for ``queries`` [m, q], both in degrees; returns each setting's rows as lists."""
        queries = circle(queries)
        rows = query_rows or [NO_ROW] * queries.shape[1]
        databases = [circle(images)] * queries.shape[1]
        rankings = rank_images(queries, databases, configs or (SearchConfig(),), query_rows=rows)
        return {setting: ranking.tolist() for setting, ranking in rankings.items()}

    def test_every_setting_of_every_query(self):
        images = [[5, 20, -30, 85], [5, 20, -30, 85]]
        plain, expanded = SearchConfig(), SearchConfig(expansion=2)
        actual = self.rank([[0, 90], [90, 0]], images, plain, expanded)
        from_0, from_90 = [0, 1, 2, 3], [3, 1, 0, 2]
        self.assertEqual(actual.keys(), {(0, plain), (1, plain), (0, expanded), (1, expanded)})
        self.assertEqual(actual[0, plain], [from_0, from_90])
        self.assertEqual(actual[1, plain], [from_90, from_0])
        # 52.5 is equally near to 85 and 20, and 5 is third. 12.5 is equally near to 5 and 20.
        self.assertEqual(actual[0, expanded][1][2:], [0, 2])
        self.assertEqual(actual[1, expanded][1][2:], [2, 3])

    def test_every_query_has_its_own_database(self):
        databases = [circle([[0, 50]]), circle([[50, 0]])]
        actual = rank_images(circle([[0, 0]]), iter(databases), [SearchConfig()], query_rows=[NO_ROW] * 2)
        np.testing.assert_array_equal(actual[0, SearchConfig()], [[0, 1], [1, 0]])

    @parameterized.parameters((False, [0, 1, 2]), (True, [2, 0, 1]))
    def test_rank_of_the_querys_own_picture(self, pinned, expected):
        config = SearchConfig(pin_query_row=pinned)
        actual = self.rank([[0, 0]], [[10, 20, 170]], config, query_rows=[2, NO_ROW])
        self.assertEqual(actual[0, config], [expected, [0, 1, 2]])

    @parameterized.parameters((False, [2, 0, 1]), (True, [2, 1, 0]))
    def test_rows_that_expansion_sums(self, images, expected):
        """The pinned row is either the query itself, at 0, or the row of the query's picture, at 170."""
        config = SearchConfig(expansion=1, pin_query_row=True, expand_images=images)
        self.assertEqual(self.rank([[0]], [[10, 20, 170]], config, query_rows=[2])[0, config], [expected])

    def test_expansion_with_and_without_the_query(self):
        def rank(images, **options):
            config = SearchConfig(expansion=1, **options)
            return self.rank([[0]], [images], config)[0, config][0]

        # From 20, 60 is nearer than -35. With the query the sum is at 10, where -35 is nearer than 60.
        self.assertEqual(rank([20, 60, -35]), [0, 1, 2])
        self.assertEqual(rank([20, 60, -35], add_query=True), [0, 2, 1])
        # 80 has a cosine of .17. The cubed cosine turns the query by .3 degrees, and -82 stays before 83. With alpha 0
        # the query turns by 40 degrees.
        self.assertEqual(rank([80, -82, 83], add_query=True, alpha=3.0), [0, 1, 2])
        self.assertEqual(rank([80, -82, 83], add_query=True, alpha=0.0), [0, 2, 1])

    @parameterized.product(expansion=(0, 3), pin_query_row=(False, True))
    def test_settings_are_ranked_as_each_alone(self, expansion, pin_query_row):
        random = np.random.default_rng(0)
        queries, databases = unit(random, 2, 1, 16), unit(random, 2, 150, 16)
        config = SearchConfig(expansion=expansion, pin_query_row=pin_query_row)
        for row in (NO_ROW, 31):
            actual = rank_images(queries, [databases], [config], query_rows=[row])
            for m in range(2):
                expected, _ = pipeline.search(
                    queries[m, 0],
                    Database(databases[m]),
                    config,
                    count=150,
                    query_row=row if pin_query_row else None,
                )
                np.testing.assert_array_equal(actual[m, config], expected.rows[None])
            self.assertEqual(bool(actual[0, config][0, 0] == 31), pin_query_row and row == 31)

    def test_the_best_under_the_querys_classes(self):
        rescored = SearchConfig(online=2)
        databases, adapted = [circle([[10, 20, 30]])] * 2, [circle([[25, 5, 0]]), circle([[1, 2, 0]])]
        rank = functools.partial(rank_images, circle([[0, 0]]), databases, query_rows=[NO_ROW] * 2)
        actual = rank([SearchConfig(), rescored], online=adapted)
        self.assertEqual(actual[0, SearchConfig()].tolist(), [[0, 1, 2], [0, 1, 2]])
        self.assertEqual(actual[0, rescored].tolist(), [[1, 0, 2], [0, 1, 2]])
        message = "scores under the query's classes need descriptors under the same classes: pass `online` to rank by"
        with self.assertRaisesRegex(ValueError, message):
            rank([SearchConfig(), rescored])

    def test_neighbourhoods_are_ranked_as_each_alone(self):
        random = np.random.default_rng(1)
        queries, databases = unit(random, 2, 1, 16), unit(random, 2, 30, 16)
        config = SearchConfig(neighbourhood=ReciprocalConfig(images=20, k1=5, k2=3))
        actual = rank_images(queries, [databases], [config], query_rows=[NO_ROW])
        for m in range(2):
            expected, _ = pipeline.search(queries[m, 0], Database(databases[m]), config, count=30)
            np.testing.assert_array_equal(actual[m, config], expected.rows[None])

    def test_rerankers_are_needed(self):
        with self.assertRaisesRegex(ValueError, "re-ranking needs rerankers"):
            self.rank([[0]], [[0, 1]], SearchConfig(rerank=1))


class SelectImagesTest(absltest.TestCase):
    def test_some_images(self):
        (actual,) = select_images([circle([[0, 10, 20]])], np.array([0, 2]))
        np.testing.assert_array_equal(actual, circle([[0, 20]]))

    def test_expanded_by_one_another(self):
        # The nearest neighbour of 30 is 50: both move to 40. The nearest neighbour of -35 is 30: it moves to -2.5.
        (actual,) = select_images([circle([[30, 50, 99, -35]])], np.array([0, 1, 3]), neighbours=1)
        np.testing.assert_allclose(actual, circle([[40, 40, -2.5]]), atol=1e-6)
        # With alpha 1 the sum is -35 and cos 65 = .4226 times 30.
        (actual,) = select_images([circle([[30, 50, 99, -35]])], np.array([0, 1, 3]), neighbours=1, alpha=1.0)
        total = np.asarray(circle(-35)) + np.cos(np.radians(65)) * np.asarray(circle(30))
        np.testing.assert_allclose(actual[0, 2], total / np.linalg.norm(total), atol=1e-6)

    def test_a_database_of_all_queries_stays_one_array(self):
        shared, own = circle([[10, 20, 30, 40]]), circle([[20, 30, 40, 50]])
        for images in (np.arange(4), np.array([1, 2, 3])):
            actual = list(select_images([shared, shared, shared, own], images, neighbours=1))
            self.assertIs(actual[0], actual[1])
            self.assertIs(actual[0], actual[2])
            self.assertIsNot(actual[2], actual[3])


class RegionsTest(parameterized.TestCase):
    """The reranker finds regions at 95 degrees in all images for query 0, and for query 1 the images themselves."""

    EXPANDED = SearchConfig(rerank=1, expansion=1)

    def rank(self, *configs, keep, queries=((0, 90),), images=((20, 40, 100),)):
        self.calls = []

        def of_query(i):
            def rerank(rows):
                self.calls.append((i, rows.tolist()))
                degrees = [95 if i == 0 or row < 2 else 100 for row in rows]
                boxes = np.zeros((len(rows), 4), np.int32)
                return BestRegions(rows, np.ones(len(rows), np.float32), np.asarray(circle(degrees)), boxes)

            return rerank

        databases = [circle(images)] * 2
        return {
            setting: ranking.tolist()
            for setting, ranking in rank_images(
                circle(queries),
                databases,
                configs,
                query_rows=[NO_ROW] * 2,
                rerankers=of_query,
                keep_regions=keep,
            ).items()
        }

    def test_regions_stand_in_for_their_images_in_the_expansion(self):
        actual = self.rank(self.EXPANDED, keep=False)
        # Query 0 is expanded to 95, where the region of row 0 is; query 1 to 100, and row 0 is at 20 again.
        self.assertEqual(actual[0, self.EXPANDED], [[0, 2, 1], [2, 1, 0]])
        self.assertEqual(self.calls, [(0, [0]), (1, [2])])

    def test_kept_regions_leak_into_later_queries(self):
        actual = self.rank(self.EXPANDED, keep=True)
        self.assertEqual(actual[0, self.EXPANDED], [[0, 2, 1], [0, 2, 1]])
        self.assertEqual(self.calls, [(0, [0]), (1, [0])])

    def test_without_expansion_nothing_is_kept(self):
        for config in (SearchConfig(rerank=1), SearchConfig()):
            actual = self.rank(config, keep=True)
            self.assertEqual(actual[0, config][1], [2, 1, 0])
            self.assertNotIn((1, [0]), self.calls)

    def test_every_setting_keeps_its_own(self):
        actual = self.rank(self.EXPANDED, keep=True, queries=((0, 90), (0, 90)), images=((20, 40, 100), (40, 20, 100)))
        self.assertEqual(self.calls, [(0, [0]), (0, [1]), (1, [0]), (1, [1])])
        self.assertEqual([actual[m, self.EXPANDED][1] for m in range(2)], [[0, 2, 1], [1, 2, 0]])

    def test_kept_by_one_configuration_is_not_seen_by_another(self):
        configs = self.EXPANDED, SearchConfig(), SearchConfig(rerank=1)
        actual = self.rank(*configs, keep=True)
        self.assertEqual([actual[0, config][1] for config in configs], [[0, 2, 1], [2, 1, 0], [2, 1, 0]])


if __name__ == "__main__":
    absltest.main()
