"""This test compares layers on padded batches with oracles, with torch, and with the layers on single images."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

from cwcf_jax.networks import layers, stem
from tests.support import on_gpus, oracles
from tests.support.packages import package


def _unpadded_and_padded(pool, maps, sizes, result_sizes):
    """Returns pairs of results for each image's maps: of the maps alone, and of the maps in a padded batch."""
    batch = np.zeros(
        (len(maps), *(max(sides) + 5 for sides in zip(*sizes, strict=True)), maps[0].shape[-1]), np.float32
    )
    for padded, image in zip(batch, maps, strict=True):
        padded[: image.shape[0], : image.shape[1]] = image
    # One compilation for the maps of all sizes.
    pool_all = jax.jit(lambda maps: [pool(image[None], result_sizes[i : i + 1])[0] for i, image in enumerate(maps)])
    unpadded_results = pool_all([jnp.asarray(image, jnp.float32) for image in maps])
    return zip(unpadded_results, pool(jnp.asarray(batch), result_sizes), strict=True)


class MaxPoolTest(parameterized.TestCase):
    @parameterized.parameters((2, 2, 0), (3, 2, 0), (3, 1, 1))
    def test_rounds_up_like_caffe(self, window, stride, pad):
        options = dict(window=window, stride=stride, pad=pad)
        sizes = list(itertools.product((1, 2, 3, 4, 7, 8), (1, 5, 6)))
        maps = [np.random.default_rng(i).random((*size, 4)).astype(np.float32) for i, size in enumerate(sizes)]
        result_sizes = layers.pooled_size(jnp.array(sizes, jnp.int32), **options)
        pool = functools.partial(layers.max_pool, **options)
        for i, pair in enumerate(_unpadded_and_padded(pool, maps, sizes, result_sizes)):
            expected = oracles.max_pool(maps[i], **options)
            self.assertEqual(tuple(result_sizes[i].tolist()), expected.shape[:2])
            for actual in pair:
                padded = np.zeros_like(actual)
                padded[: expected.shape[0], : expected.shape[1]] = expected
                np.testing.assert_array_equal(actual, padded, err_msg=str(sizes[i]))


class LocalResponseNormTest(absltest.TestCase):
    def test_definition(self):
        maps = np.random.default_rng(0).random((2, 3, 9)) * 100
        expected = np.empty_like(maps)
        for channel in range(9):
            window = maps[..., max(0, channel - 2) : channel + 3]
            # Krizhevsky et al. 2012, section 3.3; alpha is divided by the size, as in Caffe.
            expected[..., channel] = maps[..., channel] / (1 + 1e-4 / 5 * np.square(window).sum(-1)) ** 0.75
        actual = layers.local_response_norm(jnp.asarray(maps, jnp.float32)[None])[0]
        np.testing.assert_allclose(actual, expected, rtol=1e-5)

    def test_other_exponents_are_refused(self):
        with self.assertRaisesRegex(ValueError, "beta 0.75, not 0.5"):
            layers.local_response_norm(jnp.ones((1, 1, 1, 1)), beta=0.5)


class ConvTest(parameterized.TestCase):
    @parameterized.parameters((1, 1, 1), (3, 1, 1), (3, 1, 2), (5, 1, 1), (7, 2, 1))
    def test_against_the_oracle(self, kernel, stride, groups):
        conv = layers.Conv(4, 6, kernel, stride=stride, groups=groups, rngs=nnx.Rngs(1))
        conv.bias[...] = jnp.linspace(-0.5, 0.5, 6)
        maps = np.random.default_rng(0).normal(size=(9, 12, 4)).astype(np.float32)
        sizes = layers.strided_size(jnp.array([[9, 12]], jnp.int32), stride=stride)
        actual = layers.conv_relu(conv, jnp.asarray(maps)[None], sizes)[0]
        expected = oracles.conv_relu(maps, conv.kernel[...], conv.bias[...], stride=stride, groups=groups)
        np.testing.assert_allclose(actual, expected, atol=1e-5)

    @parameterized.parameters(1, 3)
    def test_bfloat16_stays_and_is_summed_in_float32(self, kernel):
        conv = layers.Conv(128, 128, kernel, bias=False, rngs=nnx.Rngs(0))
        conv.kernel.set_value(jnp.ones_like(conv.kernel[...], jnp.bfloat16))
        maps = jnp.ones((1, 40, 40, 128), jnp.bfloat16).at[..., 0].set(512)  # in bfloat16, 512 + 1 is 512
        actual = conv(maps)
        self.assertEqual(actual.dtype, jnp.bfloat16)
        np.testing.assert_allclose(actual[0, 5:9, 5:9], kernel**2 * (512 + 127), rtol=2**-8)

    @parameterized.parameters((3, 1, jnp.bfloat16, 1), (7, 2, jnp.bfloat16, 1), (3, 1, jnp.float32, 0))
    def test_pixels_in_bfloat16_are_joined_to_cells_on_gpus(self, kernel, stride, dtype, times):
        conv = layers.Conv(3, 6, kernel, stride=stride, rngs=nnx.Rngs(0))
        conv.bias[...] = jnp.linspace(-0.5, 0.5, 6)
        conv.kernel.set_value(conv.kernel[...].astype(dtype))
        conv.bias.set_value(conv.bias[...].astype(dtype))
        maps = jnp.asarray(np.random.default_rng(0).normal(size=(2, 9, 16, 3)), dtype)
        expected = conv(maps)
        with on_gpus.gpu_branches() as branches:
            actual = conv(maps)
        self.assertEqual(sum(getattr(branch, "func", None) is stem.convolve for branch in branches), times)
        self.assertEqual((actual.dtype, expected.dtype), (dtype, dtype))
        np.testing.assert_allclose(actual.astype(jnp.float32), expected.astype(jnp.float32), atol=2**-6)

    def test_fused_convolutions_equal_single_convolutions(self):
        convs = [layers.Conv(5, outputs, 1, rngs=nnx.Rngs(outputs)) for outputs in (3, 1, 4)]
        for conv in convs:
            conv.bias[...] = jnp.linspace(-0.5, 0.5, conv.out_features)
        maps = jnp.asarray(np.random.default_rng(0).normal(size=(2, 4, 5, 5)), jnp.float32)
        sizes = jnp.array([[4, 5], [3, 2]])
        results = layers.fused_conv_relu(convs, maps, sizes)
        for conv, actual in zip(convs, results, strict=True):
            np.testing.assert_allclose(actual, layers.conv_relu(conv, maps, sizes), atol=1e-6)


