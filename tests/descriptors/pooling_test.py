import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized
from hypothesis import given, settings
from hypothesis import strategies as st

from cwcf_jax import descriptors
from cwcf_jax.arrays import valid_mask
from cwcf_jax.descriptors import pooling
from tests.support import oracles


def _features(seed, shape=(4, 5, 6)):
    return np.maximum(np.random.default_rng(seed).normal(size=shape), 0).astype(np.float32)


def _class_vectors(features, cams, region):
    sums = descriptors.class_sums(features, cams, region)
    return descriptors.class_vectors(sums, descriptors.channel_weights(features, region))


class ChannelWeightsTest(absltest.TestCase):
    def test_hand_worked(self):
        # Of 2 x 2 cells, channel 0 is positive in 4 and channel 1 in 1: Q = (1, .25), weights log(1.25), log(5).
        features = jnp.array([[[1.0, 0.0], [2.0, 0.0]], [[1.0, 3.0], [1.0, 0.0]]])
        actual = descriptors.channel_weights(features, jnp.ones((2, 2), bool))
        np.testing.assert_allclose(actual, np.log([1.25, 5.0]), rtol=1e-6)

    @settings(deadline=None, max_examples=30)
    @given(st.integers(0, 1000), st.integers(1, 4), st.integers(1, 5))
    def test_against_the_definition_on_any_region(self, seed, height, width):
        features = _features(seed)
        region = valid_mask(jnp.array([height, width]), (4, 5))
        actual = descriptors.channel_weights(jnp.asarray(features), region)
        np.testing.assert_allclose(actual, oracles.channel_weights(features[:height, :width]), atol=1e-5)

    def test_dead_channels(self):
        features = jnp.asarray(_features(0)).at[..., 2].set(0.0)
        actual = descriptors.channel_weights(features, jnp.ones((4, 5), bool))
        self.assertEqual(float(actual[2]), 0.0)
        self.assertTrue(bool(jnp.isfinite(actual).all()))
        dead = descriptors.channel_weights(jnp.zeros((4, 5, 6)), jnp.ones((4, 5), bool))
        np.testing.assert_array_equal(dead, np.zeros(6))


class ClassVectorsTest(absltest.TestCase):
    def test_equation_4(self):
        features, cams = _features(0), _features(1, (4, 5, 3))
        actual = _class_vectors(jnp.asarray(features), jnp.asarray(cams), jnp.ones((4, 5), bool))
        for c in range(3):
            np.testing.assert_allclose(actual[c], oracles.class_vector(features, cams[..., c]), rtol=1e-4, atol=1e-5)

    def test_region_equals_cropped_maps(self):
        features, cams = _features(0), _features(1, (4, 5, 3))
        region = np.zeros((4, 5), bool)
        region[1:3, 2:5] = True
        actual = _class_vectors(jnp.asarray(features), jnp.asarray(cams), jnp.asarray(region))
        expected = _class_vectors(jnp.asarray(features[1:3, 2:5]), jnp.asarray(cams[1:3, 2:5]), jnp.ones((2, 3), bool))
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)

    def test_no_evidence_gives_zero(self):
        actual = _class_vectors(jnp.asarray(_features(0)), jnp.zeros((4, 5, 2)), jnp.ones((4, 5), bool))
        np.testing.assert_array_equal(actual, np.zeros((2, 6)))

    def test_several_images_with_and_without_channel_weights(self):
        sums, weights = np.arange(12.0).reshape(2, 3, 2), np.array([[1.0, 2.0], [0.0, 3.0]])
        actual = descriptors.class_vectors(sums, weights)
        np.testing.assert_array_equal(actual[0], [[0, 2], [2, 6], [4, 10]])
        np.testing.assert_array_equal(actual[1], [[0, 21], [0, 27], [0, 33]])
        np.testing.assert_array_equal(descriptors.class_vectors(sums, None), sums)

    def test_bfloat16_maps_accumulate_in_float32(self):
        features = jnp.ones((64, 64, 1), jnp.bfloat16)
        cams = jnp.ones((64, 64, 1), jnp.float32)
        region = jnp.ones((64, 64), bool)
        self.assertEqual(float(descriptors.class_sums(features, cams, region)[0, 0]), 4096.0)
        self.assertEqual(float(descriptors.sum_pool(features, region)[0]), 4096.0)


class SumPoolTest(absltest.TestCase):
    def test_region_only(self):
        features = _features(0)
        region = np.random.default_rng(1).random((4, 5)) < 0.5
        actual = descriptors.sum_pool(jnp.asarray(features), jnp.asarray(region))
        np.testing.assert_allclose(actual, features[region].sum(axis=0), rtol=1e-5)
        mean = descriptors.mean_pool(jnp.asarray(features), jnp.asarray(region))
        np.testing.assert_allclose(mean, features[region].mean(axis=0), rtol=1e-5)


