"""These tests compare k-reciprocal re-ranking with loops over sets in float64, written from the paper.

The module was also compared with the released code (`re_ranking_ranklist.py` of zhunzhong07/person-re-ranking, which
computes in float32), with the query as probe and the m rows as gallery: 10 to 300 rows of 8 to 256 dimensions around a
few centres, (k1, k2, lambda) of (20, 6, .3), (5, 1, 0), (7, 3, .8) and (10, 4, .3), 144 settings. The largest
difference of a score was 3.6e-7.
"""

import functools

import numpy as np
from absl.testing import absltest, parameterized
from hypothesis import given, settings

from cwcf_jax.search.reciprocal import ReciprocalConfig, reciprocal_scores
from tests.search import neighbours
from tests.search.neighbours import clusters
from tests.support import oracles
from tests.support.slow import slow

FEW = ReciprocalConfig(k1=5, k2=3)


oracle = oracles.reciprocal_scores
scores = functools.partial(neighbours.scored, reciprocal_scores)


class ReciprocalTest(parameterized.TestCase):
    @parameterized.parameters((20, 6, 0.3), (5, 1, 0.0), (3, 4, 0.8), (99, 99, 0.3), (1, 1, 1.0))
    def test_against_float64(self, k1, k2, weight):
        config = ReciprocalConfig(k1=k1, k2=k2, original_weight=weight)
        for seed in range(4):
            query, rows = clusters(seed, 30)
            np.testing.assert_allclose(scores(query, rows, config), oracle(query, rows, config), atol=2e-6)

    @slow
    @parameterized.product(rows=(1, 2, 7, 100), k1=(1, 2, 7, 20, 30), k2=(1, 2, 6), weight=(0.0, 0.3))
    def test_more_settings_against_float64(self, rows, k1, k2, weight):
        config = ReciprocalConfig(k1=k1, k2=k2, original_weight=weight)
        query, vectors = clusters(rows, rows, dim=16, centres=10)
        np.testing.assert_allclose(scores(query, vectors, config), oracle(query, vectors, config), atol=2e-6)

    def test_by_hand(self):
        # The query is at 0 degrees, the rows are at 10 and -80. With k1 1, the query and 10 are mutual neighbours; -80
        # has no neighbour, and so none in common with the query. 2 - 2 cos of 10 is .030384, of 80 1.652704, of 90 2.
        # Divided by the largest, the distances are .018385 and 1 from the query, .015192 and 1 from 10. Half of k1 is
        # rounded to 0 neighbours, so that R*(i) = R(i, 1). V(query) = (1, e^-.018385) / sum = (.504596, .495404),
        # V(10) = (.496202, .503798); the minima sum to s = .496202 + .495404 = .991606, s / (2 - s) = .983351. The
        # score is 1 - .7 (1 - .983351) - .3 * .018385 = .982830.
        angles = np.radians([0, 10, -80])
        nodes = np.stack([np.cos(angles), np.sin(angles)], axis=-1)
        config = ReciprocalConfig(k1=1, k2=1)
        np.testing.assert_allclose(scores(nodes[0], nodes[1:], config), [0.982830, 0.0], atol=2e-6)

    def test_shared_neighbours_decide(self):
        # The three nearest rows of the query at 0 are at 12, 14 and 25 degrees, and they are mutual neighbours. -26 is
        # hardly further away than 25, but its three nearest are -27, -28 and the query, of which it is no neighbour.
        angles = np.radians([0, 12, 14, 25, -26, -27, -28])
        nodes = np.stack([np.cos(angles), np.sin(angles)], axis=-1)
        actual = scores(nodes[0], nodes[1:], ReciprocalConfig(k1=3, k2=2, original_weight=0.1))
        self.assertGreater(actual[2] - actual[3], 0.2)

    @settings(deadline=None, max_examples=20)
    @given(neighbours.SEEDS)
    def test_permuted_rows_give_permuted_scores(self, seed):
        neighbours.assert_permuted(functools.partial(scores, config=FEW), seed, atol=2e-6)

    @settings(deadline=None, max_examples=20)
    @given(neighbours.SEEDS)
    def test_equal_rows_tie_to_the_last_bit(self, seed):
        neighbours.assert_ties(self, functools.partial(scores, config=FEW), seed)

    def test_the_querys_own_picture_and_zero_rows(self):
        query, rows = clusters(1, 30)
        rows[7], rows[3], rows[12] = query, 0, 0
        actual = scores(query, rows, ReciprocalConfig())
        self.assertEqual(actual.argmax(), 7)
        self.assertAlmostEqual(float(actual[7]), 1.0, places=5)
        self.assertEqual(actual[3], actual[12])
        self.assertTrue(np.isfinite(actual).all())

    def test_zero_and_equal_rows(self):
        for query, rows in (
            (np.zeros(8), np.zeros((30, 8))),
            (np.eye(8)[0], np.tile(np.eye(8)[0], (30, 1))),
            (np.zeros(8), clusters(2, 30)[1]),
            (np.eye(8)[0], np.zeros((30, 8))),
        ):
            actual = scores(query, rows, ReciprocalConfig())
            self.assertTrue(((actual >= 0) & (actual <= 1)).all())
            if (rows == rows[0]).all():
                self.assertLen(set(actual.tolist()), 1)

    def test_one_row_and_no_row(self):
        query, rows = clusters(3, 1)
        np.testing.assert_allclose(
            scores(query, rows, ReciprocalConfig()),
            oracle(query, rows, ReciprocalConfig()),
            atol=2e-6,
        )
        self.assertEqual(scores(query, rows[:0], ReciprocalConfig()).shape, (0,))

    def test_vmap(self):
        neighbours.assert_vmapped(reciprocal_scores, ReciprocalConfig(), 2e-6)

    @parameterized.parameters(
        (dict(images=0), "images must be at least 1, not 0"),
        (dict(k1=0), "k1 must be at least 1, not 0"),
        (dict(k2=-1), "k2 must be at least 1, not -1"),
        (dict(original_weight=1.5), "original_weight must lie between 0 and 1, not 1.5"),
        (dict(original_weight=float("nan")), "original_weight must lie between 0 and 1, not nan"),
    )
    def test_refused(self, fields, message):
        with self.assertRaisesWithLiteralMatch(ValueError, message):
            ReciprocalConfig(**fields)


if __name__ == "__main__":
    absltest.main()
