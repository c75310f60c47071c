from unittest import mock

import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized
from hypothesis import given, settings
from hypothesis import strategies as st

from cwcf_jax import descriptors
from cwcf_jax.baselines import rmac
from cwcf_jax.descriptors import WhiteningConfig
from tests.baselines import region_maxima
from tests.baselines.rmac_localization_test import brute_force_localize
from tests.support import oracles


def _regions(height, width):
    """Computes the regions of the released code one by one, with offsets in integer arithmetic."""
    short, long = min(height, width), max(height, width)
    extra = 0
    if height != width:
        errors = [abs((short**2 - short * (long - short) / (count - 1)) / short**2 - 0.4) for count in range(2, 8)]
        extra = errors.index(min(errors)) + 1
    boxes = []
    for level in (1, 2, 3):
        side = int(2 * short / (level + 1))
        rows, columns = level + (extra if height > width else 0), level + (extra if width > height else 0)
        for i in range(rows):
            for j in range(columns):
                top = i * (height - side) // (rows - 1) if rows > 1 else 0
                left = j * (width - side) // (columns - 1) if columns > 1 else 0
                if side > 0:
                    boxes.append((left, top, left + side, top + side))
    return np.array(boxes)


class RegionsTest(parameterized.TestCase):
    def test_square_has_14(self):
        # The three levels have 1, 4 and 9 regions of sides 12, 8 and 6.
        actual = rmac.regions(12, 12)
        self.assertEqual(actual.shape, (14, 4))
        self.assertEqual(actual[0].tolist(), [0, 0, 12, 12])
        self.assertEqual(actual[1:5].tolist(), [[0, 0, 8, 8], [4, 0, 12, 8], [0, 4, 8, 12], [4, 4, 12, 12]])
        self.assertEqual(actual[5:8].tolist(), [[0, 0, 6, 6], [3, 0, 9, 6], [6, 0, 12, 6]])

    def test_hand_worked_landscape(self):
        # 24 x 32 is VGG-16's pool5 at 768 x 1024. Two regions of side 24 overlap by 2/3, three regions by 5/6. .4 is
        # nearer to 2/3. Therefore each row has one more region: 2 + 6 + 12 regions of sides 24, 16 and 12.
        actual = rmac.regions(24, 32)
        self.assertLen(actual, 20)
        self.assertEqual(actual[:2].tolist(), [[0, 0, 24, 24], [8, 0, 32, 24]])
        self.assertEqual(actual[2:5].tolist(), [[0, 0, 16, 16], [8, 0, 24, 16], [16, 0, 32, 16]])
        self.assertEqual(actual[8:12].tolist(), [[0, 0, 12, 12], [6, 0, 18, 12], [13, 0, 25, 12], [20, 0, 32, 12]])

    def test_portrait_is_landscape_transposed(self):
        transposed = {tuple(box) for box in rmac.regions(41, 23)[:, [1, 0, 3, 2]].tolist()}
        self.assertEqual(transposed, {tuple(box) for box in rmac.regions(23, 41).tolist()})

    def test_rounding_decides_a_tie(self):
        # 5 x 9: the overlaps .2 and .6 are equally far from .4. In doubles .6 - .4 < .4 - .2: 3 regions, not 2.
        self.assertEqual(rmac.regions(5, 9)[:3, 0].tolist(), [0, 2, 4])

    @settings(deadline=None, max_examples=200)
    @given(st.integers(1, 60), st.floats(1, 3), st.booleans())
    def test_against_integer_arithmetic(self, short, aspect, portrait):
        height, width = (int(short * aspect), short) if portrait else (short, int(short * aspect))
        np.testing.assert_array_equal(rmac.regions(height, width), _regions(height, width))

    def test_the_last_offset_is_rounded_like_in_the_released_code(self):
        # 17 x 69: eight regions of side 8 begin at multiples of 61 / 7. In doubles, the last begins at 60.99...
        self.assertEqual(rmac.regions(17, 69)[-1].tolist(), [60, 9, 68, 17])

    def test_inside_the_map_and_within_the_bound(self):
        for short in range(1, 25):
            for long in range(short, 8 * short + 1):
                for height, width in ((short, long), (long, short)):
                    boxes = rmac.regions(height, width)
                    self.assertBetween(len(boxes), 1, rmac.MAX_REGIONS)
                    self.assertTrue(np.all(boxes[:, :2] >= 0) and np.all(boxes[:, 2:] <= [width, height]))
                    self.assertTrue(np.all(boxes[:, 2:] > boxes[:, :2]))
        self.assertLen(rmac.regions(10, 80), rmac.MAX_REGIONS)

    @parameterized.parameters((1, 1, [[0, 0, 1, 1]]), (1, 2, [[0, 0, 1, 1], [0, 0, 1, 1], [1, 0, 2, 1]]))
    def test_one_row(self, height, width, expected):
        # In one row of two cells, two regions overlap by 0 and three by .5, which is nearer to .4. At higher levels,
        # sides are below one cell.
        self.assertEqual(rmac.regions(height, width).tolist(), expected)

    def test_two_by_two(self):
        self.assertLen(rmac.regions(2, 2), 14)
        self.assertLen(rmac.regions(40, 1), 7)

    def test_other_levels(self):
        self.assertLen(rmac.regions(12, 12, levels=1), 1)
        self.assertLen(rmac.regions(12, 12, levels=4), 30)
        self.assertGreater(len(rmac.regions(12, 24, overlap=0.8)), len(rmac.regions(12, 24, overlap=0.1)))

    @parameterized.parameters((0, 3, 3), (3, 0, 3), (3, 3, 0))
    def test_empty_maps_and_pyramids_are_refused(self, height, width, levels):
        with self.assertRaisesRegex(ValueError, "at least one row, column and level"):
            rmac.regions(height, width, levels=levels)


