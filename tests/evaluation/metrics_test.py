import fractions

import numpy as np
from absl.testing import absltest, parameterized
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from cwcf_jax.evaluation import average_precision, mean_average_precision, metrics


def area(ranking, positives, junk):
    """Computes the average precision exactly, in fractions, from the ranks of the positives alone.

    Recall changes only at a positive. The j-th positive, at rank r (from 1), adds a trapezoid of width 1 / positives
    between the precisions (j - 1) / (r - 1), or 1 at the top, and j / r.
    """
    kept = [image for image in ranking if image not in junk]
    ranks = [rank for rank, image in enumerate(kept, start=1) if image in positives]
    total = fractions.Fraction(0)
    for j, rank in enumerate(ranks, start=1):
        old_precision = fractions.Fraction(j - 1, rank - 1) if rank > 1 else fractions.Fraction(1)
        total += (old_precision + fractions.Fraction(j, rank)) / 2
    return float(total / len(positives))


def judged(ranking, positives, junk):
    """Computes the revised benchmark's metrics from the ranks of the positives, minus the junk images before them."""
    order = np.asarray(ranking)
    at_positive = np.flatnonzero(np.isin(order, list(positives)))
    at_junk = np.flatnonzero(np.isin(order, list(junk)))
    ranks = at_positive - np.searchsorted(at_junk, at_positive)
    counts = np.arange(len(ranks))
    old_precisions = np.divide(counts, ranks, out=np.ones(len(ranks)), where=ranks > 0)
    ap = np.sum(old_precisions + (counts + 1) / (ranks + 1)) / 2 / len(positives)

    def precision(k):
        k = min(k, ranks[-1] + 1)
        return np.count_nonzero(ranks < k) / k

    return ap, precision, lambda k: np.count_nonzero(ranks < k) / len(positives)


@st.composite
def benchmarks(draw):
    """Draws a ranking of some of the images 0 ... 19, positives and junk; the ranking may lack some of both."""
    ranking = draw(st.permutations(range(20)))[: draw(st.integers(0, 20))]
    kinds = draw(st.lists(st.sampled_from("pjn"), min_size=20, max_size=20))
    positives = {image for image, kind in enumerate(kinds) if kind == "p"}
    assume(positives)
    return ranking, positives, {image for image, kind in enumerate(kinds) if kind == "j"}


