import jax.numpy as jnp
import numpy as np
from absl.testing import absltest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from cwcf_jax.descriptors import dequantize, quantize

FINITE = st.floats(-1e3, 1e3, width=32).filter(lambda x: x == 0 or abs(x) > 1e-3)


class QuantizeTest(absltest.TestCase):
    def test_by_hand(self):
        found = quantize(jnp.array([[-2.54, 0.02, 1.0, 0.031]]))
        np.testing.assert_allclose(found.scales, [0.02], rtol=1e-6)
        self.assertEqual(found.values.tolist(), [[-127, 1, 50, 2]])
        self.assertEqual(found.values.dtype, jnp.int8)

    @settings(deadline=None)
    @given(arrays.arrays(np.float32, st.tuples(st.integers(1, 4), st.integers(1, 20)), elements=FINITE))
    def test_within_half_a_step(self, vectors):
        found = quantize(jnp.asarray(vectors))
        step = np.abs(vectors.astype(np.float64)).max(axis=-1, keepdims=True) / 127
        error = np.abs(np.asarray(dequantize(found), np.float64) - vectors)
        self.assertTrue(np.all(error <= 0.5001 * step))
        self.assertLessEqual(int(np.abs(np.asarray(found.values, np.int32)).max()), 127)

    def test_zero_vectors_and_half_precision(self):
        found = quantize(jnp.zeros((2, 3, 4)))
        self.assertEqual(float(found.scales.max()), 0.0)
        self.assertEqual(float(jnp.abs(dequantize(found)).max()), 0.0)
        half = quantize(jnp.array([0.5, -1.0], jnp.bfloat16))
        self.assertEqual(half.scales.dtype, jnp.float32)


if __name__ == "__main__":
    absltest.main()
