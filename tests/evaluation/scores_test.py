"""Metrics of rankings of a few images: every number can be worked out by hand."""

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
        found = self.score(
            query("near", {0, 3}, {2}), query("far", {0}, {4}), near=[0, 1, 2, 3, 4], far=[4, 3, 2, 0, 1]
        )
        # near: + - junk + -: (1 + 1) / 4 + (1/2 + 2/3) / 4. far: junk - - +: (0 + 1/3) / 2.
        near, far = 1 / 2 + 7 / 24, 1 / 6
        self.assertEqual(list(found.per_query), ["near", "far"])
        np.testing.assert_allclose(list(found.per_query.values()), [near, far], rtol=1e-12)
        self.assertAlmostEqual(found.map, (near + far) / 2, places=12)
        # Of two queries drawn with replacement a quarter are twice the worse, a quarter twice the better.
        np.testing.assert_allclose([found.low, found.high], [far, near], rtol=1e-12)

    def test_one_query_has_no_interval(self):
        found = self.score(query("q", {1}), q=[0, 1])
        self.assertEqual((found.map, found.low, found.high), (0.25, None, None))

    def test_recall(self):
        queries = query("q", {0, 5, 10, 129}, {1}), query("r", {3})
        found = self.score(*queries, q=list(range(130)), r=list(range(130)))
        self.assertEqual(found.metrics, {"recall@10": (3 / 4 + 1) / 2, "recall@100": (3 / 4 + 1) / 2})
        found = self.score(*queries, q=list(range(130))[::-1], r=list(range(129, -1, -1)))
        self.assertEqual(found.metrics, {"recall@10": 1 / 8, "recall@100": 1 / 8})

    def test_queries_without_positives_are_left_out(self):
        found = self.score(query("q", {0}), query("none", (), {1}), q=[1, 0, 2], none=[0, 1, 2])
        self.assertEqual(found.per_query, {"q": 0.25})
        self.assertEqual(found.metrics["recall@10"], 1.0)

    def test_revisited(self):
        queries = query("q", {0, 1, 2}, {3}, hard={2}), query("easy", {4}, hard=())
        found = self.score(*queries, revisited=True, q=[2, 3, 4, 0, 1, 5], easy=[0, 4, 1, 2, 3, 5])
        # q, easy: 4 0+ 1+ 5. medium: 2+ 4 0+ 1+ 5. hard: 2+ 4 5. The other query: 0 4+ 1 2 3 5, and no part of hard.
        easy = (0 + 1 / 2) / 4 + (1 / 2 + 2 / 3) / 4
        medium = 1 / 3 + (1 / 2 + 2 / 3) / 6 + (2 / 3 + 3 / 4) / 6
        expected = {
            "recall@10": 1.0, "recall@100": 1.0,
            "map_easy": (easy + 1 / 4) / 2, "map_medium": (medium + 1 / 4) / 2, "map_hard": 1.0,
            "mp@1_easy": 0.0, "mp@5_easy": (2 / 3 + 1 / 2) / 2, "mp@10_easy": (2 / 3 + 1 / 2) / 2,
            "mp@1_medium": 1 / 2, "mp@5_medium": (3 / 4 + 1 / 2) / 2, "mp@10_medium": (3 / 4 + 1 / 2) / 2,
            "mp@1_hard": 1.0, "mp@5_hard": 1.0, "mp@10_hard": 1.0,
        }  # fmt: skip
        self.assertEqual(found.metrics.keys(), expected.keys())
        for name, value in expected.items():
            self.assertAlmostEqual(found.metrics[name], value, places=12, msg=name)
        self.assertAlmostEqual(found.map, found.metrics["map_medium"], places=12)

    def test_what_is_judged_in_one_way_only_has_no_such_metrics(self):
        self.assertEqual(set(self.score(query("q", {1}), q=[0, 1]).metrics), {"recall@10", "recall@100"})

    def test_a_setup_that_no_query_has_positives_in(self):
        found = self.score(query("q", {1}, hard=()), revisited=True, q=[0, 1])
        self.assertEqual(found.metrics["map_easy"], 0.25)
        json.dumps(found.metrics, allow_nan=False)

    def test_no_query_with_positives(self):
        with self.assertRaisesRegex(ValueError, "not defined without queries"):
            self.score(query("q"), q=[0, 1])


class CompareTest(absltest.TestCase):
    def test_pairs_by_name(self):
        found = compare({"a": 0.5, "b": 0.9, "only": 1.0}, {"b": 0.7, "a": 0.4})
        # Differences .1 and .2: a quarter of the resamples are twice the one, a quarter twice the other.
        np.testing.assert_allclose(found, [0.15, 0.1, 0.2], rtol=1e-9)

    def test_too_few_to_be_paired(self):
        self.assertEqual(compare({"a": 0.5}, {"a": 0.25}), (0.25, None, None))


if __name__ == "__main__":
    absltest.main()