class MaxPoolTest(absltest.TestCase):
    def test_region_only(self):
        features = np.random.default_rng(0).normal(size=(4, 5, 6)).astype(np.float32)
        region = np.random.default_rng(1).random((4, 5)) < 0.3
        actual = pooling.max_pool(jnp.asarray(features), jnp.asarray(region))
        np.testing.assert_array_equal(actual, features[region].max(axis=0))

    def test_no_cells(self):
        actual = pooling.max_pool(jnp.ones((4, 5, 6)), jnp.zeros((4, 5), bool))
        np.testing.assert_array_equal(actual, np.zeros(6))


class GemPoolTest(parameterized.TestCase):
    def test_hand_worked(self):
        # Cells 1, 2, 3 and a negative cell, which counts as 0: (36 / 4)^(1/3).
        features = jnp.array([[[1.0], [2.0]], [[3.0], [-5.0]]])
        actual = pooling.gem_pool(features, jnp.ones((2, 2), bool))
        np.testing.assert_allclose(actual, [9 ** (1 / 3)], rtol=1e-6)

    @parameterized.parameters(1.0, 2.5, 3.0, 10.0)
    def test_against_the_definition(self, p):
        features = _features(0)
        region = np.random.default_rng(1).random((4, 5)) < 0.5
        actual = pooling.gem_pool(jnp.asarray(features), jnp.asarray(region), p)
        cells = features[region].astype(np.float64)
        np.testing.assert_allclose(actual, np.mean(cells**p, axis=0) ** (1 / p), rtol=1e-5)

    @settings(deadline=None, max_examples=30)
    @given(st.integers(0, 1000), st.floats(-30, 30))
    def test_between_mean_and_maximum_at_any_scale(self, seed, exponent):
        features = jnp.asarray(_features(seed) * np.float32(10.0**exponent))
        region = jnp.ones((4, 5), bool)
        actual = np.asarray(pooling.gem_pool(features, region, 4.0))
        self.assertTrue(np.all(actual >= np.asarray(pooling.mean_pool(features, region)) * (1 - 1e-5)))
        self.assertTrue(np.all(actual <= np.asarray(pooling.max_pool(features, region)) * (1 + 1e-5)))

    def test_nothing_positive_gives_zero(self):
        region = jnp.ones((4, 5), bool)
        np.testing.assert_array_equal(pooling.gem_pool(jnp.full((4, 5, 2), -1.0), region), np.zeros(2))
        np.testing.assert_array_equal(pooling.gem_pool(jnp.ones((4, 5, 2)), ~region), np.zeros(2))

    def test_gradient(self):
        # d/dx (mean x^p)^(1/p) = x^(p-1) y^(1-p) / N for N cells and the result y; 0 outside the region.
        features = jnp.asarray(_features(0)).at[..., 2].set(0.0).at[3].set(1e30)
        region = valid_mask(jnp.array([3, 5]), (4, 5))
        actual = jax.grad(lambda x: jnp.sum(pooling.gem_pool(x, region)))(features)
        cells = np.asarray(features, np.float64)[:3]
        pooled = np.mean(cells**3, axis=(0, 1)) ** (1 / 3)
        expected = np.zeros((4, 5, 6))
        expected[:3] = cells**2 * np.where(pooled > 0, pooled, np.inf) ** -2.0 / 15
        np.testing.assert_allclose(actual, expected, atol=1e-6)

    def test_exponent_below_one(self):
        with self.assertRaisesRegex(ValueError, "at least 1, not 0.5"):
            pooling.gem_pool(jnp.ones((4, 5, 6)), jnp.ones((4, 5), bool), 0.5)


class CellMaskTest(absltest.TestCase):
    def test_columns_before_rows_and_exclusive_ends(self):
        mask = np.zeros((4, 5), bool)
        mask[2:3, 1:4] = True
        np.testing.assert_array_equal(pooling.cell_mask(jnp.array([1, 2, 4, 3]), (4, 5)), mask)


