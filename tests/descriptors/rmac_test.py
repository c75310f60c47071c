import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized
from hypothesis import given, settings
from hypothesis import strategies as st

from cwcf_jax import descriptors
from cwcf_jax.descriptors import rmac
from tests.support import oracles


def _regions(height, width):
    """The released geometry region by region, offsets as fractions of whole numbers."""
    short, long = min(height, width), max(height, width)
    extra = 0
    if height != width:
        misses = [abs((short**2 - short * (long - short) / (steps - 1)) / short**2 - 0.4) for steps in range(2, 8)]
        extra = misses.index(min(misses)) + 1
    found = []
    for level in (1, 2, 3):
        side = int(2 * short / (level + 1))
        down, across = level + (extra if height > width else 0), level + (extra if width > height else 0)
        for i in range(down):
            for j in range(across):
                top = i * (height - side) // (down - 1) if down > 1 else 0
                left = j * (width - side) // (across - 1) if across > 1 else 0
                if side > 0:
                    found.append((left, top, left + side, top + side))
    return np.array(found)


class RegionsTest(parameterized.TestCase):
    def test_square_has_14(self):
        # Sides 12, 8 and 6; 1, 4 and 9 regions.
        found = rmac.regions(12, 12)
        self.assertEqual(found.shape, (14, 4))
        self.assertEqual(found[0].tolist(), [0, 0, 12, 12])
        self.assertEqual(found[1:5].tolist(), [[0, 0, 8, 8], [4, 0, 12, 8], [0, 4, 8, 12], [4, 4, 12, 12]])
        self.assertEqual(found[5:8].tolist(), [[0, 0, 6, 6], [3, 0, 9, 6], [6, 0, 12, 6]])

    def test_hand_worked_landscape(self):
        # 24 x 32, VGG-16's pool5 at 768 x 1024: two regions of side 24 overlap by 2/3, three by 5/6; .4 is nearer 2/3,
        # so one more along the rows: 2 + 6 + 12 regions of sides 24, 16 and 12.
        found = rmac.regions(24, 32)
        self.assertLen(found, 20)
        self.assertEqual(found[:2].tolist(), [[0, 0, 24, 24], [8, 0, 32, 24]])
        self.assertEqual(found[2:5].tolist(), [[0, 0, 16, 16], [8, 0, 24, 16], [16, 0, 32, 16]])
        self.assertEqual(found[8:12].tolist(), [[0, 0, 12, 12], [6, 0, 18, 12], [13, 0, 25, 12], [20, 0, 32, 12]])

    def test_portrait_is_landscape_transposed(self):
        found = {tuple(box) for box in rmac.regions(41, 23)[:, [1, 0, 3, 2]].tolist()}
        self.assertEqual(found, {tuple(box) for box in rmac.regions(23, 41).tolist()})

    def test_tie_is_taken_as_rounding_takes_it(self):
        # 5 x 9: overlaps .2 and .6 are as far from .4; in doubles .6 - .4 < .4 - .2, so two more: 3 regions first.
        self.assertEqual(rmac.regions(5, 9)[:3, 0].tolist(), [0, 2, 4])

    @settings(deadline=None, max_examples=200)
    @given(st.integers(1, 60), st.floats(1, 3), st.booleans())
    def test_against_whole_numbers(self, short, aspect, portrait):
        height, width = (int(short * aspect), short) if portrait else (short, int(short * aspect))
        np.testing.assert_array_equal(rmac.regions(height, width), _regions(height, width))

    def test_last_offset_is_lost_where_the_released_code_loses_it(self):
        # 17 x 69: eight regions of side 8 begin at multiples of 61 / 7, the last at 60.99... in doubles.
        self.assertEqual(rmac.regions(17, 69)[-1].tolist(), [60, 9, 68, 17])

    def test_inside_the_map_and_within_the_bound(self):
        for short in range(1, 25):
            for long in range(short, 8 * short + 1):
                for height, width in ((short, long), (long, short)):
                    found = rmac.regions(height, width)
                    self.assertBetween(len(found), 1, rmac.MAX_REGIONS)
                    self.assertTrue(np.all(found[:, :2] >= 0) and np.all(found[:, 2:] <= [width, height]))
                    self.assertTrue(np.all(found[:, 2:] > found[:, :2]))
        self.assertLen(rmac.regions(10, 80), rmac.MAX_REGIONS)

    @parameterized.parameters((1, 1, [[0, 0, 1, 1]]), (1, 2, [[0, 0, 1, 1], [0, 0, 1, 1], [1, 0, 2, 1]]))
    def test_one_row(self, height, width, expected):
        # One row of two: overlaps 0 and .5 for two and three regions, .5 is nearer .4; coarser levels have no cells.
        self.assertEqual(rmac.regions(height, width).tolist(), expected)

    def test_two_by_two(self):
        self.assertLen(rmac.regions(2, 2), 14)
        self.assertLen(rmac.regions(40, 1), 7)

    def test_other_levels(self):
        self.assertLen(rmac.regions(12, 12, levels=1), 1)
        self.assertLen(rmac.regions(12, 12, levels=4), 30)
        self.assertGreater(len(rmac.regions(12, 24, overlap=0.8)), len(rmac.regions(12, 24, overlap=0.1)))

    @parameterized.parameters((0, 3, 3), (3, 0, 3), (3, 3, 0))
    def test_nothing_to_lay(self, height, width, levels):
        with self.assertRaisesRegex(ValueError, "at least one row, column and level"):
            rmac.regions(height, width, levels=levels)


