"""This test compares Winograd's algorithm with scipy's correlation in float64 and with XLA's convolution."""

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal

from cwcf_jax.networks import layers, winograd
from tests.support.compilation import jit_fast
from tests.support.slow import cases


def _random(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


def _correlated(maps, kernel):
    """Computes the convolution by scipy in float64, for each pair of channels."""
    maps, kernel = np.asarray(maps, np.float64), np.asarray(kernel, np.float64)
    results = np.zeros((*maps.shape[:3], kernel.shape[3]))
    for image, result in zip(maps, results, strict=True):
        for c, n in np.ndindex(kernel.shape[2:]):
            result[..., n] += signal.correlate2d(image[..., c], kernel[..., c, n], mode="same")
    return results


class TransformsTest(absltest.TestCase):
    def test_exact_on_one_tile(self):
        """Checks the bilinear identity of the algorithm in float64."""
        inputs, kernels, results = (matrix.astype(np.float64) for matrix in winograd.transforms())
        tile, kernel = np.asarray(_random(0, 6, 6), np.float64), np.asarray(_random(1, 3, 3), np.float64)
        actual = results @ ((inputs @ tile.ravel()) * (kernels @ kernel.ravel()))
        np.testing.assert_allclose(actual.reshape(4, 4), signal.correlate2d(tile, kernel, mode="valid"), atol=2e-6)


class ConvolveTest(parameterized.TestCase):
    @settings(max_examples=cases(6, 12), deadline=None)
    @given(st.integers(1, 2), st.integers(1, 11), st.integers(1, 11), st.integers(0, 2**31))
    def test_any_size(self, batch, height, width, seed):
        maps, kernel = _random(seed, batch, height, width, 3), _random(seed + 1, 3, 3, 3, 2)
        actual = jit_fast(winograd.convolve)(maps, kernel)
        self.assertEqual(actual.dtype, jnp.float32)
        np.testing.assert_allclose(actual, _correlated(maps, kernel), atol=3e-5)

    def test_error_with_512_channels(self):
        """Checks the accuracy that the module documents, on maps without negative values, as after a ReLU."""
        maps, kernel = jnp.maximum(_random(0, 1, 30, 40, 512), 0), _random(1, 3, 3, 512, 16)
        exact = np.zeros((1, 30, 40, 16))
        padded = np.pad(np.asarray(maps, np.float64), ((0, 0), (1, 1), (1, 1), (0, 0)))
        for i, j in np.ndindex(3, 3):
            exact += padded[:, i : i + 30, j : j + 40] @ np.asarray(kernel[i, j], np.float64)
        error = np.abs(np.asarray(winograd.convolve(maps, kernel)) - exact) / np.abs(exact).max()
        self.assertLess(error.max(), 4e-6)
        self.assertLess(np.sqrt(np.mean(error**2)), 1e-6)

    def test_gradient(self):
        maps, kernel = _random(0, 1, 7, 6, 3), _random(1, 3, 3, 3, 2)

        def direct(maps, kernel):
            numbers = ("NHWC", "HWIO", "NHWC")
            return jax.lax.conv_general_dilated(maps, kernel, (1, 1), "SAME", dimension_numbers=numbers)

        for argument in (0, 1):
            actual, expected = (
                jax.grad(lambda *a, f=f: jnp.sum(jnp.sin(f(*a))), argument)(maps, kernel)
                for f in (winograd.convolve, direct)
            )
            np.testing.assert_allclose(actual, expected, atol=1e-4)


class ConvTest(parameterized.TestCase):
    @parameterized.parameters(
        (128, 128, 1, 1, True), (127, 128, 1, 1, False), (128, 128, 2, 1, False), (256, 128, 1, 2, False)
    )
    def test_layers_that_use_it(self, inputs, outputs, stride, groups, expected):
        conv = layers.Conv(inputs, outputs, 3, stride=stride, groups=groups, rngs=nnx.Rngs(0))
        text = jax.jit(conv).lower(jnp.ones((1, 40, 37, inputs))).as_text()
        self.assertEqual("stablehlo.convolution" not in text, expected)

    def test_small_maps_do_not_use_it(self):
        conv = layers.Conv(128, 128, 3, rngs=nnx.Rngs(0))
        self.assertIn("stablehlo.convolution", jax.jit(conv).lower(jnp.ones((8, 36, 40, 128))).as_text())

    def test_bias_and_result(self):
        conv = layers.Conv(128, 130, 3, rngs=nnx.Rngs(0))
        conv.bias[...] = jnp.arange(130.0)
        maps = _random(0, 2, 40, 38, 128)
        direct = nnx.Conv.__call__(conv, maps)
        np.testing.assert_allclose(conv(maps), direct, atol=4e-6 * float(jnp.abs(direct).max()))

    def test_accelerators_use_the_convolution_of_xla(self):
        """Checks the lowering for other platforms, which needs none of their hardware."""
        conv = layers.Conv(128, 128, 3, rngs=nnx.Rngs(0))
        traced = jax.jit(conv).trace(jnp.ones((1, 40, 40, 128)))
        for platform in ("cuda", "tpu"):
            self.assertIn("stablehlo.convolution", traced.lower(lowering_platforms=(platform,)).as_text())


if __name__ == "__main__":
    absltest.main()
