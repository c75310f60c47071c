"""These tests compare SuperGlobal's refinement with loops over the images in float64.

The module was also compared with the released code (`MDescAug` and `RerankwMDA` of ShihaoShao-GH/SuperGlobal, run on a
CPU): 30 to 400 rows of 8 and 64 dimensions, K 9 and 3, beta .15 and 1. In 22 settings without a negative cosine among
the neighbours the largest difference of a score was 2.4e-7, and all orders were equal. With negative cosines, which the
released code subtracts, scores differed by up to .0096; the orders were still equal.
"""

import functools

import numpy as np
from absl.testing import absltest, parameterized
from hypothesis import given, settings

from cwcf_jax.search.refinement import RefinementConfig, refined_scores
from tests.search import neighbours
from tests.search.neighbours import clusters

FEW = RefinementConfig(neighbours=3)


def oracle(query, rows, config):
    rows, query = rows.astype(np.float64), query.astype(np.float64)
    refined = []
    for i, row in enumerate(rows):
        others = sorted((j for j in range(len(rows)) if j != i), key=lambda j, row=row: -(rows[j] @ row))
        total, total_weight = row.copy(), 1.0
        for j in others[: config.neighbours]:
            weight = config.beta * max(rows[j] @ row, 0.0)
            total, total_weight = total + weight * rows[j], total_weight + weight
        refined.append(total / total_weight)
    first = np.array([row @ query for row in refined])
    best = np.argsort(-first)[: config.neighbours + 1]
    pooled = np.max([refined[i] for i in best], axis=0)
    return (first + np.array([row @ pooled for row in refined])) / 2


scores = functools.partial(neighbours.scored, refined_scores)


class RefinementTest(parameterized.TestCase):
    @parameterized.parameters((9, 0.15), (1, 1.0), (3, 0.0), (99, 0.5))
    def test_against_float64(self, neighbours, beta):
        config = RefinementConfig(30, neighbours, beta)
        for seed in range(4):
            query, rows = clusters(seed, 30)
            np.testing.assert_allclose(scores(query, rows, config), oracle(query, rows, config), atol=1e-6)

    def test_by_hand(self):
        # With K 1 and beta 1, (1, 0) and (.6, .8), with cosine .6, become (1.36, .48) / 1.6 = (.85, .3) and
        # (1.2, .8) / 1.6 = (.75, .5). (-1, 0) has no neighbour with a positive cosine and stays. The first scores with
        # (1, 0) are .85, .75, -1. The refined query is the maximum of the best two rows, (.85, .5); the second scores
        # are .8725, .8875, -.85. The means are .86125, .81875, -.925.
        rows = np.array([[1.0, 0.0], [0.6, 0.8], [-1.0, 0.0]])
        actual = scores(rows[0], rows, RefinementConfig(neighbours=1, beta=1.0))
        np.testing.assert_allclose(actual, [0.86125, 0.81875, -0.925], atol=1e-6)

    @settings(deadline=None, max_examples=20)
    @given(neighbours.SEEDS)
    def test_permuted_rows_give_permuted_scores(self, seed):
        neighbours.assert_permuted(functools.partial(scores, config=FEW), seed, atol=1e-6)

    @settings(deadline=None, max_examples=20)
    @given(neighbours.SEEDS)
    def test_equal_rows_tie_to_the_last_bit(self, seed):
        neighbours.assert_ties(self, functools.partial(scores, config=FEW), seed)

    def test_zero_rows_and_zero_query(self):
        query, rows = clusters(1, 30)
        rows[3] = rows[12] = 0
        actual = scores(query, rows, RefinementConfig())
        np.testing.assert_array_equal(actual[[3, 12]], [0, 0])
        self.assertTrue(np.isfinite(scores(np.zeros(8), rows, RefinementConfig())).all())
        np.testing.assert_array_equal(scores(query, np.zeros((30, 8)), RefinementConfig()), np.zeros(30))

    def test_one_row(self):
        query, rows = clusters(2, 1)
        expected = (rows[0] @ query + 1) / 2  # the refined query is the row itself
        np.testing.assert_allclose(scores(query, rows, RefinementConfig()), [expected], atol=1e-6)

    def test_vmap(self):
        neighbours.assert_vmapped(refined_scores, RefinementConfig(), 1e-6)

    @parameterized.parameters(
        (dict(images=0), "images must be at least 1, not 0"),
        (dict(neighbours=0), "neighbours must be at least 1, not 0"),
        (dict(beta=-0.5), "beta must be 0 or more, not -0.5"),
    )
    def test_refused(self, fields, message):
        with self.assertRaisesWithLiteralMatch(ValueError, message):
            RefinementConfig(**fields)


if __name__ == "__main__":
    absltest.main()
