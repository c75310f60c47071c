import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized
from hypothesis import given, settings
from hypothesis import strategies as st

from cwcf_jax import descriptors
from cwcf_jax.baselines import rmac_localization as localization

localize = jax.jit(localization.localize, static_argnames=("step", "tolerance", "reach", "iterations"))
search = functools.partial(localize, iterations=0)

TIE = 1e-6
"""The largest difference of equal cosines."""


def _score(maps, query, top, bottom, left, right):
    """Computes the cosine of the query with a window's 10th root of the sum of 10th powers.

    Rows and columns are numbered from 1, and ends are inclusive.
    """
    window = maps[top - 1 : bottom, left - 1 : right].astype(np.float64)
    vector = (window**10).sum(axis=(0, 1)) ** 0.1
    norm = np.linalg.norm(vector) * np.linalg.norm(query)
    return vector @ query / norm if norm > 0 else 0.0


def brute_force_localize(maps, query, aspect, *, step=3, tolerance=1.1, reach=3, iterations=5):
    """Finds the best window by brute force, then refines it move by move; rows and columns are numbered from 1."""
    height, width = maps.shape[:2]
    best, score = None, 0.0
    for top in range(1, height, step):
        for bottom in range(top + 1, height + 1, step):
            for left in range(1, width, step):
                for right in range(left + 1, width + 1, step):
                    shape = (bottom - top + 1) / (right - left + 1)
                    if aspect > 0 and abs(math.log(aspect / shape)) > math.log(tolerance) + 1e-9:
                        continue
                    value = _score(maps, query, top, bottom, left, right)
                    if value > score + TIE:
                        best, score = [top, bottom, left, right], value
    if best is None:
        best = [1, height, 1, width]
        score = _score(maps, query, *best)
    for cells in range(reach, 0, -1):
        for _ in range(iterations):
            for side in range(4):
                for sign in (-1, 1):
                    moved = list(best)
                    moved[side] += sign * cells
                    first, last = moved[side // 2 * 2], moved[side // 2 * 2 + 1]
                    shrinks = sign == (1 if side % 2 == 0 else -1)
                    if first < 1 or last > (height, width)[side // 2] or (shrinks and last < first + 1):
                        continue
                    value = _score(maps, query, *moved)
                    if value > score + TIE:
                        best, score = moved, value
    top, bottom, left, right = best
    return [left - 1, top - 1, right, bottom], score


def _maps(seed, shape=(9, 12, 5)):
    """Returns sparse random maps of integers from 0 to 8, like quantised activations."""
    rng = np.random.default_rng(seed)
    return (rng.integers(1, 9, shape) * (rng.random(shape) < 0.25)).astype(np.float32)


def _query(seed, channels=5):
    return np.random.default_rng(seed + 10_000).random(channels).astype(np.float32)


def _locate(maps, size, query, aspect, function=localize, **options):
    box, score = function(jnp.asarray(maps), jnp.array(size), jnp.asarray(query), jnp.float32(aspect), **options)
    return np.asarray(box).tolist(), float(score)


def _maxima(maps, box):
    x1, y1, x2, y2 = np.asarray(box).tolist()
    return np.asarray(maps)[y1:y2, x1:x2].max(axis=(0, 1))


class QuantizeTest(absltest.TestCase):
    def test_hand_worked(self):
        # The released code computes floor((15 + min(x, 128)) / 16).
        values = [0.0, 0.5, 1.0, 16.0, 16.5, 17.0, 112.0, 113.0, 128.0, 1000.0]
        actual = localization.quantize(jnp.array(values).reshape(1, 1, -1))
        self.assertEqual(actual.reshape(-1).tolist(), [0, 0, 1, 1, 1, 2, 7, 8, 8, 8])

    def test_other_unit(self):
        actual = localization.quantize(jnp.array([[[0.0, 0.05, 0.5, 1.0, 8.0, 9.0]]]), 1.0)
        self.assertEqual(actual.reshape(-1).tolist(), [0, 0, 1, 1, 8, 8])


class LocalizeTest(parameterized.TestCase):
    @settings(deadline=None, max_examples=40)
    @given(st.integers(0, 10_000), st.integers(1, 9), st.integers(1, 12), st.sampled_from([0.0, 0.4, 1.0, 1.6, 2.5]))
    def test_against_brute_force_on_any_size(self, seed, height, width, aspect):
        maps, query = _maps(seed), _query(seed)
        valid = maps[:height, :width]
        for function, iterations in ((search, 0), (localize, 5)):
            box, score = _locate(maps, (height, width), query, aspect, function)
            expected, value = brute_force_localize(valid, query, aspect, iterations=iterations)
            self.assertEqual(box, expected)
            self.assertAlmostEqual(score, value, delta=2e-6)

    @parameterized.parameters(dict(step=2), dict(tolerance=2.0), dict(reach=1), dict(reach=0), dict(iterations=1))
    def test_options(self, **options):
        maps, query = _maps(3), _query(3)
        box, score = _locate(maps, (9, 12), query, 1.0, **options)
        expected, value = brute_force_localize(maps, query, 1.0, **options)
        self.assertEqual(box, expected)
        self.assertAlmostEqual(score, value, delta=2e-6)

    def test_finds_a_planted_pattern(self):
        # Channels 0 to 3 are active in rows 4 to 8 and columns 2 to 9, channels 4 to 7 in all other cells.
        maps = np.zeros((16, 20, 8), np.float32)
        maps[..., 4:] = 3.0
        maps[4:9, 2:10] = 0.0
        maps[4, 2, 0], maps[8, 9, 1], maps[4, 9, 2], maps[6, 2, 3] = 8, 4, 6, 2
        query = jnp.array([8.0, 4.0, 6.0, 2.0, 0.0, 0.0, 0.0, 0.0])
        box, score = localize(jnp.asarray(maps), jnp.array([16, 20]), query, jnp.float32(5 / 8))
        self.assertEqual(box.tolist(), [2, 4, 10, 9])
        self.assertAlmostEqual(float(score), 1.0, places=6)
        np.testing.assert_array_equal(_maxima(maps, box), query)

    def test_small_activations_beside_large_ones(self):
        # 8^10 sums to 3e11 over the map: differences of float32 running sums would lose the values 1 and 0.008.
        maps = np.full((16, 20, 3), 8.0, np.float32)
        maps[6:11, 3:8] = 0.0
        maps[6:8, 3:5] = [1.0, 2.0, 0.0]
        maps[9, 7] = [0.008, 0.016, 0.0]
        box, score = _locate(maps, (16, 20), np.array([1.0, 2.0, 0.0]), 1.0)
        expected, value = brute_force_localize(maps, np.array([1.0, 2.0, 0.0]), 1.0)
        self.assertEqual(box, expected)
        self.assertAlmostEqual(score, value, delta=1e-6)
        self.assertGreater(score, 1 - 1e-6)

    def test_scale_of_maps_and_query_does_not_matter(self):
        maps, query = _maps(1), _query(1)
        expected = _locate(maps, (9, 12), query, 1.0)
        for scale in (1e-20, 1e20):
            box, score = _locate(maps * np.float32(scale), (9, 12), query * np.float32(scale**0.5), 1.0)
            self.assertEqual(box, expected[0])
            self.assertAlmostEqual(score, expected[1], places=5)

    def test_padding_is_ignored(self):
        maps, query = _maps(2), _query(2)
        valid = maps[:7, :10]
        padded = np.full((9, 12, 5), 1e6, np.float32)
        padded[:7, :10] = valid
        for function in (search, localize):
            box, score = _locate(padded, (7, 10), query, 1.0, function)
            expected = _locate(valid, (7, 10), query, 1.0, function)
            self.assertEqual(box, expected[0])
            self.assertAlmostEqual(score, expected[1], places=5)

    def test_no_window_has_the_aspect(self):
        maps, query = _maps(4), _query(4)
        box, score = _locate(maps, (7, 10), query, 30.0, search)
        self.assertEqual(box, [0, 0, 10, 7])
        self.assertAlmostEqual(score, _score(maps, query, 1, 7, 1, 10), places=5)

    def test_aspect_is_rows_over_columns(self):
        # The map has a portrait and a landscape pattern; the query's aspect decides.
        maps = np.zeros((12, 12, 2), np.float32)
        maps[0:5, 0:2, 0] = maps[6:8, 6:11, 0] = 8.0
        maps[..., 1] = 8.0 - maps[..., 0]
        query = np.array([1.0, 0.0])
        self.assertEqual(_locate(maps, (12, 12), query, 2.5, search)[0], [0, 0, 2, 5])
        self.assertEqual(_locate(maps, (12, 12), query, 0.4, search)[0], [6, 6, 11, 8])

    def test_exactly_at_the_tolerance(self):
        maps, query = np.ones((2, 2, 1), np.float32), np.ones(1)
        for aspect in (1.1, 1 / 1.1):
            self.assertEqual(
                _locate(np.pad(maps, ((0, 2), (0, 3), (0, 0))), (4, 5), query, aspect, search)[0][2:], [2, 2]
            )
        self.assertEqual(_locate(np.pad(maps, ((0, 2), (0, 3), (0, 0))), (4, 5), query, 1.11, search)[0], [0, 0, 5, 4])

    @parameterized.parameters((1, 6), (6, 1), (1, 1), (2, 2))
    def test_degenerate_maps(self, height, width):
        maps = _maps(5, (height, width, 5)) + 1
        box, score = _locate(maps, (height, width), _query(5), 1.0)
        self.assertEqual(box, brute_force_localize(maps, _query(5), 1.0)[0])
        self.assertAlmostEqual(score, brute_force_localize(maps, _query(5), 1.0)[1], places=5)

    def test_no_common_channels(self):
        channel_0, query_1 = np.zeros((9, 12, 5), np.float32), np.zeros(5)
        channel_0[..., 0], query_1[1] = 1.0, 1.0
        dead = np.zeros((9, 12, 5), np.float32)
        for maps, query in ((dead, _query(0)), (channel_0, np.zeros(5)), (channel_0, query_1)):
            self.assertEqual(_locate(maps, (8, 11), query, 1.0), ([0, 0, 11, 8], 0.0))
        self.assertEqual(_locate(channel_0, (0, 0), _query(0), 1.0), ([0, 0, 0, 0], 0.0))

    def test_vmap(self):
        maps = np.stack([_maps(seed) for seed in range(4)])
        sizes = jnp.array([[9, 12], [5, 7], [1, 12], [8, 8]])
        boxes, scores = jax.vmap(localize, in_axes=(0, 0, None, None))(
            jnp.asarray(maps), sizes, jnp.asarray(_query(0)), jnp.float32(1.0)
        )
        for i, size in enumerate(sizes.tolist()):
            box, score = _locate(maps[i], size, _query(0), 1.0)
            self.assertEqual(boxes[i].tolist(), box)
            self.assertAlmostEqual(float(scores[i]), score, places=5)
            mac = descriptors.max_pool(jnp.asarray(maps[i]), descriptors.cell_mask(boxes[i], (9, 12)))
            np.testing.assert_array_equal(_maxima(maps[i], boxes[i]), mac)


if __name__ == "__main__":
    absltest.main()
