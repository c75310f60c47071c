"""Power means under class maps, against their definition in float64."""

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
    """Features as a ReLU leaves them, and three maps, positive or 0."""
    random = np.random.default_rng(seed)
    features = np.maximum(random.normal(size=(4, 5, 6)), 0).astype(np.float32)
    return features, np.maximum(random.normal(size=(4, 5, 3)), 0).astype(np.float32)


def _expected(features, cams, region=WHOLE, p=3.0):
    cells, weights = features[region].astype(np.float64)[None], cams[region].astype(np.float64)[None]
    return np.stack([oracles.class_power_mean(cells, weights[..., c], p) for c in range(cams.shape[2])])


class ClassPowerMeansTest(parameterized.TestCase):
    def test_hand_worked(self):
        # Cells 1, 2, 3, 4 under the maps 1 0 1 0 and 0 0 .5 0: ((1 + 27) / 2)^(1/3), and 3.
        features = jnp.array([[[1.0], [2.0]], [[3.0], [4.0]]])
        cams = jnp.array([[[1.0, 0.0], [0.0, 0.0]], [[1.0, 0.5], [0.0, 0.0]]])
        found = descriptors.class_power_means(features, cams, jnp.ones((2, 2), bool))
        np.testing.assert_allclose(found, [[14 ** (1 / 3)], [3.0]], rtol=1e-6)

    @parameterized.parameters(1.0, 2.5, 3.0, 10.0)
    def test_against_the_definition_on_any_region(self, p):
        for seed in range(5):
            features, cams = _maps(seed)
            region = np.random.default_rng(seed + 9).random((4, 5)) < 0.5
            np.testing.assert_allclose(
                _means(features, cams, region, p=p), _expected(features, cams, region, p), rtol=1e-5
            )

    def test_values_of_any_size(self):
        """From 1e-6 to 1e5 in one map, beside one another in one channel, or in another region than the largest."""
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
        found = _means(features, cams)
        np.testing.assert_array_equal(found[1], np.zeros(6))
        np.testing.assert_array_equal(found[:, 2], np.zeros(3))
        self.assertTrue(np.all(np.asarray(found[0, [0, 1, 3, 4, 5]]) > 0))
        np.testing.assert_array_equal(_means(features, cams, ~WHOLE), np.zeros((3, 6)))
        np.testing.assert_array_equal(_means(np.zeros_like(features), cams), np.zeros((3, 6)))

    def test_negative_values_count_as_zero(self):
        random = np.random.default_rng(0)
        features, cams = (random.normal(size=(4, 5, n)).astype(np.float32) for n in (6, 3))
        expected = _expected(np.maximum(features, 0), np.maximum(cams, 0))
        np.testing.assert_allclose(_means(features, cams), expected, rtol=1e-5)

    def test_bfloat16_maps_accumulate_in_float32(self):
        features = jnp.full((64, 64, 1), 1.0 + 2**-7, jnp.bfloat16)
        found = descriptors.class_power_means(features, jnp.ones((64, 64, 1)), jnp.ones((64, 64), bool))
        self.assertEqual(found.dtype, jnp.float32)
        np.testing.assert_allclose(found, [[1.0 + 2**-7]], rtol=1e-6)

    @parameterized.parameters(0.99, -3.0, float("nan"), float("inf"))
    def test_exponents_that_cannot_be(self, p):
        with self.assertRaisesRegex(ValueError, f"at least 1 and finite, not {p}"):
            _means(*_maps(0), p=p)


class PropertiesTest(absltest.TestCase):
    @settings(deadline=None, max_examples=30)
    @given(st.integers(0, 1000), st.floats(-30, 30), st.floats(-30, 30))
    def test_scales(self, seed, map_exponent, feature_exponent):
        """A map's scale changes nothing, that of the features comes out."""
        features, cams = _maps(seed)
        scale = np.float32(10.0**feature_exponent)
        found = _means(features * scale, cams * np.float32(10.0**map_exponent))
        np.testing.assert_allclose(found, np.asarray(_means(features, cams)) * scale, rtol=1e-5)

    @settings(deadline=None, max_examples=30)
    @given(st.integers(0, 1000))
    def test_from_the_mean_to_the_maximum(self, seed):
        """p = 1 is Eq. 4's sum over the sum of the map; means grow with p; their limit is where the map is positive."""
        features, cams = _maps(seed)
        sums = np.einsum("hwk,hwn->nk", features, cams) / cams.sum(axis=(0, 1))[:, None]
        means = [np.asarray(_means(features, cams, p=p)) for p in (1.0, 2.5, 3.0, 6.0)]
        np.testing.assert_allclose(means[0], sums, rtol=1e-5, atol=1e-7)
        for one, other in itertools.pairwise(means):
            self.assertTrue(np.all(other >= one * (1 - 1e-5)))
        largest = np.where(cams[:, :, :, None] > 0, features[:, :, None, :], 0).max(axis=(0, 1))
        least = np.min(cams / cams.sum(axis=(0, 1)), axis=(0, 1), where=cams > 0, initial=1.0)
        limit = np.asarray(_means(features, cams, p=30.0))
        self.assertTrue(np.all(limit <= largest * (1 + 1e-5)))
        # At least the share of one cell, to the power 1 / p, of the maximum; what is small in its channel may be 0.
        clear = largest > 0.1 * features.max(axis=(0, 1))
        self.assertTrue(np.all(limit[clear] >= (largest * least[:, None] ** (1 / 30))[clear] * (1 - 1e-4)))