class ZeroMarginTest(absltest.TestCase):
    def test_rows_and_columns_after_the_valid_area(self):
        maps = jnp.asarray(np.random.default_rng(0).normal(size=(4, 9, 8, 2)), jnp.float32)
        sizes = np.array([[9, 8], [4, 2], [1, 7], [7, 5]])
        results = layers.write_zero_margin(maps, jnp.asarray(sizes))
        for expected, actual, (height, width) in zip(np.array(maps), np.array(results), sizes, strict=True):
            expected[height : height + layers.MARGIN] = 0
            expected[:, width : width + layers.MARGIN] = 0
            np.testing.assert_array_equal(actual, expected)

    def test_a_kernel_that_reads_farther_is_refused(self):
        layers.Conv(1, 1, 7, rngs=nnx.Rngs(0))
        with self.assertRaisesRegex(ValueError, "a kernel of 9 x 3 reads beyond the margin of 3 cells"):
            layers.Conv(1, 1, (9, 3), rngs=nnx.Rngs(0))


class MeanPoolTest(absltest.TestCase):
    @settings(deadline=None, max_examples=20)
    @given(st.integers(1, 6), st.integers(1, 6))
    def test_counts_valid_cells_only(self, height, width):
        maps = np.zeros((1, 6, 6, 2), np.float32)
        maps[0, :height, :width] = np.random.default_rng(0).random((height, width, 2))
        actual = layers.mean_pool(jnp.asarray(maps), jnp.array([[height, width]], jnp.int32))
        np.testing.assert_allclose(actual[0], maps[0, :height, :width].mean(axis=(0, 1)), rtol=1e-5)


class TorchPoolsTest(parameterized.TestCase):
    """This test compares the pools of torch's networks with torch, in padded batches and without padding."""

    def check(self, pool, reference, sizes, result_sizes):
        torch = package("torch")
        maps = [np.random.default_rng(i).random((*size, 4)).astype(np.float32) for i, size in enumerate(sizes)]
        for i, pair in enumerate(_unpadded_and_padded(pool, maps, sizes, result_sizes)):
            nchw = torch.from_numpy(maps[i].transpose(2, 0, 1)[None].astype(np.float64))
            expected = reference(torch.nn.functional, nchw)[0].numpy().transpose(1, 2, 0)
            rows, columns = result_sizes[i].tolist()
            self.assertEqual((rows, columns), expected.shape[:2])
            for actual in map(np.array, pair):
                np.testing.assert_allclose(actual[:rows, :columns], expected, rtol=1e-6, err_msg=str(sizes[i]))
                actual[:rows, :columns] = 0
                self.assertEqual(np.abs(actual).max(initial=0), 0)

    @parameterized.parameters(0, 1)
    def test_max_pool_rounds_down(self, pad):
        options = dict(window=3, stride=2, pad=pad, round_up=False)
        # torch refuses pools without any output.
        sizes = [size for size in itertools.product((1, 2, 3, 8, 9), (4, 5)) if size[0] + 2 * pad >= 3]
        self.check(
            functools.partial(layers.max_pool, **options),
            lambda f, inputs: f.max_pool2d(inputs, 3, 2, pad),
            sizes,
            layers.pooled_size(jnp.array(sizes, jnp.int32), **options),
        )

    def test_mean_pool_2x2(self):
        sizes = list(itertools.product((2, 3, 8, 9), (4, 5)))
        self.check(
            layers.mean_pool_2x2,
            lambda f, inputs: f.avg_pool2d(inputs, 2, 2),
            sizes,
            layers.pooled_size(jnp.array(sizes, jnp.int32), window=2, stride=2, round_up=False),
        )

    def test_mean_pool_to(self):
        torch = package("torch")
        # Fewer cells than bins, as many, a few more, and many more; most maps are not square.
        sizes = [(1, 1), (2, 3), (7, 7), (8, 10), (6, 23), (13, 7), (22, 24)]
        maps = np.zeros((len(sizes), 25, 26, 3), np.float32)
        for image, (height, width) in zip(maps, sizes, strict=True):
            image[:height, :width] = np.random.default_rng(height).normal(size=(height, width, 3))
        actual = layers.mean_pool_to(jnp.asarray(maps), jnp.array(sizes, jnp.int32), 7)
        self.assertEqual(actual.shape, (len(sizes), 7, 7, 3))
        for image, (height, width), bins in zip(maps, sizes, actual, strict=True):
            nchw = torch.from_numpy(image[:height, :width].transpose(2, 0, 1)[None].astype(np.float64))
            expected = torch.nn.functional.adaptive_avg_pool2d(nchw, 7)[0].numpy().transpose(1, 2, 0)
            np.testing.assert_allclose(bins, expected, atol=1e-6, err_msg=f"{height} {width}")
        np.testing.assert_array_equal(actual[2], maps[2, :7, :7])


if __name__ == "__main__":
    absltest.main()
