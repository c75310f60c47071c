import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest
from hypothesis import given, settings
from hypothesis import strategies as st

from cwcf_jax.baselines import spoc

pool = jax.jit(spoc.spoc_pool)


def _spoc(features):
    """Computes the formula cell by cell in float64."""
    height, width, channels = features.shape
    s = (min(height, width) / 2) / 3
    total = np.zeros(channels)
    for y in range(height):
        for x in range(width):
            square = (x - (width - 1) / 2) ** 2 + (y - (height - 1) / 2) ** 2
            total += np.exp(-square / (2 * s**2)) * features[y, x]
    return total


class SpocPoolTest(absltest.TestCase):
    def test_hand_worked(self):
        # In 3 x 3 cells, s = 1/2: a neighbour of the centre has weight exp(-2), and a corner exp(-4).
        prior = spoc.centre_prior(jnp.array([3, 3]), (3, 4))
        side, corner = np.exp(-2), np.exp(-4)
        expected = [[corner, side, corner, 0], [side, 1, side, 0], [corner, side, corner, 0]]
        np.testing.assert_allclose(prior, expected, rtol=1e-6)

    @settings(deadline=None, max_examples=40)
    @given(st.integers(0, 1000), st.integers(1, 7), st.integers(1, 9))
    def test_against_the_definition_on_any_size(self, seed, height, width):
        features = np.random.default_rng(seed).random((7, 9, 4)).astype(np.float32)
        actual = pool(jnp.asarray(features), jnp.array([height, width]))
        np.testing.assert_allclose(actual, _spoc(features[:height, :width]), rtol=1e-5)

    def test_one_cell_has_weight_1(self):
        features = jnp.arange(24.0).reshape(2, 3, 4)
        np.testing.assert_array_equal(spoc.spoc_pool(features, jnp.array([1, 1])), features[0, 0])

    def test_no_cells(self):
        actual = spoc.spoc_pool(jnp.ones((2, 3, 4)), jnp.array([0, 0]))
        np.testing.assert_array_equal(actual, np.zeros(4))

    def test_bfloat16_maps_accumulate_in_float32(self):
        features = np.random.default_rng(0).random((40, 40, 2)).astype(jnp.bfloat16)
        actual = spoc.spoc_pool(jnp.asarray(features), jnp.array([40, 40]))
        np.testing.assert_allclose(actual, _spoc(features.astype(np.float64)), rtol=1e-5)


if __name__ == "__main__":
    absltest.main()