class MaxOverRegionsTest(absltest.TestCase):
    def test_against_slices(self):
        features = np.random.default_rng(0).random((9, 14, 5)).astype(np.float32)
        boxes = rmac.regions(9, 14)
        padded, valid = rmac.pad_regions(boxes)
        self.assertEqual((padded.shape, valid.shape, int(valid.sum())), ((50, 4), (50,), len(boxes)))
        found = rmac.max_over_regions(jnp.asarray(features), jnp.asarray(padded), jnp.asarray(valid))
        for row, (x1, y1, x2, y2) in zip(found, boxes, strict=False):
            np.testing.assert_array_equal(row, features[y1:y2, x1:x2].max(axis=(0, 1)))
        np.testing.assert_array_equal(found[len(boxes) :], np.zeros((50 - len(boxes), 5)))

    def test_a_box_that_is_not_valid_is_not_pooled(self):
        boxes = jnp.array([[0, 0, 2, 2], [1, 1, 3, 3]])
        found = rmac.max_over_regions(jnp.ones((3, 3, 2)), boxes, jnp.array([False, True]))
        np.testing.assert_array_equal(found, [[0, 0], [1, 1]])

    def test_too_many_regions(self):
        with self.assertRaisesRegex(ValueError, "14 regions do not fit into 13"):
            rmac.pad_regions(rmac.regions(12, 12), 13)

    def test_aggregate_is_the_descriptor_and_padding_takes_no_part(self):
        features = np.random.default_rng(1).random((9, 14, 5)).astype(np.float32)
        training = np.random.default_rng(2).random((60, 5))
        whitening = descriptors.fit_pca_whitening(training)
        vectors = [features[y1:y2, x1:x2].max(axis=(0, 1)) for x1, y1, x2, y2 in _regions(9, 14)]
        expected = oracles.descriptor(vectors, *oracles.whitening(training, 5))
        padded, valid = rmac.pad_regions(rmac.regions(9, 14))
        found = descriptors.aggregate(
            rmac.max_over_regions(jnp.asarray(features), jnp.asarray(padded), jnp.asarray(valid)), whitening
        )
        # Directions have no sign of their own.
        np.testing.assert_allclose(np.abs(found), np.abs(expected), atol=1e-5)


if __name__ == "__main__":
    absltest.main()
