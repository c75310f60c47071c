import itertools

import numpy as np
from absl.testing import absltest, parameterized

from cwcf_jax.evaluation import intervals


def precisions(seed, queries=55):
    return np.random.default_rng(seed).beta(4, 2, queries)


class IntervalTest(parameterized.TestCase):
    @parameterized.parameters(0.5, 0.9, 0.95)
    def test_against_means_of_draws(self, confidence):
        values = precisions(0)
        random = np.random.default_rng(1)
        means = [values[random.integers(len(values), size=len(values))].mean() for _ in range(20_000)]
        expected = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
        actual = intervals.interval(values, confidence=confidence)
        # The mean has a standard deviation of about .025; quantiles over 10,000 draws err by a few hundredths of .025.
        np.testing.assert_allclose(actual, expected, atol=2e-3)

    def test_by_hand(self):
        # Of 0 and 1, two draws have a mean of 0, 1/2, 1/2 or 1: a quarter of the means at either end.
        self.assertEqual(intervals.interval([0.0, 1.0], confidence=0.95), (0.0, 1.0))
        self.assertEqual(intervals.interval([0.0, 1.0], confidence=0.4), (0.5, 0.5))

    def test_against_all_possible_draws(self):
        values = [0.1, 0.4, 0.5, 0.9]
        means = [np.mean(draw) for draw in itertools.product(values, repeat=4)]
        expected = np.quantile(means, [0.05, 0.95])
        np.testing.assert_allclose(intervals.interval(values, confidence=0.9), expected, atol=0.026)

    def test_interval_of_equal_values_is_a_point(self):
        np.testing.assert_allclose(intervals.interval([0.7] * 9), (0.7, 0.7))

    def test_the_seed_decides(self):
        values = precisions(1)
        self.assertEqual(intervals.interval(values, samples=99), intervals.interval(values, samples=99, seed=0))
        self.assertNotEqual(intervals.interval(values, samples=99), intervals.interval(values, samples=99, seed=1))

    def test_coverage_of_the_mean_equals_the_confidence(self):
        random = np.random.default_rng(2)
        covered = 0
        for trial in range(200):
            low, high = intervals.interval(random.beta(4, 2, 60), confidence=0.8, samples=200, seed=trial)
            covered += low <= 4 / 6 <= high
        self.assertBetween(covered, 140, 180)  # 160 expected, standard deviation 5.7

    @parameterized.parameters(
        (dict(per_query=[0.5]), r"at least 2 queries, not an array of shape \(1,\)"),
        (dict(per_query=[[0.5, 0.5]]), r"at least 2 queries, not an array of shape \(1, 2\)"),
        (dict(per_query=[0.5, np.nan]), "finite"),
        (dict(per_query=[0.5, 0.1], confidence=1.0), "between 0 and 1, not 1.0"),
        (dict(per_query=[0.5, 0.1], confidence=0.0), "between 0 and 1, not 0.0"),
        (dict(per_query=[0.5, 0.1], samples=0), "at least 1 sample, not 0"),
    )
    def test_refused(self, arguments, message):
        with self.assertRaisesRegex(ValueError, message):
            intervals.interval(**arguments)


class PairedDifferenceTest(absltest.TestCase):
    def test_against_draws_of_both(self):
        hard = precisions(3)
        first = np.clip(hard + np.random.default_rng(4).normal(0.02, 0.05, 55), 0, 1)
        random = np.random.default_rng(1)
        draws = [random.integers(55, size=55) for _ in range(20_000)]
        expected = np.quantile([first[draw].mean() - hard[draw].mean() for draw in draws], [0.025, 0.975])
        mean, low, high = intervals.paired_difference(first, hard)
        self.assertAlmostEqual(mean, np.mean(first) - np.mean(hard), places=12)
        np.testing.assert_allclose((low, high), expected, atol=6e-4)

    def test_difficulty_of_queries_cancels(self):
        hard = precisions(5)
        np.testing.assert_allclose(intervals.paired_difference(hard + 0.125, hard), (0.125,) * 3)
        low, high = intervals.interval(hard)
        self.assertGreater(high - low, 0.05)

    def test_sign_and_order(self):
        first, second = precisions(6), precisions(7)
        mean, low, high = intervals.paired_difference(first, second)
        np.testing.assert_allclose(intervals.paired_difference(second, first), (-mean, -high, -low))
        self.assertTrue(low < mean < high)

    def test_by_hand(self):
        # Differences 0 and 1/2: means of two draws are 0, 1/4, 1/4, 1/2.
        self.assertEqual(intervals.paired_difference([0.5, 1.0], [0.5, 0.5]), (0.25, 0.0, 0.5))

    def test_refused(self):
        with self.assertRaisesRegex(ValueError, "values of 3 queries cannot be paired with values of 2"):
            intervals.paired_difference([0.1, 0.2, 0.3], [0.1, 0.2])
        with self.assertRaisesRegex(ValueError, "at least 2 queries"):
            intervals.paired_difference([0.1], [0.2])


if __name__ == "__main__":
    absltest.main()
