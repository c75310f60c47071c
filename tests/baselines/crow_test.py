import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest
from hypothesis import given, settings
from hypothesis import strategies as st

from cwcf_jax import descriptors
from cwcf_jax.arrays import valid_mask
from cwcf_jax.baselines import crow
from tests.support import oracles

pool = jax.jit(crow.crow_pool)


def _crow(features):
    """Computes S, then S', then v_k in float64."""
    features = features.astype(np.float64)
    total = features.sum(axis=2)
    spatial = (total / np.sqrt((total**2).sum())) ** 0.5
    weights = oracles.channel_weights(features)
    return np.array([weights[k] * (spatial * features[..., k]).sum() for k in range(features.shape[2])])


def _features(seed, shape=(4, 5, 6)):
    return np.maximum(np.random.default_rng(seed).normal(size=shape), 0).astype(np.float32)


class SpatialWeightsTest(absltest.TestCase):
    def test_hand_worked(self):
        # The sums (3, 4) have norm 5: weights sqrt(.6) and sqrt(.8). A cell without activation has weight 0.
        features = jnp.array([[[1.0, 2.0], [4.0, 0.0], [0.0, 0.0]]])
        actual = crow.spatial_weights(features, jnp.ones((1, 3), bool))
        np.testing.assert_allclose(actual, np.sqrt([[0.6, 0.8, 0.0]]), rtol=1e-6)

    def test_the_norm_is_over_the_region(self):
        features = jnp.array([[[1.0, 2.0], [4.0, 0.0], [9.0, 9.0]]])
        actual = crow.spatial_weights(features, jnp.array([[True, True, False]]))
        np.testing.assert_allclose(actual, np.sqrt([[0.6, 0.8, 0.0]]), rtol=1e-6)


class CrowPoolTest(absltest.TestCase):
    @settings(deadline=None, max_examples=40)
    @given(st.integers(0, 1000), st.integers(2, 4), st.integers(2, 5))
    def test_against_the_definition_on_any_size(self, seed, height, width):
        features = _features(seed)
        region = valid_mask(jnp.array([height, width]), (4, 5))
        actual = pool(jnp.asarray(features), region)
        np.testing.assert_allclose(actual, _crow(features[:height, :width]), rtol=1e-4, atol=1e-5)

    def test_region_equals_cropped_maps(self):
        features = _features(0)
        region = np.zeros((4, 5), bool)
        region[1:3, 2:5] = True
        actual = crow.crow_pool(jnp.asarray(features), jnp.asarray(region))
        np.testing.assert_allclose(actual, _crow(features[1:3, 2:5]), rtol=1e-4, atol=1e-5)

    def test_without_weights_it_is_ucrow(self):
        features = jnp.asarray(_features(0))
        constant = jnp.where(jnp.arange(6)[None, None, :] == 2, 1.0, features * 0)
        region = jnp.ones((4, 5), bool)
        # Only one channel is active, with equal cells: its channel weight is log(1) = 0, and S' = 20^(-1/4).
        np.testing.assert_allclose(crow.spatial_weights(constant, region), np.full((4, 5), 20**-0.25), rtol=1e-6)
        np.testing.assert_array_equal(crow.crow_pool(constant, region), np.zeros(6))
        np.testing.assert_allclose(descriptors.sum_pool(constant, region), [0, 0, 20, 0, 0, 0])

    def test_nothing_active_gives_zero_and_finite_gradients(self):
        region = jnp.ones((4, 5), bool)
        np.testing.assert_array_equal(crow.crow_pool(jnp.zeros((4, 5, 6)), region), np.zeros(6))
        np.testing.assert_array_equal(crow.crow_pool(jnp.asarray(_features(0)), ~region), np.zeros(6))
        partly_zero = jnp.asarray(_features(0)).at[1].set(0.0).at[..., 2].set(0.0)
        gradient = jax.grad(lambda x: jnp.sum(crow.crow_pool(x, region)))(partly_zero)
        self.assertTrue(bool(jnp.isfinite(gradient).all()))


if __name__ == "__main__":
    absltest.main()
