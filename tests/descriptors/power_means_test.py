"""Tests of power means weighted by CAMs, against the definition in float64."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized
from hypothesis import given, settings
from hypothesis import strategies as st

from cwcf_jax import descriptors
from tests.support import oracles

WHOLE = np.ones((4, 5), bool)


_compiled = jax.jit(descriptors.class_power_means, static_argnames="p")


def _means(features, cams, region=WHOLE, p=3.0):
    return _compiled(features, cams, region, p=p)


def _maps(seed):
    """Returns random features after a ReLU, and three CAMs without negative values."""
    random = np.random.default_rng(seed)
    features = np.maximum(random.normal(size=(4, 5, 6)), 0).astype(np.float32)
    return features, np.maximum(random.normal(size=(4, 5, 3)), 0).astype(np.float32)


def _expected(features, cams, region=WHOLE, p=3.0):
    cells, weights = features[region].astype(np.float64)[None], cams[region].astype(np.float64)[None]
    return np.stack([oracles.class_power_mean(cells, weights[..., c], p) for c in range(cams.shape[2])])


class ClassPowerMeansTest(parameterized.TestCase):
    def test_hand_worked(self):
        # Cells 1, 2, 3, 4 with the weights 1 0 1 0 and 0 0 .5 0: ((1 + 27) / 2)^(1/3), and 3.
        features = jnp.array([[[1.0], [2.0]], [[3.0], [4.0]]])
        cams = jnp.array([[[1.0, 0.0], [0.0, 0.0]], [[1.0, 0.5], [0.0, 0.0]]])
        actual = descriptors.class_power_means(features, cams, jnp.ones((2, 2), bool))
        np.testing.assert_allclose(actual, [[14 ** (1 / 3)], [3.0]], rtol=1e-6)

    @parameterized.parameters(1.0, 2.5, 3.0, 10.0)
    def test_against_the_definition_on_any_region(self, p):
        for seed in range(5):
            features, cams = _maps(seed)
            region = np.random.default_rng(seed + 9).random((4, 5)) < 0.5
            np.testing.assert_allclose(
                _means(features, cams, region, p=p), _expected(features, cams, region, p), rtol=1e-5
            )

    def test_values_of_any_size(self):
        """Values from 1e-6 to 1e5 in one map: in one channel, or in a region without the channel's largest value."""
        random = np.random.default_rng(0)
        features = (10.0 ** random.uniform(-6, 5, (4, 5, 6))).astype(np.float32)
        features[..., 1] *= np.float32(1e-30)
        features[..., 2] = np.float32(1e5)
        features[..., 3] = np.float32(1e-6)
        features[0, 0, 3] = np.float32(1e5)
        features[..., 4] = np.float32(1e30)
        cams = _maps(1)[1]
        for region in (WHOLE, np.arange(20).reshape(4, 5) >= 5):
            np.testing.assert_allclose(_means(features, cams, region), _expected(features, cams, region), rtol=1e-5)

    def test_no_evidence_gives_zero(self):
        features, cams = _maps(0)
        cams[..., 1] = 0
        features[..., 2] = 0
        actual = _means(features, cams)
        np.testing.assert_array_equal(actual[1], np.zeros(6))
        np.testing.assert_array_equal(actual[:, 2], np.zeros(3))
        self.assertTrue(np.all(np.asarray(actual[0, [0, 1, 3, 4, 5]]) > 0))
        np.testing.assert_array_equal(_means(features, cams, ~WHOLE), np.zeros((3, 6)))
        np.testing.assert_array_equal(_means(np.zeros_like(features), cams), np.zeros((3, 6)))

    def test_negative_values_count_as_zero(self):
        random = np.random.default_rng(0)
        features, cams = (random.normal(size=(4, 5, n)).astype(np.float32) for n in (6, 3))
        expected = _expected(np.maximum(features, 0), np.maximum(cams, 0))
        np.testing.assert_allclose(_means(features, cams), expected, rtol=1e-5)

    def test_bfloat16_maps_accumulate_in_float32(self):
        features = jnp.full((64, 64, 1), 1.0 + 2**-7, jnp.bfloat16)
        actual = descriptors.class_power_means(features, jnp.ones((64, 64, 1)), jnp.ones((64, 64), bool))
        self.assertEqual(actual.dtype, jnp.float32)
        np.testing.assert_allclose(actual, [[1.0 + 2**-7]], rtol=1e-6)

    @parameterized.parameters(0.99, -3.0, float("nan"), float("inf"))
    def test_invalid_exponents(self, p):
        with self.assertRaisesRegex(ValueError, f"at least 1 and finite, not {p}"):
            _means(*_maps(0), p=p)


