import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized
from hypothesis import given, settings
from hypothesis import strategies as st

from cwcf_jax.search import neighbourhood


def compared(rows):
    """Every row with every other."""
    return [next(j for j, other in enumerate(rows) if (other == row).all()) for row in rows]


class FirstEqualTest(absltest.TestCase):
    def test_by_hand(self):
        rows = jnp.array([[1.0, 2.0], [0.0, 0.0], [1.0, 2.0], [1.0, 3.0], [-0.0, 0.0]])
        np.testing.assert_array_equal(neighbourhood.first_equal(rows), [0, 1, 0, 3, 1])

    @settings(deadline=None, max_examples=20)
    @given(st.integers(0, 2**32 - 1))
    def test_copies_among_rows_that_hardly_differ(self, seed):
        random = np.random.default_rng(seed)
        few = np.repeat(random.normal(size=(1, 7)), 12, axis=0).astype(np.float32)
        few[np.arange(12), random.integers(7, size=12)] *= np.float32(1 + 2**-22)
        rows = few[random.integers(12, size=40)]
        np.testing.assert_array_equal(neighbourhood.first_equal(jnp.asarray(rows)), compared(rows))

    def test_different_rows_of_one_checksum(self):
        """A checksum is linear in the bits: ``steps`` from 1 in either number change it by the same amount."""
        one, next_one = np.float32(1), np.nextafter(np.float32(1), np.float32(2))
        rows = jnp.array([[one, one], [next_one, one], [one, next_one]])
        base, *changed = (int(total) for total in neighbourhood.row_checksums(rows))
        first, second = ((total - base) % 2**32 for total in changed)
        solutions = ((steps, steps * first * pow(second, -1, 2**32) % 2**32) for steps in range(1, 2**23))
        steps = next(pair for pair in solutions if pair[1] < 2**23)  # which stays below 2
        left, right = (one.view(np.uint32) + np.array(steps, np.uint32)).view(np.float32)
        rows = np.array([[left, one], [one, right], [left, one], [0, 0], [one, right]], np.float32)
        self.assertLen(set(neighbourhood.row_checksums(jnp.asarray(rows[:2])).tolist()), 1)
        np.testing.assert_array_equal(neighbourhood.first_equal(jnp.asarray(rows)), compared(rows))
        both = np.stack([rows, rows[::-1] + np.arange(5)[:, None]]).astype(np.float32)  # no two are equal in the second
        found = jax.vmap(neighbourhood.first_equal)(jnp.asarray(both))
        np.testing.assert_array_equal(found, [compared(some) for some in both])


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
