import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized
from hypothesis import given, settings
from hypothesis import strategies as st

from cwcf_jax import descriptors
from cwcf_jax.arrays import valid_mask
from tests.support import oracles, shared
from tests.support.slow import cases

ALL_VALID = jnp.ones((4, 5), bool)


def _maps(seed, shape=(4, 5, 3)):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


class ClassActivationMapsTest(absltest.TestCase):
    def test_equation_1(self):
        features, kernel = _maps(0, (4, 5, 7)), _maps(1, (7, 3))
        expected = np.zeros((4, 5, 3))
        for c in range(3):
            for k in range(7):
                expected[..., c] += features[..., k].astype(np.float64) * kernel[k, c]
        actual = descriptors.class_activation_maps(jnp.asarray(features), jnp.asarray(kernel))
        np.testing.assert_allclose(actual, expected, atol=1e-5)

    def test_hand_worked(self):
        # One cell with activations (2, 3); class weights (1, -1): 2 * 1 + 3 * -1 = -1.
        actual = descriptors.class_activation_maps(jnp.array([[[2.0, 3.0]]]), jnp.array([[1.0], [-1.0]]))
        self.assertEqual(actual.tolist(), [[[-1.0]]])

    def test_scores_of_the_authors_network(self):
        """The softmax of the CAMs' means equals the scores in metalbubble/CAM, to 9e-4 (weights/README.md)."""
        from scipy import io

        kernel = io.loadmat(shared.require("weights/cam_authors_net.mat"))["weights_LR"]
        image = io.loadmat(shared.require("weights/cam_authors_image.mat"))
        activations, scores = image["activation_lastconv"], image["scores"][0, 0]
        valid = jnp.ones((14, 14), bool)
        for crop in range(10):
            maps = jnp.asarray(activations[..., crop].astype(np.float32))
            cams = descriptors.class_activation_maps(maps, jnp.asarray(kernel))
            actual = jax.nn.softmax(descriptors.mean_pool(cams, valid))
            np.testing.assert_allclose(actual, scores[:, crop], atol=1e-3)
            self.assertEqual(int(jnp.argmax(actual)), int(np.argmax(scores[:, crop])))


class NormalizationTest(parameterized.TestCase):
    def test_min_max(self):
        maps = _maps(0)
        actual = descriptors.min_max(jnp.asarray(maps), ALL_VALID)
        for c in range(3):
            np.testing.assert_allclose(actual[..., c], oracles.min_max(maps[..., c].astype(np.float64)), atol=1e-6)

    def test_max_clip(self):
        # The map (-1, 2, 4) becomes (0, .5, 1): division by the maximum, then negative values become 0.
        actual = descriptors.max_clip(jnp.array([[[-1.0], [2.0], [4.0]]]), jnp.ones((1, 3), bool))
        np.testing.assert_array_equal(actual[0, :, 0], [0.0, 0.5, 1.0])

    def test_max_clip_inverts_a_negative_map_like_the_released_code(self):
        # The map (-4, -2), divided by its maximum -2, becomes (2, 1).
        actual = descriptors.max_clip(jnp.array([[[-4.0], [-2.0]]]), jnp.ones((1, 2), bool))
        np.testing.assert_array_equal(actual[0, :, 0], [2.0, 1.0])

    def test_raw(self):
        maps = _maps(0)
        np.testing.assert_array_equal(descriptors.raw(jnp.asarray(maps), ALL_VALID), maps)

    @parameterized.parameters("min_max", "max_clip", "raw")
    def test_cells_outside_the_valid_area_are_ignored_and_set_to_0(self, name):
        normalize = descriptors.NORMALIZATIONS[name]
        maps = _maps(1)
        valid = valid_mask(jnp.array([2, 3]), (4, 5))
        padded = np.array(maps)
        padded[2:], padded[:, 3:] = 99.0, -99.0
        actual = np.array(normalize(jnp.asarray(padded), valid))
        expected = normalize(jnp.asarray(maps[:2, :3]), jnp.ones((2, 3), bool))
        np.testing.assert_array_equal(actual[:2, :3], expected)
        actual[:2, :3] = 0
        self.assertEqual(np.abs(actual).max(), 0)

    @parameterized.parameters(
        ("min_max", 3.0, 1.0),
        ("min_max", 0.0, 0.0),
        ("min_max", -3.0, 0.0),
        ("max_clip", 3.0, 1.0),
        ("max_clip", 0.0, 0.0),
        ("max_clip", -3.0, 1.0),
    )
    def test_constant_map(self, name, value, expected):
        for shape in ((4, 5), (1, 1)):
            actual = descriptors.NORMALIZATIONS[name](jnp.full((*shape, 2), value), jnp.ones(shape, bool))
            np.testing.assert_array_equal(actual, np.full((*shape, 2), expected))

    @parameterized.parameters("min_max", "max_clip")
    def test_gradients_of_constant_maps_are_finite(self, name):
        for value in (1.0, 0.0, -1.0):
            normalize = descriptors.NORMALIZATIONS[name]
            gradient = jax.grad(lambda maps, f=normalize: jnp.sum(f(maps, ALL_VALID)))(jnp.full((4, 5, 1), value))
            self.assertTrue(bool(jnp.isfinite(gradient).all()))

    def test_has_evidence(self):
        maps = jnp.array([[[-1.0, -1.0, 0.0], [2.0, -3.0, 0.0]], [[-1.0, 5.0, 0.0], [-1.0, 5.0, 0.0]]])
        top_row = jnp.array([[True, True], [False, False]])
        self.assertEqual(descriptors.has_evidence(maps, jnp.ones((2, 2), bool)).tolist(), [True, True, False])
        self.assertEqual(descriptors.has_evidence(maps, top_row).tolist(), [True, False, False])


class ResizeMapsTest(absltest.TestCase):
    @settings(deadline=None, max_examples=cases(15, 40))
    @given(*[st.integers(1, 9)] * 4)
    def test_against_jax_image(self, height, width, new_height, new_width):
        maps = _maps(0, (9, 9, 2))
        maps[height:], maps[:, width:] = 0, 0
        actual = np.array(
            descriptors.resize_maps(
                jnp.asarray(maps), jnp.array([height, width]), jnp.array([new_height, new_width]), (9, 9)
            )
        )
        valid_area = jnp.asarray(maps[:height, :width])
        expected = jax.image.resize(valid_area, (new_height, new_width, 2), "linear", antialias=False)
        np.testing.assert_allclose(actual[:new_height, :new_width], expected, atol=1e-5)
        actual[:new_height, :new_width] = 0
        self.assertEqual(np.abs(actual).max(), 0)

    def test_hand_worked(self):
        # (0, 4) to 4 cells, half-pixel centres: positions -.25, .25, .75, 1.25, clipped to [0, 1].
        actual = descriptors.resize_maps(jnp.array([[[0.0], [4.0]]]), jnp.array([1, 2]), jnp.array([1, 4]), (1, 4))
        np.testing.assert_allclose(actual[0, :, 0], [0.0, 1.0, 3.0, 4.0], atol=1e-6)


if __name__ == "__main__":
    absltest.main()
