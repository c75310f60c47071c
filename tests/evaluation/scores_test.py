"""These tests score rankings of a few images, so that every number can be worked out by hand."""

import json

import numpy as np
from absl.testing import absltest

from cwcf_jax.evaluation import compare, score
from cwcf_jax.images import BenchmarkQuery


def query(name, positives=(), junk=(), *, hard=None):
    hard = None if hard is None else frozenset(hard)
    return BenchmarkQuery(name, None, (0.0, 0.0, 9.0, 9.0), frozenset(positives), frozenset(junk), hard)


class ScoreTest(absltest.TestCase):
    def score(self, *queries, revisited=False, **rankings):
        return score(rankings, queries, revisited=revisited)

    def test_average_precision_and_interval(self):
        actual = self.score(
            query("near", {0, 3}, {2}), query("far", {0}, {4}), near=[0, 1, 2, 3, 4], far=[4, 3, 2, 0, 1]
        )
        # near is + - junk + -: (1 + 1) / 4 + (1/2 + 2/3) / 4. far is junk - - +: (0 + 1/3) / 2.
        near, far = 1 / 2 + 7 / 24, 1 / 6
        self.assertEqual(list(actual.per_query), ["near", "far"])
        np.testing.assert_allclose(list(actual.per_query.values()), [near, far], rtol=1e-12)
        self.assertAlmostEqual(actual.map, (near + far) / 2, places=12)
        # Two queries are drawn with replacement: a quarter of the draws are twice the worse query, a quarter twice the
        # better one.
        np.testing.assert_allclose([actual.low, actual.high], [far, near], rtol=1e-12)

    def test_one_query_has_no_interval(self):
        actual = self.score(query("q", {1}), q=[0, 1])
        self.assertEqual((actual.map, actual.low, actual.high), (0.25, None, None))

    def test_recall(self):
        queries = query("q", {0, 5, 10, 129}, {1}), query("r", {3})
        actual = self.score(*queries, q=list(range(130)), r=list(range(130)))
        self.assertEqual(actual.metrics, {"recall@10": (3 / 4 + 1) / 2, "recall@100": (3 / 4 + 1) / 2})
        actual = self.score(*queries, q=list(range(130))[::-1], r=list(range(129, -1, -1)))
        self.assertEqual(actual.metrics, {"recall@10": 1 / 8, "recall@100": 1 / 8})

    def test_queries_without_positives_are_left_out(self):
        actual = self.score(query("q", {0}), query("none", (), {1}), q=[1, 0, 2], none=[0, 1, 2])
        self.assertEqual(actual.per_query, {"q": 0.25})
        self.assertEqual(actual.metrics["recall@10"], 1.0)

    def test_revisited(self):
        queries = query("q", {0, 1, 2}, {3}, hard={2}), query("easy", {4}, hard=())
        actual = self.score(*queries, revisited=True, q=[2, 3, 4, 0, 1, 5], easy=[0, 4, 1, 2, 3, 5])
        # Query q is ranked 4 0+ 1+ 5 (easy), 2+ 4 0+ 1+ 5 (medium), 2+ 4 5 (hard). The other query is ranked
        # 0 4+ 1 2 3 5 and does not count in the hard setup.
        easy = (0 + 1 / 2) / 4 + (1 / 2 + 2 / 3) / 4
        medium = 1 / 3 + (1 / 2 + 2 / 3) / 6 + (2 / 3 + 3 / 4) / 6
        expected = {
            "recall@10": 1.0, "recall@100": 1.0,
            "map_easy": (easy + 1 / 4) / 2, "map_medium": (medium + 1 / 4) / 2, "map_hard": 1.0,
            "mp@1_easy": 0.0, "mp@5_easy": (2 / 3 + 1 / 2) / 2, "mp@10_easy": (2 / 3 + 1 / 2) / 2,
            "mp@1_medium": 1 / 2, "mp@5_medium": (3 / 4 + 1 / 2) / 2, "mp@10_medium": (3 / 4 + 1 / 2) / 2,
            "mp@1_hard": 1.0, "mp@5_hard": 1.0, "mp@10_hard": 1.0,
        }  # fmt: skip
        self.assertEqual(actual.metrics.keys(), expected.keys())
        for name, value in expected.items():
            self.assertAlmostEqual(actual.metrics[name], value, places=12, msg=name)
        self.assertAlmostEqual(actual.map, actual.metrics["map_medium"], places=12)

    def test_without_hard_images_there_are_no_revisited_metrics(self):
        self.assertEqual(set(self.score(query("q", {1}), q=[0, 1]).metrics), {"recall@10", "recall@100"})

    def test_a_setup_that_no_query_has_positives_in(self):
        actual = self.score(query("q", {1}, hard=()), revisited=True, q=[0, 1])
        self.assertEqual(actual.metrics["map_easy"], 0.25)
        json.dumps(actual.metrics, allow_nan=False)

    def test_no_query_with_positives(self):
        with self.assertRaisesRegex(ValueError, "not defined without queries"):
            self.score(query("q"), q=[0, 1])


class CompareTest(absltest.TestCase):
    def test_pairs_by_name(self):
        actual = compare({"a": 0.5, "b": 0.9, "only": 1.0}, {"b": 0.7, "a": 0.4})
        # The differences are .1 and .2: a quarter of the resamples are .1 twice, a quarter .2 twice.
        np.testing.assert_allclose(actual, [0.15, 0.1, 0.2], rtol=1e-9)

    def test_too_few_to_be_paired(self):
        self.assertEqual(compare({"a": 0.5}, {"a": 0.25}), (0.25, None, None))


if __name__ == "__main__":
    absltest.main()