class AveragePrecisionTest(parameterized.TestCase):
    @parameterized.named_parameters(
        # recall .5 at precision 1: .5 * (1 + 1) / 2 = .5; precision falls to .5; recall 1 at precision 2/3:
        # .5 * (.5 + 2/3) / 2 = 7/24; together 19/24
        ("pnp", "pnp", 2, 19 / 24),
        # precision 0, then recall 1 at precision .5: 1 * (0 + .5) / 2
        ("np", "np", 1, 1 / 4),
        # .5 * (0 + 1/2) / 2 + .5 * (1/2 + 2/3) / 2 = 3/24 + 7/24
        ("npp", "npp", 2, 10 / 24),
        # 1/3 * (1 + 1) / 2 + 1/3 * (1 + 1) / 2, the third positive is never recalled
        ("one_missing", "ppn", 3, 2 / 3),
        ("first", "pnnn", 1, 1.0),
        ("none_found", "nnn", 2, 0.0),
        # without junk (j) the ranking is pnp again
        ("junk", "jpjnjjpj", 2, 19 / 24),
        ("junk_at_the_top", "jjp", 1, 1.0),
        ("last_of_four", "nnnp", 1, 1 / 8),  # (0 + 1/4) / 2
    )
    def test_by_hand(self, kinds, count, expected):
        positives = {rank for rank, kind in enumerate(kinds) if kind == "p"} | set(
            range(100, 100 + count - kinds.count("p"))
        )
        junk = {rank for rank, kind in enumerate(kinds) if kind == "j"}
        self.assertAlmostEqual(average_precision(range(len(kinds)), positives, junk), expected, places=12)

    @settings(deadline=None, max_examples=100)
    @given(benchmarks())
    def test_against_the_area_from_ranks(self, benchmark):
        self.assertAlmostEqual(average_precision(*benchmark), area(*benchmark), places=12)

    @settings(deadline=None, max_examples=100)
    @given(benchmarks())
    def test_junk_is_skipped_as_if_absent(self, benchmark):
        ranking, positives, junk = benchmark
        without = [image for image in ranking if image not in junk]
        self.assertEqual(average_precision(ranking, positives, junk), average_precision(without, positives))

    @settings(deadline=None, max_examples=100)
    @given(benchmarks())
    def test_between_0_and_1_and_1_only_when_perfect(self, benchmark):
        ranking, positives, junk = benchmark
        ap = average_precision(ranking, positives, junk)
        self.assertBetween(ap, 0.0, 1.0 + 1e-12)
        kept = [image for image in ranking if image not in junk]
        self.assertEqual(abs(ap - 1.0) < 1e-9, set(kept[: len(positives)]) == positives)
        self.assertEqual(ap == 0.0, not positives & set(ranking))

    @settings(deadline=None, max_examples=100)
    @given(benchmarks())
    def test_grows_when_a_positive_moves_up(self, benchmark):
        ranking, positives, _ = benchmark
        ap = average_precision(ranking, positives)
        for rank in range(1, len(ranking)):
            if ranking[rank] in positives and ranking[rank - 1] not in positives:
                better = list(ranking)
                better[rank - 1], better[rank] = ranking[rank], ranking[rank - 1]
                self.assertGreater(average_precision(better, positives), ap)

    @settings(deadline=None, max_examples=100)
    @given(benchmarks())
    def test_images_after_the_last_positive_do_not_matter(self, benchmark):
        ranking, positives, junk = benchmark
        self.assertEqual(
            average_precision([*ranking, 50, 51], positives, junk),
            average_precision(ranking, positives, junk),
        )

    def test_against_the_ranks_on_1000_rankings(self):
        random = np.random.default_rng(0)
        for trial in range(1000):
            count = int(random.integers(3, 200))
            ranking = random.permutation(count).tolist()
            kinds = random.choice(3, count, p=(0.2, 0.1, 0.7))
            # Positives or junk at both ends of the ranking, and positives that the ranking lacks.
            kinds[[ranking[0], ranking[-1]]] = ((0, 2), (2, 0), (0, 0), (1, 0))[trial % 4]
            positives = {*np.flatnonzero(kinds == 0).tolist(), *range(count, count + trial % 3)}
            junk = set(np.flatnonzero(kinds == 1).tolist())
            expected, _, _ = judged(ranking, positives, junk)
            self.assertAlmostEqual(average_precision(ranking, positives, junk), expected, delta=1e-9)

    def test_missing_positives_are_never_recalled(self):
        self.assertEqual(average_precision([0], {0}), 1.0)
        self.assertEqual(average_precision([0], {0, 1, 2, 3}), 0.25)

    def test_an_empty_ranking(self):
        self.assertEqual(average_precision([], [3]), 0.0)

    def test_any_collection(self):
        for kind in (list, tuple, set, frozenset):
            self.assertAlmostEqual(average_precision([5, 9, 7, 6], kind([5, 6]), kind([9])), 19 / 24)

    def test_ranking_of_numpy_integers(self):
        self.assertAlmostEqual(average_precision(np.array([4, 2, 0]).tolist(), {4, 0}), 19 / 24)

    def test_no_positives(self):
        with self.assertRaisesRegex(ValueError, "not defined without positives"):
            average_precision([0, 1], [])

    def test_positive_and_junk(self):
        with self.assertRaisesRegex(ValueError, r"positive and junk at once: \[1, 2\]"):
            average_precision([0, 1], [2, 1, 0], [3, 1, 2])

    @parameterized.parameters(0, 1, 2)
    def test_ranked_twice(self, image):
        with self.assertRaisesRegex(ValueError, "an image is ranked twice"):
            average_precision([0, 1, 2, image], [0], [1])


