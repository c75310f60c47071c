"""These tests compare diffusion with its definition in float64: an iteration over a graph, until it converges."""

import functools

import numpy as np
from absl.testing import absltest, parameterized
from hypothesis import given, settings

from cwcf_jax.search.diffusion import DiffusionConfig, diffusion_scores
from tests.search import neighbours
from tests.search.neighbours import clusters

FEW = DiffusionConfig(neighbours=5, query_neighbours=3)


def oracle(query, rows, config):
    """Computes diffusion scores by iterating f <- alpha S f + (1 - alpha) y until f converges."""
    rows, query = rows.astype(np.float64), query.astype(np.float64)
    cosines, count = rows @ rows.T, len(rows)
    near = []
    for i in range(count):
        others = sorted((j for j in range(count) if j != i), key=lambda j, i=i: -cosines[i, j])
        near.append(set(others[: config.neighbours]))
    weights = np.zeros((count, count))
    for i in range(count):
        for j in near[i]:
            if i in near[j] and cosines[i, j] > 0:
                weights[i, j] = cosines[i, j] ** config.gamma
    degrees = weights.sum(axis=1)
    scale = np.array([degree**-0.5 if degree > 0 else 0.0 for degree in degrees])
    flow = scale[:, None] * weights * scale[None, :]
    start = np.zeros(count)
    for i in sorted(range(count), key=lambda i: -(rows[i] @ query))[: config.query_neighbours]:
        start[i] = max(rows[i] @ query, 0.0) ** config.gamma
    scores = np.zeros(count)
    for _ in range(100 if config.alpha < 0.8 else 4000):
        scores = config.alpha * flow @ scores + (1 - config.alpha) * start
    return scores


scores = functools.partial(neighbours.scored, diffusion_scores)


class DiffusionTest(parameterized.TestCase):
    @parameterized.parameters((5, 3, 3.0, 0.99), (50, 10, 3.0, 0.99), (10, 1, 1.0, 0.5), (3, 99, 0.5, 0.0))
    def test_against_float64(self, neighbours, query_neighbours, gamma, alpha):
        config = DiffusionConfig(30, neighbours, query_neighbours, gamma, alpha)
        for seed in range(4):
            query, rows = clusters(seed, 30)
            expected = oracle(query, rows, config)
            np.testing.assert_allclose(scores(query, rows, config), expected, atol=1e-4 * expected.max())

    def test_by_hand(self):
        # The query is at 0 degrees, the rows are at 0, 60 and 90. With k 1, 60 and 90 are mutual neighbours; 60 is the
        # nearest of 0, but 0 is not the nearest of 60. The graph has one edge, where S is 1. y is (1, 1/2, 0), alpha
        # 1/2: f1 = f2 / 2 + 1/4 and f2 = f1 / 2 give 1/3 at 60 and 1/6 at 90. The score at 0 is 1/2 * 1.
        angles = np.radians([0, 60, 90])
        rows = np.stack([np.cos(angles), np.sin(angles)], axis=-1)
        config = DiffusionConfig(neighbours=1, query_neighbours=2, gamma=1.0, alpha=0.5)
        np.testing.assert_allclose(scores(rows[0], rows, config), [1 / 2, 1 / 3, 1 / 6], atol=1e-6)

    @settings(deadline=None, max_examples=20)
    @given(neighbours.SEEDS)
    def test_permuted_rows_give_permuted_scores(self, seed):
        neighbours.assert_permuted(functools.partial(scores, config=FEW), seed, share=1e-4)

    @settings(deadline=None, max_examples=20)
    @given(neighbours.SEEDS)
    def test_equal_rows_tie_to_the_last_bit(self, seed):
        neighbours.assert_ties(self, functools.partial(scores, config=FEW), seed)

    def test_zero_rows_and_nothing_similar(self):
        query, rows = clusters(1, 30)
        rows[3] = rows[12] = 0
        actual = scores(query, rows, DiffusionConfig())
        np.testing.assert_array_equal(actual[[3, 12]], [0, 0])
        self.assertTrue(np.isfinite(actual).all())
        opposite = np.tile(-query, (30, 1))
        for any_query, any_rows in ((np.zeros(8), rows), (query, np.zeros((30, 8))), (query, opposite)):
            np.testing.assert_array_equal(scores(any_query, any_rows, DiffusionConfig()), np.zeros(30))

    def test_one_row(self):
        query, rows = clusters(2, 1)
        similar = max(float(rows[0] @ query), 0.0)
        np.testing.assert_allclose(scores(query, rows, DiffusionConfig()), [0.1 * similar**3], atol=1e-7)

    def test_vmap(self):
        neighbours.assert_vmapped(diffusion_scores, DiffusionConfig(), 1e-5)

    @parameterized.parameters(
        (dict(images=-3), "images must be at least 1, not -3"),
        (dict(neighbours=0), "neighbours must be at least 1, not 0"),
        (dict(query_neighbours=0), "query_neighbours must be at least 1, not 0"),
        (dict(gamma=0.0), "gamma must be above 0, not 0.0"),
        (dict(alpha=1.0), "alpha must lie between 0 and .999, not 1.0"),
        (dict(alpha=-0.1), "alpha must lie between 0 and .999, not -0.1"),
    )
    def test_refused(self, fields, message):
        with self.assertRaisesWithLiteralMatch(ValueError, message):
            DiffusionConfig(**fields)


if __name__ == "__main__":
    absltest.main()
