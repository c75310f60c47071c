import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

from cwcf_jax.networks import layers
from tests import oracles


class MaxPoolTest(parameterized.TestCase):
    @parameterized.product(kind=((2, 2, 0), (3, 2, 0), (3, 1, 1)), height=(1, 2, 3, 4, 7, 8), width=(1, 5, 6))
    def test_rounds_up_like_caffe(self, kind, height, width):
        window, stride, pad = kind
        maps = np.random.default_rng(height * 10 + width).random((height, width, 4)).astype(np.float32)
        expected = oracles.max_pool(maps, window=window, stride=stride, pad=pad)
        sizes = layers.pooled_size(jnp.array([[height, width]], jnp.int32), window=window, stride=stride, pad=pad)
        self.assertEqual(tuple(sizes[0].tolist()), expected.shape[:2])
        padded = np.pad(maps, ((0, 5), (0, 4), (0, 0)))
        for inputs in (maps, padded):
            found = layers.max_pool(jnp.asarray(inputs)[None], sizes, window=window, stride=stride, pad=pad)[0]
            whole = np.zeros_like(found)
            whole[: expected.shape[0], : expected.shape[1]] = expected
            np.testing.assert_array_equal(found, whole)


class LocalResponseNormTest(absltest.TestCase):
    def test_definition(self):
        maps = np.random.default_rng(0).random((2, 3, 9)) * 100
        expected = np.empty_like(maps)
        for channel in range(9):
            window = maps[..., max(0, channel - 2) : channel + 3]
            # Krizhevsky et al. 2012, section 3.3; alpha is divided by the size, as in Caffe.
            expected[..., channel] = maps[..., channel] / (1 + 1e-4 / 5 * np.square(window).sum(-1)) ** 0.75
        found = layers.local_response_norm(jnp.asarray(maps, jnp.float32)[None])[0]
        np.testing.assert_allclose(found, expected, rtol=1e-5)

    def test_other_exponents_are_refused(self):
        with self.assertRaisesRegex(ValueError, "beta 0.75, not 0.5"):
            layers.local_response_norm(jnp.ones((1, 1, 1, 1)), beta=0.5)


class ConvTest(parameterized.TestCase):
    @parameterized.parameters((1, 1, 1), (3, 1, 1), (3, 1, 2), (5, 1, 1), (7, 2, 1))
    def test_against_windows(self, kernel, stride, groups):
        conv = layers.Conv(4, 6, kernel, stride=stride, groups=groups, rngs=nnx.Rngs(1))
        conv.bias[...] = jnp.linspace(-0.5, 0.5, 6)
        maps = np.random.default_rng(0).normal(size=(9, 12, 4)).astype(np.float32)
        sizes = layers.strided_size(jnp.array([[9, 12]], jnp.int32), stride=stride)
        found = layers.conv_relu(conv, jnp.asarray(maps)[None], sizes)[0]
        expected = oracles.conv_relu(maps, conv.kernel[...], conv.bias[...], stride=stride, groups=groups)
        np.testing.assert_allclose(found, expected, atol=1e-5)


class MeanPoolTest(absltest.TestCase):
    @settings(deadline=None, max_examples=20)
    @given(st.integers(1, 6), st.integers(1, 6))
    def test_counts_valid_cells_only(self, height, width):
        maps = np.zeros((1, 6, 6, 2), np.float32)
        maps[0, :height, :width] = np.random.default_rng(0).random((height, width, 2))
        found = layers.mean_pool(jnp.asarray(maps), jnp.array([[height, width]], jnp.int32))
        np.testing.assert_allclose(found[0], maps[0, :height, :width].mean(axis=(0, 1)), rtol=1e-5)


class AsFunctionsTest(absltest.TestCase):
    def test_functions_leave_the_parameters_alone(self):
        class Tiny(nnx.Module):
            def __init__(self, rngs):
                self.conv = layers.Conv(3, 2, 3, rngs=rngs)

            def __call__(self, inputs, sizes):
                return layers.conv_relu(self.conv, inputs, sizes)

        apply, shapes, initialize = layers.as_functions(Tiny)
        first, second = initialize(0), initialize(1)
        self.assertEqual(jax.tree.map(jnp.shape, first), jax.tree.map(lambda leaf: leaf.shape, shapes()))
        inputs, sizes = jnp.ones((1, 4, 4, 3)), jnp.full((1, 2), 4, jnp.int32)
        before = apply(first, inputs, sizes)
        self.assertGreater(float(jnp.abs(apply(second, inputs, sizes) - before).max()), 0)
        np.testing.assert_array_equal(apply(first, inputs, sizes), before)


if __name__ == "__main__":
    absltest.main()
