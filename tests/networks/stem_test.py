"""This test compares convolutions of pixels, as matrix products and between cells, with XLA's convolution."""

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from cwcf_jax.networks import stem


class StemTest(parameterized.TestCase):
    @parameterized.parameters(((3, 3), 1, 8), ((7, 7), 2, 24), ((3, 1), 1, 12), ((1, 3), 1, 4), ((5, 3), 1, 16))
    def test_cells_against_the_convolution(self, kernel, stride, width):
        generator = np.random.default_rng(0)
        maps, kernels, bias = (
            jnp.asarray(generator.normal(size=shape), jnp.float32)
            for shape in ((2, 13, width, 3), (*kernel, 3, 5), (5,))
        )
        expected = jax.lax.conv_general_dilated(
            maps,
            kernels,
            (stride, stride),
            [(side // 2, side // 2) for side in kernel],
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            precision="highest",
        )
        self.assertTrue(stem.fits(width, stride))
        np.testing.assert_allclose(
            stem.convolve(maps, kernels, bias, stride), np.asarray(expected) + np.asarray(bias), atol=1e-4
        )

    @parameterized.parameters(
        ((3, 3), 1, 8),
        ((3, 3), 2, 9),
        ((3, 3), 2, 8),
        ((7, 7), 2, 24),
        ((3, 1), 1, 12),
        ((1, 3), 3, 11),
        ((5, 3), 4, 3),
    )
    def test_a_matrix_product_against_the_convolution(self, kernel, stride, width):
        generator = np.random.default_rng(0)
        maps, kernels = (
            jnp.asarray(generator.normal(size=shape), jnp.float32) for shape in ((2, 13, width, 3), (*kernel, 3, 5))
        )
        expected = jax.lax.conv_general_dilated(
            maps,
            kernels,
            (stride, stride),
            "VALID",
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            precision="highest",
        )
        actual = stem.multiply(maps, kernels, stride)
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5 * np.sqrt(kernels[..., 0].size))

    def test_a_matrix_product_sums_in_float32(self):
        maps = jnp.ones((1, 3, 3, 4), jnp.bfloat16).at[..., 0].set(512)  # in bfloat16, 512 + 1 is 512
        actual = stem.multiply(maps, jnp.ones((3, 3, 4, 1), jnp.bfloat16), 1)
        self.assertEqual(actual.dtype, jnp.bfloat16)
        np.testing.assert_allclose(actual.astype(jnp.float32), 9 * (512 + 3), rtol=2**-8)

    def test_widths_that_fit(self):
        self.assertEqual([stem.fits(*case) for case in ((8, 1), (8, 2), (12, 2), (6, 1))], [True, True, False, False])


if __name__ == "__main__":
    absltest.main()
