import fractions

import numpy as np
from absl.testing import absltest, parameterized
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from cwcf_jax import retrieval


def area(ranking, positives, junk):
    """The same area the other way round: exactly, and from the ranks of the positives alone.

    Recall only moves at a positive: the one at rank r (from 1) that is the j-th contributes a trapezoid of width
    1 / positives between the precisions (j - 1) / (r - 1), or 1 at the top, and j / r.
    """
    kept = [image for image in ranking if image not in junk]
    ranks = [rank for rank, image in enumerate(kept, start=1) if image in positives]
    total = fractions.Fraction(0)
    for j, rank in enumerate(ranks, start=1):
        before = fractions.Fraction(j - 1, rank - 1) if rank > 1 else fractions.Fraction(1)
        total += (before + fractions.Fraction(j, rank)) / 2
    return float(total / len(positives))


@st.composite
def benchmarks(draw):
    """A ranking of some of 0 ... 19, positives and junk, either of them partly missing from the ranking."""
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
        # 1/3 * (1 + 1) / 2 + 1/3 * (1 + 1) / 2, the third is never found
        ("one_missing", "ppn", 3, 2 / 3),
        ("first", "pnnn", 1, 1.0),
        ("none_found", "nnn", 2, 0.0),
        # j is skipped: pnp again
        ("junk", "jpjnjjpj", 2, 19 / 24),
        ("junk_at_the_top", "jjp", 1, 1.0),
        ("last_of_four", "nnnp", 1, 1 / 8),  # (0 + 1/4) / 2
    )
    def test_by_hand(self, kinds, count, expected):
        positives = {rank for rank, kind in enumerate(kinds) if kind == "p"} | set(
            range(100, 100 + count - kinds.count("p"))
        )
        junk = {rank for rank, kind in enumerate(kinds) if kind == "j"}
        self.assertAlmostEqual(retrieval.average_precision(range(len(kinds)), positives, junk), expected, places=12)

    @settings(deadline=None, max_examples=100)
    @given(benchmarks())
    def test_against_the_area_from_ranks(self, benchmark):
        self.assertAlmostEqual(retrieval.average_precision(*benchmark), area(*benchmark), places=12)

    @settings(deadline=None, max_examples=100)
    @given(benchmarks())
    def test_junk_is_skipped_as_if_absent(self, benchmark):
        ranking, positives, junk = benchmark
        without = [image for image in ranking if image not in junk]
        self.assertEqual(
            retrieval.average_precision(ranking, positives, junk), retrieval.average_precision(without, positives)
        )

    @settings(deadline=None, max_examples=100)
    @given(benchmarks())
    def test_between_0_and_1_and_1_only_when_perfect(self, benchmark):
        ranking, positives, junk = benchmark
        found = retrieval.average_precision(ranking, positives, junk)
        self.assertBetween(found, 0.0, 1.0 + 1e-12)
        kept = [image for image in ranking if image not in junk]
        self.assertEqual(abs(found - 1.0) < 1e-9, set(kept[: len(positives)]) == positives)
        self.assertEqual(found == 0.0, not positives & set(ranking))

    @settings(deadline=None, max_examples=100)
    @given(benchmarks())
    def test_grows_when_a_positive_moves_up(self, benchmark):
        ranking, positives, _ = benchmark
        before = retrieval.average_precision(ranking, positives)
        for place in range(1, len(ranking)):
            if ranking[place] in positives and ranking[place - 1] not in positives:
                better = list(ranking)
                better[place - 1], better[place] = ranking[place], ranking[place - 1]
                self.assertGreater(retrieval.average_precision(better, positives), before)

    @settings(deadline=None, max_examples=100)
    @given(benchmarks())
    def test_what_follows_the_last_positive_is_indifferent(self, benchmark):
        ranking, positives, junk = benchmark
        self.assertEqual(
            retrieval.average_precision([*ranking, 50, 51], positives, junk),
            retrieval.average_precision(ranking, positives, junk),
        )

    def test_missing_positives_are_never_recalled(self):
        self.assertEqual(retrieval.average_precision([0], {0}), 1.0)
        self.assertEqual(retrieval.average_precision([0], {0, 1, 2, 3}), 0.25)

    def test_an_empty_ranking(self):
        self.assertEqual(retrieval.average_precision([], [3]), 0.0)

    def test_any_collection(self):
        for kind in (list, tuple, set, frozenset):
            self.assertAlmostEqual(retrieval.average_precision([5, 9, 7, 6], kind([5, 6]), kind([9])), 19 / 24)

    def test_ranking_of_numpy_integers(self):
        self.assertAlmostEqual(retrieval.average_precision(np.array([4, 2, 0]).tolist(), {4, 0}), 19 / 24)

    def test_no_positives(self):
        with self.assertRaisesRegex(ValueError, "not defined without positives"):
            retrieval.average_precision([0, 1], [])

    def test_positive_and_junk(self):
        with self.assertRaisesRegex(ValueError, r"positive and junk at once: \[1, 2\]"):
            retrieval.average_precision([0, 1], [2, 1, 0], [3, 1, 2])

    @parameterized.parameters(0, 1, 2)
    def test_ranked_twice(self, image):
        with self.assertRaisesRegex(ValueError, "an image is ranked twice"):
            retrieval.average_precision([0, 1, 2, image], [0], [1])


class MeanAveragePrecisionTest(absltest.TestCase):
    def test_by_hand(self):
        self.assertAlmostEqual(retrieval.mean_average_precision([0.25, 1.0, 0.7]), 0.65)
        self.assertEqual(retrieval.mean_average_precision((0.125,)), 0.125)

    def test_no_queries(self):
        with self.assertRaisesRegex(ValueError, "not defined without queries"):
            retrieval.mean_average_precision([])


if __name__ == "__main__":
    absltest.main()