class StridedRegionMaskTest(parameterized.TestCase):
    def _mask(self, box, cells=(15, 20), shape=(16, 24)):
        return np.asarray(descriptors.strided_region_mask(jnp.array(box, jnp.float32), 16, jnp.array(cells), shape))

    @parameterized.parameters(
        # Cells are 16 pixels: rows floor(y1 / 16) to floor(y2 / 16), as in the authors' released code.
        ((0, 0, 320, 240), (0, 15, 0, 20)),
        ((33, 65, 95, 127), (4, 7, 2, 5)),
        ((32, 64, 96, 128), (4, 8, 2, 6)),
        ((31.9, 63.9, 95.9, 128.1), (3, 8, 1, 5)),
        # Boxes are clipped to the map: a box in pixels of the original picture exceeds a resized image.
        ((100, 100, 9000, 9000), (6, 15, 6, 20)),
        ((-40, -1, 40, 40), (0, 2, 0, 2)),
        # A box has at least the one cell nearest to it.
        ((33, 65, 40, 70), (4, 5, 2, 3)),
        ((40, 40, 40, 40), (2, 3, 2, 3)),
        ((900, 700, 950, 800), (14, 15, 19, 20)),
        ((-90, -70, -50, -10), (0, 1, 0, 1)),
        ((100, 100, 20, 20), (6, 7, 6, 7)),
    )
    def test_whole_strides(self, box, expected):
        top, bottom, left, right = expected
        mask = np.zeros((16, 24), bool)
        mask[top:bottom, left:right] = True
        np.testing.assert_array_equal(self._mask(box), mask)

    @settings(deadline=None, max_examples=60)
    @given(*[st.integers(-100, 900)] * 4, st.integers(1, 16), st.integers(1, 24))
    def test_against_integers(self, x1, y1, x2, y2, rows, columns):
        top, left = min(max(y1 // 16, 0), rows - 1), min(max(x1 // 16, 0), columns - 1)
        mask = np.zeros((16, 24), bool)
        mask[top : max(min(y2 // 16, rows), top + 1), left : max(min(x2 // 16, columns), left + 1)] = True
        np.testing.assert_array_equal(self._mask((x1, y1, x2, y2), cells=(rows, columns)), mask)


class RegionMaskTest(parameterized.TestCase):
    def _mask(self, box, image=(480, 640), cells=(15, 20), shape=(16, 24)):
        return np.asarray(
            descriptors.region_mask(jnp.array(box, jnp.float32), jnp.array(image), jnp.array(cells), shape)
        )

    @parameterized.parameters(
        # Cells are 32 pixels: rows floor(y1 / 32) to ceil(y2 / 32), columns floor(x1 / 32) to ceil(x2 / 32).
        ((0, 0, 640, 480), (0, 15, 0, 20)),
        ((33, 65, 63, 127), (2, 4, 1, 2)),
        ((32, 64, 64, 128), (2, 4, 1, 2)),
        ((31.9, 63.9, 64.1, 128.1), (1, 5, 0, 3)),
        ((40, 40, 40.5, 40.5), (1, 2, 1, 2)),
        # A box has at least the one cell nearest to it.
        ((40, 40, 40, 40), (1, 2, 1, 2)),
        ((900, 700, 950, 800), (14, 15, 19, 20)),
        ((-90, -70, -50, -10), (0, 1, 0, 1)),
    )
    def test_cells_touched(self, box, expected):
        top, bottom, left, right = expected
        mask = np.zeros((16, 24), bool)
        mask[top:bottom, left:right] = True
        np.testing.assert_array_equal(self._mask(box), mask)

    def test_borders_of_cells_that_float32_rounds(self):
        """Row k of 13 begins at 50 k / 13 pixels; float32 rounds this border up for k = 5 and 10, and down for 9."""
        for k in range(1, 13):
            border = 50 * k / 13
            cells = descriptors.touched_cells(
                jnp.array([0.0, border, 1.0, border + 1]), jnp.array([50, 50]), jnp.array([13, 13])
            )
            self.assertEqual(cells.tolist()[1], k)
            cells = descriptors.touched_cells(
                jnp.array([0.0, border - 1, 1.0, border]), jnp.array([50, 50]), jnp.array([13, 13])
            )
            self.assertEqual(cells.tolist()[3], k)

    def test_the_cells_of_a_mask(self):
        cells = descriptors.touched_cells(jnp.array([33.0, 65, 63, 127]), jnp.array([480, 640]), jnp.array([15, 20]))
        self.assertEqual(cells.tolist(), [1, 2, 2, 4])  # x1 y1 x2 y2

    @settings(deadline=None, max_examples=60)
    @given(*[st.integers(0, 639)] * 4)
    def test_against_integers(self, x1, y1, x2, y2):
        x1, x2 = min(x1, x2), max(x1, x2) + 1
        y1, y2 = min(y1, y2) % 480, max(y1, y2) % 480 + 1
        y1, y2 = min(y1, y2 - 1), max(y1 + 1, y2)
        mask = np.zeros((16, 24), bool)
        mask[y1 * 15 // 480 : -(-y2 * 15 // 480), x1 * 20 // 640 : -(-x2 * 20 // 640)] = True
        np.testing.assert_array_equal(self._mask((x1, y1, x2, y2)), mask)

    def test_one_cell_region_is_finite(self):
        features = jnp.asarray(_features(0, (1, 1, 3)))
        region = descriptors.region_mask(jnp.zeros(4), jnp.array([5, 5]), jnp.array([1, 1]), (1, 1))
        actual = jax.tree.map(
            np.asarray, (descriptors.channel_weights(features, region), descriptors.sum_pool(features, region))
        )
        self.assertTrue(all(np.isfinite(array).all() for array in actual))
        self.assertTrue(bool(region[0, 0]))


if __name__ == "__main__":
    absltest.main()
