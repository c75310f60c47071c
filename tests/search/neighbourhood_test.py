import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized
from hypothesis import given, settings
from hypothesis import strategies as st

from cwcf_jax.search import neighbourhood


def first_equal(rows):
    """Finds the first equal row of each row by comparing every row with every other."""
    return [next(j for j, other in enumerate(rows) if (other == row).all()) for row in rows]


class FirstEqualTest(absltest.TestCase):
    def test_by_hand(self):
        rows = jnp.array([[1.0, 2.0], [0.0, 0.0], [1.0, 2.0], [1.0, 3.0], [-0.0, 0.0]])
        np.testing.assert_array_equal(neighbourhood.first_equal(rows), [0, 1, 0, 3, 1])

    @settings(deadline=None, max_examples=20)
    @given(st.integers(0, 2**32 - 1))
    def test_copies_among_rows_that_hardly_differ(self, seed):
        random = np.random.default_rng(seed)
        distinct = np.repeat(random.normal(size=(1, 7)), 12, axis=0).astype(np.float32)
        distinct[np.arange(12), random.integers(7, size=12)] *= np.float32(1 + 2**-22)
        rows = distinct[random.integers(12, size=40)]
        np.testing.assert_array_equal(neighbourhood.first_equal(jnp.asarray(rows)), first_equal(rows))

    def test_different_rows_of_one_checksum(self):
        """A checksum is linear in the bits: ``steps`` from 1 in either number change the checksum by equal amounts."""
        unity, next_float = np.float32(1), np.nextafter(np.float32(1), np.float32(2))
        rows = jnp.array([[unity, unity], [next_float, unity], [unity, next_float]])
        base, *changed = (int(total) for total in neighbourhood.row_checksums(rows))
        first, second = ((total - base) % 2**32 for total in changed)
        solutions = ((steps, steps * first * pow(second, -1, 2**32) % 2**32) for steps in range(1, 2**23))
        steps = next(pair for pair in solutions if pair[1] < 2**23)  # so that both numbers stay below 2
        left, right = (unity.view(np.uint32) + np.array(steps, np.uint32)).view(np.float32)
        rows = np.array([[left, unity], [unity, right], [left, unity], [0, 0], [unity, right]], np.float32)
        self.assertLen(set(neighbourhood.row_checksums(jnp.asarray(rows[:2])).tolist()), 1)
        np.testing.assert_array_equal(neighbourhood.first_equal(jnp.asarray(rows)), first_equal(rows))
        distinct = rows[::-1] + np.arange(5)[:, None]
        both = np.stack([rows, distinct]).astype(np.float32)
        actual = jax.vmap(neighbourhood.first_equal)(jnp.asarray(both))
        np.testing.assert_array_equal(actual, [first_equal(batch) for batch in both])


class CosinesTest(absltest.TestCase):
    def test_equal_rows_have_equal_bits(self):
        """A matrix product gives equal rows equal bits on some processors only."""
        random = np.random.default_rng(0)
        distinct = random.normal(size=(7, 831))
        rows = distinct[random.integers(7, size=101)]
        rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
        actual = np.asarray(neighbourhood.cosines(jnp.asarray(rows), neighbourhood.first_equal(jnp.asarray(rows))))
        np.testing.assert_allclose(actual, rows.astype(np.float64) @ rows.T.astype(np.float64), atol=1e-6)
        np.testing.assert_array_equal(actual, actual.T)
        self.assertEqual(np.abs(actual).max(), actual.max())
        self.assertLessEqual(actual.max(), 1.0)
        self.assertLen({row.tobytes() for row in actual}, 7)


class NearestMaskTest(parameterized.TestCase):
    @parameterized.parameters((1, [1, 0, 0, 1]), (2, [1, 0, 0, 1]), (3, [1, 0, 1, 1]), (9, [1, 1, 1, 1]))
    def test_distances_equal_to_the_last_are_marked_too(self, count, expected):
        actual = neighbourhood.nearest_mask(jnp.array([[0.5, 4.0, 2.0, 0.5]]), count)
        np.testing.assert_array_equal(actual, np.array([expected], bool))


if __name__ == "__main__":
    absltest.main()
