import functools
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cwcf_jax import arrays
from tests.support import oracles
from tests.support.slow import cases

VECTORS = hnp.arrays(
    np.float32,
    hnp.array_shapes(min_dims=1, max_dims=3),
    elements=st.floats(-1e6, 1e6, width=32).map(lambda x: round(x, 3)),
)


class L2NormalizeTest(absltest.TestCase):
    @settings(deadline=None, max_examples=cases(20, 60))
    @given(VECTORS)
    def test_against_float64(self, vectors):
        actual = np.asarray(arrays.l2_normalize(jnp.asarray(vectors)))
        expected = np.apply_along_axis(oracles.l2, -1, vectors.astype(np.float64))
        np.testing.assert_allclose(actual, expected, atol=1e-6)

    def test_zero_has_a_zero_gradient(self):
        gradient = jax.grad(lambda vector: jnp.sum(arrays.l2_normalize(vector)))(jnp.zeros(4))
        np.testing.assert_array_equal(gradient, np.zeros(4))


class InverseNormTest(absltest.TestCase):
    def test_short_vectors_are_not_zero(self):
        np.testing.assert_allclose(arrays.inverse_norm(jnp.array([[1e-4, 0.0], [0.0, 1e-12]])), [1e4, 1e12], rtol=1e-5)

    def test_by_hand(self):
        actual = arrays.inverse_norm(jnp.array([[3.0, 4.0], [0.0, 0.0], [-0.5, 0.0]]))
        np.testing.assert_allclose(actual, [0.2, 0.0, 2.0], rtol=1e-6)

    def test_zero_has_a_zero_gradient(self):
        gradient = jax.grad(lambda vector: jnp.sum(arrays.inverse_norm(vector)))(jnp.zeros(4))
        np.testing.assert_array_equal(gradient, np.zeros(4))


SHAPES = [(1, 1), (4, 19), (3, 7), (2, 20), (1, 16), (4, 1), (3, 2), (2, 13)]
FINITE = st.floats(-1e3, 1e3, width=32).filter(lambda x: x == 0 or abs(x) > 1e-3)


class QuantizeTest(parameterized.TestCase):
    @parameterized.parameters(jnp.asarray, np.asarray)
    def test_by_hand(self, make):
        numbers = make([[-2.54, 0.02, 1.0, 0.031]], dtype=np.float32)
        values, scales = arrays.quantize(numbers)
        np.testing.assert_allclose(scales, [0.02], rtol=1e-6)
        self.assertEqual(values.tolist(), [[-127, 1, 50, 2]])
        self.assertEqual((values.dtype, scales.dtype), (np.int8, np.float32))
        dequantized = arrays.dequantize(values, scales)
        np.testing.assert_allclose(dequantized, [[-2.54, 0.02, 1.0, 0.04]], rtol=1e-6)
        self.assertTrue(all(isinstance(array, type(numbers)) for array in (values, scales, dequantized)))

    @settings(deadline=None)
    @given(hnp.arrays(np.float32, st.sampled_from(cases(SHAPES[:3], SHAPES)), elements=FINITE))
    def test_within_half_a_step(self, vectors):
        values, scales = arrays.quantize(jnp.asarray(vectors))
        step = np.abs(vectors.astype(np.float64)).max(axis=-1, keepdims=True) / 127
        error = np.abs(np.asarray(arrays.dequantize(values, scales), np.float64) - vectors)
        self.assertTrue(np.all(error <= 0.5001 * step))
        self.assertLessEqual(int(np.abs(np.asarray(values, np.int32)).max()), 127)

    def test_zero_vectors_and_half_precision(self):
        values, scales = arrays.quantize(jnp.zeros((2, 3, 4)))
        self.assertEqual(float(scales.max()), 0.0)
        self.assertEqual(float(jnp.abs(arrays.dequantize(values, scales)).max()), 0.0)
        _, scales = arrays.quantize(jnp.array([0.5, -1.0], jnp.bfloat16))
        self.assertEqual(scales.dtype, jnp.float32)

    def test_a_scale_for_each_channel_of_maps(self):
        maps = np.array([[[1.27, 100.0], [-0.02, 0.3]], [[0.001, 0.0], [0.5, -50.0]]], np.float32)
        values, scales = arrays.quantize(maps, axis=(0, 1))
        np.testing.assert_allclose(scales, [0.01, 100 / 127], rtol=1e-6)
        self.assertEqual(values.tolist(), [[[127, 127], [-2, 0]], [[0, 0], [50, -64]]])
        nonzero_kept, scales = arrays.quantize(maps, axis=(0, 1), keep_nonzero=True)
        self.assertEqual(nonzero_kept.tolist(), [[[127, 127], [-2, 1]], [[1, 0], [50, -64]]])
        dequantized = arrays.dequantize(nonzero_kept, scales, axis=(0, 1))
        np.testing.assert_allclose(dequantized[1], [[0.01, 0.0], [0.5, -64 * 100 / 127]], rtol=1e-6)

    def test_numbers_without_scales(self):
        actual = arrays.dequantize(np.array([1.5, -2.0], np.float16), None)
        self.assertEqual((actual.dtype, actual.tolist()), (np.float32, [1.5, -2.0]))


