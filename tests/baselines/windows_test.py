import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from cwcf_jax import baselines
from cwcf_jax.descriptors import WhiteningConfig
from tests.baselines import region_maxima
from tests.descriptors.localization_test import _localize as localize_window
from tests.support import oracles

CHANNELS = 6
UNIT = 0.5


def _quantized(maps, unit=UNIT):
    return np.floor(np.minimum(maps.astype(np.float64) / unit, 8.0) + 15.0 / 16.0)


def _maps(seed, shape):
    """Sparse, and nowhere near a step of the quantisation."""
    random = np.random.default_rng(seed)
    steps = random.integers(1, 9, (*shape, CHANNELS)) - 0.4
    return (UNIT * steps * (random.random((*shape, CHANNELS)) < 0.2)).astype(np.float32)


def _read_of(maps):
    return lambda row: maps[row]


class QuantizationUnitTest(absltest.TestCase):
    def test_an_eighth_of_the_99th_percentile_of_what_is_active(self):
        values = np.arange(1.0, 102.0, dtype=np.float32)  # the 99th percentile of 1 to 101 is 100
        maps = [np.zeros((3, 4, 2), np.float32), values[:41].reshape(1, 41, 1), values[41:].reshape(6, 10, 1)]
        self.assertAlmostEqual(baselines.quantization_unit(maps), 100.0 / 8, places=6)

    def test_a_dead_network(self):
        self.assertEqual(baselines.quantization_unit([np.zeros((3, 4, 2), np.float32)]), 1.0)


class RmacWindowsTest(parameterized.TestCase):
    @parameterized.parameters(True, False)
    def test_against_every_window_in_turn(self, whitened):
        maps = [_maps(seed, shape) for seed, shape in enumerate([(9, 12), (8, 8), (5, 11)])]
        training = np.random.default_rng(5).random((80, CHANNELS))
        whitening = WhiteningConfig().fit(training, "toy") if whitened else None
        fitted = oracles.whitening(training, CHANNELS) if whitened else ()
        generator = np.random.default_rng(6)
        maxima, query = generator.random(CHANNELS).astype(np.float32), generator.normal(size=CHANNELS)
        if whitened:  # directions have no sign of their own: the library's are turned to the oracle's
            flip = np.sign(np.sum(np.asarray(whitening.projection) * fitted[1], axis=0))
            fitted = fitted[0], fitted[1] * flip
        windows = baselines.RmacWindows(_read_of(maps), whitening, UNIT)
        rows = np.array([2, 0, 1])
        scores, vectors = windows.search(maxima, jnp.asarray(query, jnp.float32), 0.75, rows)
        for row, score, vector in zip(rows, scores, vectors, strict=True):
            quantized = _quantized(maps[row])
            (x1, y1, x2, y2), _ = localize_window(quantized, maxima.astype(np.float64), 0.75)
            expected = oracles.descriptor(region_maxima(quantized[y1:y2, x1:x2]), *fitted)
            np.testing.assert_allclose(vector, expected, atol=1e-4)
            self.assertAlmostEqual(float(score), float(expected @ query), delta=2e-4)

    def _planted(self):
        """A query of 5 x 8 cells; images without it, with it in the midst of other things, and with half of it."""
        query = np.zeros((5, 8, CHANNELS), np.float32)
        query[0, 0, 0], query[4, 7, 1], query[0, 7, 2], query[2, 0, 3] = 8 * UNIT, 4 * UNIT, 6 * UNIT, 2 * UNIT
        other = np.zeros((16, 20, CHANNELS), np.float32)
        other[..., 4:] = 3 * UNIT
        whole, half = other.copy(), other.copy()
        whole[4:9, 2:10] = query
        half[4:9, 6:10] = query[:, 4:]
        return query, [other, half, whole]

    def test_finds_a_pasted_query(self):
        query, maps = self._planted()
        asked = oracles.descriptor(region_maxima(_quantized(query)))
        windows = baselines.RmacWindows(_read_of(maps), None, UNIT)
        maxima = query.max(axis=(0, 1))
        scores, vectors = windows.search(maxima, jnp.asarray(asked, jnp.float32), 5 / 8, np.arange(3))
        self.assertAlmostEqual(float(scores[2]), 1.0, delta=1e-5)
        np.testing.assert_allclose(vectors[2], asked, atol=1e-5)
        self.assertLess(scores[0], scores[1])
        self.assertLess(scores[1], 0.95)

    def test_rows_over_columns(self):
        """The same thing upright and lying: the window has the query's shape."""
        maps = np.zeros((12, 12, 4), np.float32)
        maps[0:5, 0:2, 0] = maps[6:8, 6:11, 0] = 8 * UNIT
        maps[0:5, 0:2, 1], maps[6:8, 6:11, 2] = 4 * UNIT, 4 * UNIT
        maps[..., 3] = 8 * UNIT - maps[..., 0]
        windows = baselines.RmacWindows(_read_of([maps]), None, UNIT)
        for aspect, channel in ((2.5, 1), (0.4, 2)):
            _, vectors = windows.search(np.eye(4, dtype=np.float32)[0], jnp.ones(4), aspect, np.array([0]))
            self.assertEqual(np.flatnonzero(vectors[0] > 1e-6).tolist(), [0, channel])

    def test_only_the_rows_that_are_asked_for_are_read(self):
        maps = {7: _maps(7, (6, 9)), 3: _maps(3, (9, 6))}
        windows = baselines.RmacWindows(maps.__getitem__, None, UNIT)
        arguments = np.ones(CHANNELS, np.float32), jnp.ones(CHANNELS), 1.0
        scores, vectors = windows.search(*arguments, np.array([7, 3]))
        self.assertEqual((scores.shape, vectors.shape), ((2,), (2, CHANNELS)))
        again, _ = windows.search(*arguments, np.array([3]))
        np.testing.assert_allclose(again[0], scores[1], atol=1e-6)

    def test_where_there_is_nothing(self):
        """A dead map, a map of one cell, a query that is not active: zero or finite, never NaN."""
        maps = [np.zeros((6, 9, CHANNELS), np.float32), _maps(1, (1, 1)) + UNIT, _maps(2, (1, 7))]
        training = np.random.default_rng(5).random((80, CHANNELS))
        windows = baselines.RmacWindows(_read_of(maps), WhiteningConfig().fit(training, "toy"), UNIT)
        for maxima in (np.ones(CHANNELS, np.float32), np.zeros(CHANNELS, np.float32)):
            scores, vectors = windows.search(maxima, jnp.ones(CHANNELS), 1.0, np.arange(3))
            self.assertTrue(np.isfinite(scores).all() and np.isfinite(vectors).all())
            self.assertEqual(float(scores[0]), 0.0)
            np.testing.assert_array_equal(vectors[0], np.zeros(CHANNELS))
            self.assertAlmostEqual(float(np.linalg.norm(vectors[1])), 1.0, places=5)


if __name__ == "__main__":
    absltest.main()
