import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cwcf_jax import arrays
from tests import oracles

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
    def test_accumulates_in_float32(self):
        ones = jnp.ones(4096, jnp.bfloat16)
        total = arrays.einsum("i,i->", ones, ones)  # in bfloat16 the sum would stop at 256
        self.assertEqual(total.dtype, jnp.float32)
        self.assertEqual(float(total), 4096.0)


if __name__ == "__main__":
    absltest.main()