class ValidMaskTest(absltest.TestCase):
    def test_rows_then_columns(self):
        mask = arrays.valid_mask(jnp.array([1, 3]), (2, 4))
        np.testing.assert_array_equal(mask, [[True, True, True, False], [False, False, False, False]])


class BucketShapeTest(absltest.TestCase):
    @settings(max_examples=100)
    @given(st.integers(1, 5000), st.integers(1, 5000))
    def test_is_the_smallest_bucket_of_the_image(self, height, width):
        bucket = arrays.bucket_shape((height, width), 128, 240)
        for side, padded in zip((height, width), bucket, strict=True):
            multiples = [length for length in range(side, padded + 1) if length % 128 == 0 or length % 240 == 0]
            self.assertEqual(multiples, [padded])


class EinsumTest(absltest.TestCase):
    def test_bfloat16_by_float32_is_as_exact_as_float32(self):
        generator = np.random.default_rng(0)
        narrow = jnp.asarray(generator.normal(size=(2, 40, 300)), jnp.bfloat16)
        wide = np.exp(3 * generator.normal(size=(300, 7))).astype(np.float32)
        # The error of a sum in float32 is proportional to the sum of magnitudes.
        expected, magnitude = (
            np.einsum("bhc,cn->bhn", *map(convert, (np.asarray(narrow, np.float64), wide)))
            for convert in (lambda x: np.asarray(x, np.float64), np.abs)
        )
        for product in (arrays.einsum, arrays.einsum_bf16x3):
            for actual in (
                jax.jit(functools.partial(product, "bhc,cn->bhn"))(narrow, wide),
                jax.jit(functools.partial(product, "cn,bhc->bhn"))(wide, narrow),
            ):
                self.assertEqual(actual.dtype, jnp.float32)
                self.assertLess(np.max(np.abs(actual - expected) / magnitude), 2e-6)

    def test_uses_parts_if_both_operands_are_large(self):
        for dtypes, classes, expected in (
            ((jnp.bfloat16, jnp.float32), 256, 1),
            ((jnp.float32, jnp.bfloat16), 256, 1),
            ((jnp.bfloat16, jnp.float32), 255, 0),
            ((jnp.float32, jnp.float32), 256, 0),
            ((jnp.bfloat16, jnp.bfloat16), 256, 0),
        ):
            operands = jnp.ones((16, 16, 3), dtypes[0]), jnp.ones((3, classes), dtypes[1])
            with mock.patch.object(jax.lax, "platform_dependent", wraps=jax.lax.platform_dependent) as dispatch:
                actual = arrays.einsum("hwc,cn->hwn", *operands)
            self.assertEqual(dispatch.call_count, expected, f"{dtypes} {classes}")
            np.testing.assert_array_equal(actual, np.full((16, 16, classes), 3))

    @settings(deadline=None, max_examples=cases(20, 60))
    @given(hnp.arrays(np.float32, 8, elements=st.floats(-(2.0**100), 2.0**100, width=32)))
    def test_parts_sum_to_the_values_exactly(self, values):
        values = np.where(np.abs(values) > 1e-30, values, 0)
        parts = jax.jit(arrays.bfloat16_parts)(values)
        self.assertEqual([part.dtype for part in parts], [jnp.bfloat16] * 3)
        np.testing.assert_array_equal(sum(np.asarray(part, np.float64) for part in parts), values.astype(np.float64))

    def test_accumulates_in_float32(self):
        ones = jnp.ones(4096, jnp.bfloat16)
        total = arrays.einsum("i,i->", ones, ones)  # a sum in bfloat16 would stay at 256
        self.assertEqual(total.dtype, jnp.float32)
        self.assertEqual(float(total), 4096.0)


if __name__ == "__main__":
    absltest.main()
