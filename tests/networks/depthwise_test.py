"""This test compares depthwise layers, on single images and padded batches, with scipy's correlation in float64."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal

from cwcf_jax.networks import depthwise
from tests.support import on_gpus
from tests.support.compilation import jit_fast

CHANNELS = 3


def _expected(maps, layer, stride):
    """Computes the full correlation in float64, and picks the results whose windows start at the module's offsets."""
    kernel, bias = (np.asarray(value[...], np.float64) for value in (layer.kernel, layer.bias))
    side = len(kernel)
    first = side // 2 if stride == 1 else {3: 0, 5: 1}[side]
    height, width = (-(-length // stride) for length in maps.shape[:2])
    expected = np.empty((height, width, CHANNELS))
    for channel in range(CHANNELS):
        full = signal.correlate2d(maps[..., channel].astype(np.float64), kernel[..., 0, channel], mode="full")
        start = side - 1 - first
        expected[..., channel] = full[start::stride, start::stride][:height, :width] + bias[channel]
    return expected


@functools.cache
def _layer(side, stride):
    """Returns a layer with a random kernel and bias, and the compiled layer."""
    layer = depthwise.DepthwiseConv(CHANNELS, side, stride=stride, rngs=nnx.Rngs(side))
    layer.bias[...] = jnp.linspace(-1, 1, CHANNELS)
    return layer, jit_fast(lambda maps: layer(maps))


class DepthwiseConvTest(parameterized.TestCase):
    @settings(max_examples=40, deadline=None)
    @given(
        st.sampled_from((3, 5)),
        st.sampled_from((1, 2)),
        st.lists(st.tuples(st.integers(1, 10), st.integers(1, 9)), min_size=3, max_size=3),
        st.integers(0, 2**31),
    )
    def test_any_sizes_in_a_padded_batch(self, side, stride, sizes, seed):
        generator = np.random.default_rng(seed)
        batch = np.zeros((len(sizes), 10, 9, CHANNELS), np.float32)
        for image, (height, width) in zip(batch, sizes, strict=True):
            image[:height, :width] = generator.normal(size=(height, width, CHANNELS))
        layer, run = _layer(side, stride)
        actual = np.asarray(run(batch))
        self.assertEqual(actual.shape, (len(sizes), -(-10 // stride), -(-9 // stride), CHANNELS))
        for image, result, (height, width) in zip(batch, actual, sizes, strict=True):
            expected = _expected(image[:height, :width], layer, stride)
            rows, columns = expected.shape[:2]
            np.testing.assert_allclose(result[:rows, :columns], expected, atol=1e-5)

    @parameterized.product(side=(3, 5), stride=(1, 2), size=((1, 1), (2, 9), (9, 8)))
    def test_a_single_image(self, side, stride, size):
        maps = np.random.default_rng(0).normal(size=(1, *size, CHANNELS)).astype(np.float32)
        layer, run = _layer(side, stride)
        np.testing.assert_allclose(run(maps)[0], _expected(maps[0], layer, stride), atol=1e-5)

    @parameterized.product(side=(3, 5), stride=(1, 2))
    def test_gpus_compute_the_grouped_convolution(self, side, stride):
        maps = np.random.default_rng(0).normal(size=(2, 7, 8, CHANNELS)).astype(np.float32)
        layer, _ = _layer(side, stride)
        with on_gpus.gpu_branches() as branches:
            actual = np.asarray(jit_fast(lambda maps: layer(maps))(maps))
        self.assertEqual([branch.func for branch in branches], [depthwise.grouped])
        for image, result in zip(maps, actual, strict=True):
            np.testing.assert_allclose(result, _expected(image, layer, stride), atol=1e-5)

    def test_no_grouped_convolution_on_cpus(self):
        traced = jax.jit(_layer(3, 1)[0]).trace(jnp.ones((1, 9, 9, CHANNELS)))
        texts = [traced.lower(lowering_platforms=(platform,)).as_text() for platform in ("cpu", "cuda")]
        self.assertEqual(["stablehlo.convolution" in text for text in texts], [False, True])

    def test_bfloat16_stays_and_is_summed_in_float32(self):
        layer = depthwise.DepthwiseConv(2, 5, rngs=nnx.Rngs(0))
        layer.kernel.set_value(jnp.ones_like(layer.kernel[...], jnp.bfloat16))
        layer.bias.set_value(layer.bias[...].astype(jnp.bfloat16))
        maps = jnp.ones((1, 9, 9, 2), jnp.bfloat16).at[:, 2, 2].set(512)  # in bfloat16, 512 + 1 is 512
        actual = jit_fast(lambda maps: layer(maps))(maps)
        self.assertEqual(actual.dtype, jnp.bfloat16)
        np.testing.assert_allclose(actual[0, 4, 4].astype(jnp.float32), 512 + 24, rtol=2**-8)

    def test_gradient(self):
        maps = jnp.asarray(np.random.default_rng(0).normal(size=(1, 8, 7, CHANNELS)), jnp.float32)
        kernel = jnp.asarray(np.random.default_rng(1).normal(size=(5, 5, 1, CHANNELS)), jnp.float32)
        for argument in (0, 1):
            actual, expected = (
                jit_fast(jax.grad(lambda *a, f=f: jnp.sum(jnp.sin(f(*a, stride=2))), argument))(maps, kernel)
                for f in (depthwise.shifted, depthwise.grouped)
            )
            np.testing.assert_allclose(actual, expected, atol=1e-4)

    @parameterized.parameters((4, 1), (3, 3))
    def test_other_layers_are_refused(self, side, stride):
        with self.assertRaisesRegex(ValueError, f"odd kernel and stride 1 or 2, not {side} and {stride}"):
            depthwise.DepthwiseConv(2, side, stride=stride, rngs=nnx.Rngs(0))


class ReLU6Test(absltest.TestCase):
    def test_inside_and_outside(self):
        maps = np.random.default_rng(0).normal(size=(3, 8, 9, 2), scale=5).astype(np.float32)
        sizes = np.array([[1, 1], [3, 7], [8, 9]], np.int32)
        actual = depthwise.relu6(jnp.asarray(maps), jnp.asarray(sizes))
        expected = np.zeros_like(maps)
        for image, result, (height, width) in zip(maps, expected, sizes, strict=True):
            result[:height, :width] = np.clip(image[:height, :width], 0, 6)
        np.testing.assert_array_equal(actual, expected)


if __name__ == "__main__":
    absltest.main()