class PropertiesTest(absltest.TestCase):
    @settings(deadline=None, max_examples=30)
    @given(st.integers(0, 1000), st.floats(-30, 30), st.floats(-30, 30))
    def test_scales(self, seed, map_exponent, feature_exponent):
        """The scale of a CAM has no effect; the result is proportional to the scale of the features."""
        features, cams = _maps(seed)
        scale = np.float32(10.0**feature_exponent)
        actual = _means(features * scale, cams * np.float32(10.0**map_exponent))
        np.testing.assert_allclose(actual, np.asarray(_means(features, cams)) * scale, rtol=1e-5)

    @settings(deadline=None, max_examples=30)
    @given(st.integers(0, 1000))
    def test_from_the_mean_to_the_maximum(self, seed):
        """p = 1 is Eq. 4 over the sum of the CAM; means grow with p up to the maximum where the CAM is positive."""
        features, cams = _maps(seed)
        sums = np.einsum("hwk,hwn->nk", features, cams) / cams.sum(axis=(0, 1))[:, None]
        means = [np.asarray(_means(features, cams, p=p)) for p in (1.0, 2.5, 3.0, 6.0)]
        np.testing.assert_allclose(means[0], sums, rtol=1e-5, atol=1e-7)
        for smaller, larger in itertools.pairwise(means):
            self.assertTrue(np.all(larger >= smaller * (1 - 1e-5)))
        maxima = np.where(cams[:, :, :, None] > 0, features[:, :, None, :], 0).max(axis=(0, 1))
        min_shares = np.min(cams / cams.sum(axis=(0, 1)), axis=(0, 1), where=cams > 0, initial=1.0)
        near_limit = np.asarray(_means(features, cams, p=30.0))
        self.assertTrue(np.all(near_limit <= maxima * (1 + 1e-5)))
        # The mean is at least the maximum times (the share of one cell)^(1 / p); small values may count as 0.
        large = maxima > 0.1 * features.max(axis=(0, 1))
        self.assertTrue(np.all(near_limit[large] >= (maxima * min_shares[:, None] ** (1 / 30))[large] * (1 - 1e-4)))


class GradientTest(parameterized.TestCase):
    @parameterized.parameters(1.0, 3.0, 2.5)
    def test_against_finite_differences(self, p):
        random = np.random.default_rng(0)
        features, cams = _maps(0)
        features += np.float32(0.1)  # no value is near 0, where the gradient jumps
        cams += np.float32(0.1)
        region = random.random((4, 5)) < 0.6
        directions = random.normal(size=(3, 6))

        def objective(features, cams):
            return np.sum(directions * _expected(features.astype(np.float64), cams, region, p))

        def quotients(arrays, argument):
            result = np.zeros(arrays[argument].shape)
            for index in np.ndindex(result.shape):
                values = []
                for step in (1e-5, -1e-5):
                    changed = [array.astype(np.float64) for array in arrays]
                    changed[argument][index] += step
                    values.append(objective(*changed))
                result[index] = (values[0] - values[1]) / 2e-5
            return result

        actual = jax.grad(lambda x, cam: jnp.sum(directions * _means(x, cam, region, p=p)), argnums=(0, 1))(
            features, cams
        )
        for argument in (0, 1):
            np.testing.assert_allclose(actual[argument], quotients([features, cams], argument), atol=2e-5)

    def test_the_cell_of_the_minimum_of_a_map(self):
        """A min-max map is 0 in this cell; the gradient is the slope towards positive values."""
        features, cams = _maps(0)
        index = (*np.argwhere(cams[..., 0] == 0)[0], 0)
        features[index[:2]] = 5.0
        changed = cams.astype(np.float64)
        changed[index] = 1e-7
        slope = (_expected(features, changed)[0].sum() - _expected(features, cams)[0].sum()) / 1e-7
        actual = jax.grad(lambda cam: jnp.sum(_means(features, cam)[0]))(cams)[index]
        np.testing.assert_allclose(actual, slope, rtol=1e-3)

    def test_zero_for_dead_channels_and_empty_maps(self):
        features, cams = _maps(0)
        features[..., 2] = 0
        cams[..., 1] = 0
        gradient = jax.jit(jax.grad(lambda x, cam: jnp.sum(_means(x, cam)), argnums=(0, 1)))
        features_gradient, cams_gradient = gradient(features, cams)
        self.assertTrue(bool(jnp.isfinite(features_gradient).all() & jnp.isfinite(cams_gradient).all()))
        np.testing.assert_array_equal(features_gradient[..., 2], 0)
        np.testing.assert_array_equal(cams_gradient[..., 1], 0)
        self.assertGreater(float(jnp.abs(features_gradient).max()), 0.0)
        for arguments in (np.zeros_like(features), cams), (features, np.zeros_like(cams)):
            for actual in gradient(*arguments):
                np.testing.assert_array_equal(actual, 0)

    def test_finite_at_any_size(self):
        gradient = jax.jit(jax.grad(lambda x, cam: jnp.sum(_means(x, cam)), argnums=(0, 1)))
        random = np.random.default_rng(0)
        for _ in range(5):
            features = (10.0 ** random.uniform(-6, 5, (4, 5, 6))).astype(np.float32)
            cams = (10.0 ** random.uniform(-30, 0, (4, 5, 3))).astype(np.float32)
            for actual in gradient(features, cams):
                self.assertTrue(bool(jnp.isfinite(actual).all()))


class TermsTest(parameterized.TestCase):
    @parameterized.parameters(1.0, 3.0)
    def test_terms_of_cells_sum_to_the_product(self, p):
        features, cams = _maps(3)
        features[..., 1] = 0
        cams[..., 2] = 0
        region = np.random.default_rng(0).random((4, 5)) < 0.7
        direction = np.random.default_rng(1).normal(size=6).astype(np.float32)
        actual = jax.jit(descriptors.power_mean_terms, static_argnames="p")(features, cams, region, direction, p=p)
        np.testing.assert_allclose(
            actual.sum(axis=(1, 2)), np.asarray(_means(features, cams, region, p=p)) @ direction, atol=1e-5
        )
        np.testing.assert_array_equal(np.asarray(actual)[:, ~region], 0)
        np.testing.assert_array_equal(actual[2], 0)


if __name__ == "__main__":
    absltest.main()