class GradientTest(parameterized.TestCase):
    @parameterized.parameters(1.0, 3.0, 2.5)
    def test_against_finite_differences(self, p):
        random = np.random.default_rng(0)
        features, cams = _maps(0)
        features += np.float32(0.1)  # no kinks at hand
        cams += np.float32(0.1)
        region = random.random((4, 5)) < 0.6
        directions = random.normal(size=(3, 6))

        def objective(features, cams):
            return np.sum(directions * _expected(features.astype(np.float64), cams, region, p))

        def quotients(arrays, which):
            found = np.zeros(arrays[which].shape)
            for place in np.ndindex(found.shape):
                ends = []
                for step in (1e-5, -1e-5):
                    moved = [array.astype(np.float64) for array in arrays]
                    moved[which][place] += step
                    ends.append(objective(*moved))
                found[place] = (ends[0] - ends[1]) / 2e-5
            return found

        found = jax.grad(lambda x, cam: jnp.sum(directions * _means(x, cam, region, p=p)), argnums=(0, 1))(
            features, cams
        )
        for which in (0, 1):
            np.testing.assert_allclose(found[which], quotients([features, cams], which), atol=2e-5)

    def test_the_cell_where_a_map_is_least(self):
        """A min-max map is 0 there; the slope towards positive values is meant."""
        features, cams = _maps(0)
        place = (*np.argwhere(cams[..., 0] == 0)[0], 0)
        features[place[:2]] = 5.0
        moved = cams.astype(np.float64)
        moved[place] = 1e-7
        slope = (_expected(features, moved)[0].sum() - _expected(features, cams)[0].sum()) / 1e-7
        found = jax.grad(lambda cam: jnp.sum(_means(features, cam)[0]))(cams)[place]
        np.testing.assert_allclose(found, slope, rtol=1e-3)

    def test_zero_where_there_is_nothing(self):
        features, cams = _maps(0)
        features[..., 2] = 0
        cams[..., 1] = 0
        gradient = jax.jit(jax.grad(lambda x, cam: jnp.sum(_means(x, cam)), argnums=(0, 1)))
        for_features, for_cams = gradient(features, cams)
        self.assertTrue(bool(jnp.isfinite(for_features).all() & jnp.isfinite(for_cams).all()))
        np.testing.assert_array_equal(for_features[..., 2], 0)
        np.testing.assert_array_equal(for_cams[..., 1], 0)
        self.assertGreater(float(jnp.abs(for_features).max()), 0.0)
        for nothing in (np.zeros_like(features), cams), (features, np.zeros_like(cams)):
            for found in gradient(*nothing):
                np.testing.assert_array_equal(found, 0)

    def test_finite_at_any_size(self):
        gradient = jax.jit(jax.grad(lambda x, cam: jnp.sum(_means(x, cam)), argnums=(0, 1)))
        random = np.random.default_rng(0)
        for _ in range(5):
            features = (10.0 ** random.uniform(-6, 5, (4, 5, 6))).astype(np.float32)
            cams = (10.0 ** random.uniform(-30, 0, (4, 5, 3))).astype(np.float32)
            for found in gradient(features, cams):
                self.assertTrue(bool(jnp.isfinite(found).all()))


class TermsTest(parameterized.TestCase):
    @parameterized.parameters(1.0, 3.0)
    def test_terms_of_cells_sum_to_the_product(self, p):
        features, cams = _maps(3)
        features[..., 1] = 0
        cams[..., 2] = 0
        region = np.random.default_rng(0).random((4, 5)) < 0.7
        direction = np.random.default_rng(1).normal(size=6).astype(np.float32)
        found = jax.jit(descriptors.power_mean_terms, static_argnames="p")(features, cams, region, direction, p=p)
        np.testing.assert_allclose(
            found.sum(axis=(1, 2)), np.asarray(_means(features, cams, region, p=p)) @ direction, atol=1e-5
        )
        np.testing.assert_array_equal(np.asarray(found)[:, ~region], 0)
        np.testing.assert_array_equal(found[2], 0)


if __name__ == "__main__":
    absltest.main()