class MaxOverRegionsTest(absltest.TestCase):
    def test_against_slices(self):
        features = np.random.default_rng(0).random((9, 14, 5)).astype(np.float32)
        boxes = rmac.regions(9, 14)
        padded, valid = rmac.pad_regions(boxes)
        self.assertEqual((padded.shape, valid.shape, int(valid.sum())), ((50, 4), (50,), len(boxes)))
        actual = rmac.max_over_regions(jnp.asarray(features), jnp.asarray(padded), jnp.asarray(valid))
        for row, (x1, y1, x2, y2) in zip(actual, boxes, strict=False):
            np.testing.assert_array_equal(row, features[y1:y2, x1:x2].max(axis=(0, 1)))
        np.testing.assert_array_equal(actual[len(boxes) :], np.zeros((50 - len(boxes), 5)))

    def test_an_invalid_box_is_not_pooled(self):
        boxes = jnp.array([[0, 0, 2, 2], [1, 1, 3, 3]])
        actual = rmac.max_over_regions(jnp.ones((3, 3, 2)), boxes, jnp.array([False, True]))
        np.testing.assert_array_equal(actual, [[0, 0], [1, 1]])

    def test_too_many_regions(self):
        with self.assertRaisesRegex(ValueError, "14 regions do not fit into 13"):
            rmac.pad_regions(rmac.regions(12, 12), 13)

    def test_aggregate_computes_the_descriptor_and_ignores_padding(self):
        features = np.random.default_rng(1).random((9, 14, 5)).astype(np.float32)
        training = np.random.default_rng(2).random((60, 5))
        whitening = descriptors.fit_pca_whitening(training)
        vectors = [features[y1:y2, x1:x2].max(axis=(0, 1)) for x1, y1, x2, y2 in _regions(9, 14)]
        expected = oracles.descriptor(vectors, *oracles.whitening(training, 5))
        padded, valid = rmac.pad_regions(rmac.regions(9, 14))
        actual = descriptors.aggregate(
            rmac.max_over_regions(jnp.asarray(features), jnp.asarray(padded), jnp.asarray(valid)), whitening
        )
        # The signs of directions are arbitrary.
        np.testing.assert_allclose(np.abs(actual), np.abs(expected), atol=1e-5)


CHANNELS = 6
UNIT = 0.5