class AtTest(parameterized.TestCase):
    @parameterized.parameters(
        # p n j p n n, a third positive missing: without junk the positives are at 1 and 3
        (1, 1.0, 1 / 3),
        (2, 1 / 2, 1 / 3),
        (3, 2 / 3, 2 / 3),
        (5, 2 / 3, 2 / 3),  # cut to 3, where the last positive is
        (100, 2 / 3, 2 / 3),
    )
    def test_by_hand(self, k, precision, recall):
        ranking, positives, junk = [10, 11, 12, 13, 14, 15], {10, 13, 99}, {12}
        self.assertAlmostEqual(metrics.precision_at(ranking, positives, junk, k), precision, places=12)
        self.assertAlmostEqual(metrics.recall_at(ranking, positives, junk, k), recall, places=12)

    @settings(deadline=None, max_examples=100)
    @given(benchmarks(), st.integers(1, 25))
    def test_against_the_ranks(self, benchmark, k):
        ranking, positives, _ = benchmark
        assume(positives & set(ranking))
        _, precision, recall = judged(*benchmark)
        self.assertAlmostEqual(metrics.precision_at(*benchmark, k), precision(k), places=12)
        self.assertAlmostEqual(metrics.recall_at(*benchmark, k), recall(k), places=12)

    @settings(deadline=None, max_examples=50)
    @given(benchmarks())
    def test_recall_grows_to_the_share_of_ranked_positives(self, benchmark):
        ranking, positives, _ = benchmark
        recalls = [metrics.recall_at(*benchmark, k) for k in range(1, 22)]
        self.assertEqual(recalls, sorted(recalls))
        self.assertEqual(recalls[-1], len(positives & set(ranking)) / len(positives))

    def test_none_found(self):
        for ranking in ([], [1, 2, 3]):
            self.assertEqual(metrics.precision_at(ranking, {7}, {2}, 5), 0.0)
            self.assertEqual(metrics.recall_at(ranking, {7}, {2}, 5), 0.0)

    def test_refused(self):
        for metric, name in ((metrics.precision_at, "precision"), (metrics.recall_at, "recall")):
            with self.assertRaisesRegex(ValueError, f"{name} is not defined without positives"):
                metric([0, 1], [], [], 1)
            with self.assertRaisesRegex(ValueError, "an image is ranked twice"):
                metric([0, 1, 0], [1], [], 1)
            with self.assertRaisesRegex(ValueError, "positive and junk at once"):
                metric([0, 1], [1], [1], 1)
            with self.assertRaisesRegex(ValueError, f"{name} is taken at 1 image or more, not at 0"):
                metric([0, 1], [1], [], 0)


class DifficultyTest(parameterized.TestCase):
    @parameterized.parameters(
        ("easy", {1, 2}, {3, 4, 5}),
        ("medium", {1, 2, 3, 4}, {5}),
        ("hard", {3, 4}, {1, 2, 5}),
    )
    def test_of_the_revised_benchmark(self, setup, positives, junk):
        self.assertEqual(metrics.difficulty([1, 2], [3, 4], [5], setup), (positives, junk))

    def test_a_query_without_hard_images(self):
        self.assertEqual(metrics.difficulty([1], [], [], "hard"), (frozenset(), {1}))

    def test_unknown_setup(self):
        with self.assertRaisesRegex(ValueError, "unknown setup 'Hard'; known: easy, medium, hard"):
            metrics.difficulty([1], [2], [3], "Hard")


class MeanAveragePrecisionTest(absltest.TestCase):
    def test_by_hand(self):
        self.assertAlmostEqual(mean_average_precision([0.25, 1.0, 0.7]), 0.65)
        self.assertEqual(mean_average_precision((0.125,)), 0.125)

    def test_no_queries(self):
        with self.assertRaisesRegex(ValueError, "not defined without queries"):
            mean_average_precision([])


if __name__ == "__main__":
    absltest.main()
