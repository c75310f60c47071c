"""Depthwise layers against their definition in float64, by scipy, alone and in padded batches."""

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

CHANNELS = 3


def _expected(maps, kernel, bias, stride):
    """Every result of the full correlation whose window starts where the module says, in float64."""
    side = kernel.shape[0]
    first = side // 2 if stride == 1 else {3: 0, 5: 1, 7: 2}[side]
    height, width = (-(-length // stride) for length in maps.shape[:2])
    found = np.empty((height, width, maps.shape[2]))
    for channel in range(maps.shape[2]):
        full = signal.correlate2d(maps[..., channel], kernel[..., 0, channel], mode="full")
        full = np.pad(full, ((0, side), (0, side)))
        start = side - 1 - first
        found[..., channel] = full[start::stride, start::stride][:height, :width] + bias[channel]
    return found


def _layer(seed, side, stride):
    layer = depthwise.DepthwiseConv(CHANNELS, side, stride=stride, rngs=nnx.Rngs(seed))
    layer.bias[...] = jnp.linspace(-1, 1, CHANNELS)
    return layer


class DepthwiseConvTest(parameterized.TestCase):
    @settings(max_examples=25, deadline=None)
    @given(
        st.sampled_from((3, 5)),
        st.sampled_from((1, 2)),
        st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=3),
        st.integers(0, 2**31),
    )
    def test_any_sizes_in_a_padded_batch(self, side, stride, sizes, seed):
        layer, generator = _layer(seed, side, stride), np.random.default_rng(seed)
        batch = np.zeros((len(sizes), 10, 9, CHANNELS), np.float32)
        for image, (height, width) in zip(batch, sizes, strict=True):
            image[:height, :width] = generator.normal(size=(height, width, CHANNELS))
        found = np.asarray(layer(depthwise.pad(jnp.asarray(batch), side, stride)))
        self.assertEqual(found.shape, (len(sizes), -(-10 // stride), -(-9 // stride), CHANNELS))
        kernel, bias = np.asarray(layer.kernel[...], np.float64), np.asarray(layer.bias[...], np.float64)
        for image, result, (height, width) in zip(batch, found, sizes, strict=True):
            expected = _expected(image[:height, :width].astype(np.float64), kernel, bias, stride)
            rows, columns = expected.shape[:2]
            np.testing.assert_allclose(result[:rows, :columns], expected, atol=1e-5)

    @parameterized.product(side=(3, 5, 7), stride=(1, 2), size=((1, 1), (8, 9), (9, 8)))
    def test_alone(self, side, stride, size):
        layer = _layer(0, side, stride)
        maps = np.random.default_rng(0).normal(size=(1, *size, CHANNELS)).astype(np.float32)
        expected = _expected(maps[0], np.asarray(layer.kernel[...], np.float64), np.asarray(layer.bias[...]), stride)
        np.testing.assert_allclose(layer(depthwise.pad(jnp.asarray(maps), side, stride))[0], expected, atol=1e-5)

    @parameterized.product(side=(3, 5), stride=(1, 2))
    def test_gpus_take_the_grouped_convolution(self, side, stride):
        layer = _layer(0, side, stride)
        maps = np.random.default_rng(0).normal(size=(2, 7, 8, CHANNELS)).astype(np.float32)
        padded = depthwise.pad(jnp.asarray(maps), side, stride)
        expected = np.asarray(layer(padded))
        with on_gpus.chosen() as taken:
            found = np.asarray(layer(padded))
        self.assertEqual([one.func for one in taken], [depthwise.grouped])
        np.testing.assert_allclose(found, expected, atol=1e-5)

    def test_no_grouped_convolution_on_cpus(self):
        padded = jnp.ones((1, 9, 9, CHANNELS))
        self.assertNotIn("stablehlo.convolution", jax.jit(_layer(0, 3, 1)).lower(padded).as_text())

    def test_bfloat16_stays_and_is_summed_in_float32(self):
        layer = depthwise.DepthwiseConv(2, 5, rngs=nnx.Rngs(0))
        layer.kernel.set_value(jnp.ones_like(layer.kernel[...], jnp.bfloat16))
        layer.bias.set_value(layer.bias[...].astype(jnp.bfloat16))
        maps = jnp.ones((1, 9, 9, 2), jnp.bfloat16).at[:, 2, 2].set(512)  # in bfloat16 512 + 1 is 512
        found = layer(depthwise.pad(maps, 5, 1))
        self.assertEqual(found.dtype, jnp.bfloat16)
        np.testing.assert_allclose(found[0, 4, 4].astype(jnp.float32), 512 + 24, rtol=2**-8)

    def test_gradient(self):
        maps = jnp.asarray(np.random.default_rng(0).normal(size=(1, 8, 7, CHANNELS)), jnp.float32)
        kernel = jnp.asarray(np.random.default_rng(1).normal(size=(5, 5, 1, CHANNELS)), jnp.float32)
        for argument in (0, 1):
            found, expected = (
                jax.grad(lambda *a, f=f: jnp.sum(jnp.sin(f(*a, stride=2))), argument)(maps, kernel)
                for f in (depthwise.shifted, depthwise.grouped)
            )
            np.testing.assert_allclose(found, expected, atol=1e-4)

    @parameterized.parameters((4, 1), (3, 3))
    def test_other_layers_are_refused(self, side, stride):
        with self.assertRaisesRegex(ValueError, f"odd kernel and stride 1 or 2, not {side} and {stride}"):
            depthwise.DepthwiseConv(2, side, stride=stride, rngs=nnx.Rngs(0))


class ReLU6Test(parameterized.TestCase):
    @parameterized.parameters(0, 2)
    def test_inside_and_outside(self, first):
        maps = np.random.default_rng(0).normal(size=(3, 8, 9, 2), scale=5).astype(np.float32)
        sizes = np.array([[1, 1], [3, 7], [6, 4]], np.int32)
        found = depthwise.relu6(jnp.asarray(maps), jnp.asarray(sizes), first)
        expected = np.zeros_like(maps)
        for image, result, (height, width) in zip(maps, expected, sizes, strict=True):
            inside = np.s_[first : first + height, first : first + width]
            result[inside] = np.clip(image[inside], 0, 6)
        np.testing.assert_array_equal(found, expected)


if __name__ == "__main__":
    absltest.main()
