import functools
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cwcf_jax import arrays
from tests.support import oracles

VECTORS = hnp.arrays(
    np.float32,
    hnp.array_shapes(min_dims=1, max_dims=3),
    elements=st.floats(-1e6, 1e6, width=32).map(lambda x: round(x, 3)),
)


class L2NormalizeTest(absltest.TestCase):
    @settings(deadline=None, max_examples=60)
    @given(VECTORS)
    def test_against_float64(self, vectors):
        found = np.asarray(arrays.l2_normalize(jnp.asarray(vectors)))
        expected = np.apply_along_axis(oracles.l2, -1, vectors.astype(np.float64))
        np.testing.assert_allclose(found, expected, atol=1e-6)

    def test_zero_has_a_zero_gradient(self):
        gradient = jax.grad(lambda vector: jnp.sum(arrays.l2_normalize(vector)))(jnp.zeros(4))
        np.testing.assert_array_equal(gradient, np.zeros(4))


class ValidMaskTest(absltest.TestCase):
    def test_rows_then_columns(self):
        mask = arrays.valid_mask(jnp.array([1, 3]), (2, 4))
        np.testing.assert_array_equal(mask, [[True, True, True, False], [False, False, False, False]])


class BucketShapeTest(absltest.TestCase):
    @settings(max_examples=100)
    @given(st.integers(1, 5000), st.integers(1, 5000))
    def test_holds_the_image_without_waste(self, height, width):
        bucket = arrays.bucket_shape((height, width), 128, 240)
        for side, padded in zip((height, width), bucket, strict=True):
            between = [length for length in range(side, padded + 1) if length % 128 == 0 or length % 240 == 0]
            self.assertEqual(between, [padded])


class EinsumTest(absltest.TestCase):
    def test_bfloat16_by_float32_is_as_exact_as_float32(self):
        generator = np.random.default_rng(0)
        narrow = jnp.asarray(generator.normal(size=(2, 40, 300)), jnp.bfloat16)
        wide = np.exp(3 * generator.normal(size=(300, 7))).astype(np.float32)
        # The largest sum of magnitudes is what a sum in float32 errs in proportion to.
        expected, magnitude = (
            np.einsum("bhc,cn->bhn", *map(change, (np.asarray(narrow, np.float64), wide)))
            for change in (lambda x: np.asarray(x, np.float64), np.abs)
        )
        for product in (arrays.einsum, arrays.einsum_of_parts):
            for found in (
                jax.jit(functools.partial(product, "bhc,cn->bhn"))(narrow, wide),
                jax.jit(functools.partial(product, "cn,bhc->bhn"))(wide, narrow),
            ):
                self.assertEqual(found.dtype, jnp.float32)
                self.assertLess(np.max(np.abs(found - expected) / magnitude), 2e-6)

    def test_parts_where_both_operands_are_large(self):
        for kinds, classes, expected in (
            ((jnp.bfloat16, jnp.float32), 256, 1),
            ((jnp.float32, jnp.bfloat16), 256, 1),
            ((jnp.bfloat16, jnp.float32), 255, 0),
            ((jnp.float32, jnp.float32), 256, 0),
            ((jnp.bfloat16, jnp.bfloat16), 256, 0),
        ):
            operands = jnp.ones((16, 16, 3), kinds[0]), jnp.ones((3, classes), kinds[1])
            with mock.patch.object(jax.lax, "platform_dependent", wraps=jax.lax.platform_dependent) as chosen:
                found = arrays.einsum("hwc,cn->hwn", *operands)
            self.assertEqual(chosen.call_count, expected, f"{kinds} {classes}")
            np.testing.assert_array_equal(found, np.full((16, 16, classes), 3))

    @settings(deadline=None, max_examples=60)
    @given(hnp.arrays(np.float32, 8, elements=st.floats(-(2.0**100), 2.0**100, width=32)))
    def test_parts_lose_nothing(self, values):
        values = np.where(np.abs(values) > 1e-30, values, 0)
        parts = jax.jit(arrays.bfloat16_parts)(values)
        self.assertEqual([part.dtype for part in parts], [jnp.bfloat16] * 3)
        np.testing.assert_array_equal(sum(np.asarray(part, np.float64) for part in parts), values.astype(np.float64))

    def test_accumulates_in_float32(self):
        ones = jnp.ones(4096, jnp.bfloat16)
        total = arrays.einsum("i,i->", ones, ones)  # in bfloat16 the sum would stop at 256
        self.assertEqual(total.dtype, jnp.float32)
        self.assertEqual(float(total), 4096.0)


if __name__ == "__main__":
    absltest.main()
