import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from cwcf_jax.search import neighbourhood


class FirstEqualTest(absltest.TestCase):
    def test_by_hand(self):
        rows = jnp.array([[1.0, 2.0], [0.0, 0.0], [1.0, 2.0], [1.0, 3.0], [-0.0, 0.0]])
        np.testing.assert_array_equal(neighbourhood.first_equal(rows), [0, 1, 0, 3, 1])


class CosinesTest(absltest.TestCase):
    def test_equal_rows_have_equal_bits(self):
        """A matrix product does not promise that, though on some processors it does so."""
        random = np.random.default_rng(0)
        few = random.normal(size=(7, 831))
        rows = few[random.integers(7, size=101)]
        rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
        found = np.asarray(neighbourhood.cosines(jnp.asarray(rows), neighbourhood.first_equal(jnp.asarray(rows))))
        np.testing.assert_allclose(found, rows.astype(np.float64) @ rows.T.astype(np.float64), atol=1e-6)
        np.testing.assert_array_equal(found, found.T)
        self.assertEqual(np.abs(found).max(), found.max())
        self.assertLessEqual(found.max(), 1.0)
        self.assertLen({row.tobytes() for row in found}, 7)


class NearestTest(parameterized.TestCase):
    @parameterized.parameters((1, [1, 0, 0, 1]), (2, [1, 0, 0, 1]), (3, [1, 0, 1, 1]), (9, [1, 1, 1, 1]))
    def test_what_equals_the_last_is_near_too(self, count, expected):
        found = neighbourhood.nearest(jnp.array([[0.5, 4.0, 2.0, 0.5]]), count)
        np.testing.assert_array_equal(found, np.array([expected], bool))


if __name__ == "__main__":
    absltest.main()