def _quantized(maps, unit=UNIT):
    return np.floor(np.minimum(maps.astype(np.float64) / unit, 8.0) + 15.0 / 16.0)


def _maps(seed, shape):
    """Returns sparse random maps with values far from the steps of the quantisation."""
    random = np.random.default_rng(seed)
    steps = random.integers(1, 9, (*shape, CHANNELS)) - 0.4
    return (UNIT * steps * (random.random((*shape, CHANNELS)) < 0.2)).astype(np.float32)


def _reader(maps):
    return lambda row: maps[row]


class QuantizationUnitTest(absltest.TestCase):
    def test_an_eighth_of_the_99th_percentile_of_positive_activations(self):
        values = np.arange(1.0, 102.0, dtype=np.float32)  # the 99th percentile of 1 to 101 is 100
        maps = [np.zeros((3, 4, 2), np.float32), values[:41].reshape(1, 41, 1), values[41:].reshape(6, 10, 1)]
        self.assertAlmostEqual(rmac.quantization_unit(maps), 100.0 / 8, places=6)

    def test_dead_network(self):
        self.assertEqual(rmac.quantization_unit([np.zeros((3, 4, 2), np.float32)]), 1.0)


class RmacWindowsTest(parameterized.TestCase):
    @parameterized.parameters(True, False)
    def test_against_brute_force(self, whitened):
        maps = [_maps(seed, shape) for seed, shape in enumerate([(9, 12), (8, 8), (5, 11)])]
        training = np.random.default_rng(5).random((80, CHANNELS))
        whitening = WhiteningConfig().fit(training, "toy") if whitened else None
        fitted = oracles.whitening(training, CHANNELS) if whitened else ()
        generator = np.random.default_rng(6)
        maxima, query = generator.random(CHANNELS).astype(np.float32), generator.normal(size=CHANNELS)
        if whitened:  # the signs of directions are arbitrary: the oracle's signs are changed to the library's
            signs = np.sign(np.sum(np.asarray(whitening.projection) * fitted[1], axis=0))
            fitted = fitted[0], fitted[1] * signs
        windows = rmac.RmacWindows(_reader(maps), whitening, UNIT)
        rows = np.array([2, 0, 1])
        scores, vectors = windows.search(maxima, jnp.asarray(query, jnp.float32), 0.75, rows)
        for row, score, vector in zip(rows, scores, vectors, strict=True):
            quantized = _quantized(maps[row])
            (x1, y1, x2, y2), _ = brute_force_localize(quantized, maxima.astype(np.float64), 0.75)
            expected = oracles.descriptor(region_maxima(quantized[y1:y2, x1:x2]), *fitted)
            np.testing.assert_allclose(vector, expected, atol=1e-4)
            self.assertAlmostEqual(float(score), float(expected @ query), delta=2e-4)

    def _planted(self):
        """Returns a query of 5 x 8 cells, and images with none, half and all of the query in a background."""
        query = np.zeros((5, 8, CHANNELS), np.float32)
        query[0, 0, 0], query[4, 7, 1], query[0, 7, 2], query[2, 0, 3] = 8 * UNIT, 4 * UNIT, 6 * UNIT, 2 * UNIT
        background = np.zeros((16, 20, CHANNELS), np.float32)
        background[..., 4:] = 3 * UNIT
        with_query, with_half = background.copy(), background.copy()
        with_query[4:9, 2:10] = query
        with_half[4:9, 6:10] = query[:, 4:]
        return query, [background, with_half, with_query]

    def test_finds_a_pasted_query(self):
        query, maps = self._planted()
        descriptor = oracles.descriptor(region_maxima(_quantized(query)))
        windows = rmac.RmacWindows(_reader(maps), None, UNIT)
        maxima = query.max(axis=(0, 1))
        scores, vectors = windows.search(maxima, jnp.asarray(descriptor, jnp.float32), 5 / 8, np.arange(3))
        self.assertAlmostEqual(float(scores[2]), 1.0, delta=1e-5)
        np.testing.assert_allclose(vectors[2], descriptor, atol=1e-5)
        self.assertLess(scores[0], scores[1])
        self.assertLess(scores[1], 0.95)

    def test_aspect_is_rows_over_columns(self):
        """Of a portrait and a landscape pattern, the window has the query's shape."""
        maps = np.zeros((12, 12, 4), np.float32)
        maps[0:5, 0:2, 0] = maps[6:8, 6:11, 0] = 8 * UNIT
        maps[0:5, 0:2, 1], maps[6:8, 6:11, 2] = 4 * UNIT, 4 * UNIT
        maps[..., 3] = 8 * UNIT - maps[..., 0]
        windows = rmac.RmacWindows(_reader([maps]), None, UNIT)
        for aspect, channel in ((2.5, 1), (0.4, 2)):
            _, vectors = windows.search(np.eye(4, dtype=np.float32)[0], jnp.ones(4), aspect, np.array([0]))
            self.assertEqual(np.flatnonzero(vectors[0] > 1e-6).tolist(), [0, channel])

    @parameterized.parameters(
        ((0, 20, 50, 10), 1, [1, 2, 0, 3]),  # the mean of 31 and 20 is 25.5
        ((0, 20, 54, 10), 1, [1, 0, 2, 3]),
        ((0, 20, 54, 10), 2, [1, 2, 0, 3]),  # the mean of 31, 20 and 54 is 35
    )
    def test_re_ranking_by_the_mean_of_the_query_and_the_best_windows(self, degrees, expansion, expected):
        """Windows are at angles ``degrees`` on a circle, and the query is at 31; the last image is not re-ranked."""
        points = np.stack([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))], axis=1).astype(np.float32)
        query = jnp.asarray([np.cos(np.radians(31)), np.sin(np.radians(31))], jnp.float32)
        maxima = np.ones(2, np.float32)
        windows = rmac.RmacWindows(_reader([]), None, UNIT)
        with mock.patch.object(
            rmac.RmacWindows, "search", side_effect=lambda *args: (points[args[-1]] @ query, points[args[-1]])
        ) as search:
            order = np.array([0, 2, 1, 3])
            ranking = windows.rerank(order, maxima, query, 0.75, count=3, expansion=expansion)
        self.assertEqual((search.call_args.args[2], search.call_args.args[3].tolist()), (0.75, [0, 2, 1]))
        self.assertEqual(ranking.tolist(), expected)

    def test_reads_only_the_maps_of_the_rows(self):
        maps = {7: _maps(7, (6, 9)), 3: _maps(3, (9, 6))}
        windows = rmac.RmacWindows(maps.__getitem__, None, UNIT)
        arguments = np.ones(CHANNELS, np.float32), jnp.ones(CHANNELS), 1.0
        scores, vectors = windows.search(*arguments, np.array([7, 3]))
        self.assertEqual((scores.shape, vectors.shape), ((2,), (2, CHANNELS)))
        score, _ = windows.search(*arguments, np.array([3]))
        np.testing.assert_allclose(score[0], scores[1], atol=1e-6)

    def test_degenerate_maps_and_queries(self):
        """Results are finite for maps of zeros, maps of one row and queries of zeros."""
        maps = [np.zeros((6, 9, CHANNELS), np.float32), _maps(1, (1, 1)) + UNIT, _maps(2, (1, 7))]
        training = np.random.default_rng(5).random((80, CHANNELS))
        windows = rmac.RmacWindows(_reader(maps), WhiteningConfig().fit(training, "toy"), UNIT)
        for maxima in (np.ones(CHANNELS, np.float32), np.zeros(CHANNELS, np.float32)):
            scores, vectors = windows.search(maxima, jnp.ones(CHANNELS), 1.0, np.arange(3))
            self.assertTrue(np.isfinite(scores).all() and np.isfinite(vectors).all())
            self.assertEqual(float(scores[0]), 0.0)
            np.testing.assert_array_equal(vectors[0], np.zeros(CHANNELS))
            self.assertAlmostEqual(float(np.linalg.norm(vectors[1])), 1.0, places=5)


if __name__ == "__main__":
    absltest.main()
