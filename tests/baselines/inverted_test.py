import numpy as np
from absl.testing import absltest
from hypothesis import given, settings
from hypothesis import strategies as st

from cwcf_jax.baselines.inverted import InvertedIndex
from tests.support import oracles

BAGS = st.lists(st.lists(st.integers(-1, 9), max_size=12), min_size=1, max_size=8)


def _histogram(bag, words=10):
    return oracles.l2(np.array([bag.count(word) for word in range(words)], np.float64))


class InvertedIndexTest(absltest.TestCase):
    @settings(deadline=None, max_examples=60)
    @given(BAGS, st.lists(st.integers(-1, 9), max_size=12))
    def test_against_dense_rows(self, bags, query):
        index = InvertedIndex((np.array(bag, np.int32) for bag in bags), 10)
        expected = [_histogram(bag) @ _histogram(query) for bag in bags]
        found = index.search_words(np.array(query, np.int32))
        self.assertEqual(found.dtype, np.float32)
        np.testing.assert_allclose(found, expected, atol=1e-6)
        dense = 7.5 * _histogram(query).astype(np.float32)  # any scale
        np.testing.assert_allclose(index.search(dense), expected, atol=1e-6)

    def test_by_hand(self):
        # The query is (1, 1, 0) / sqrt 2; images (2, 1, 0) / sqrt 5, (0, 0, 3) / 3, nothing, (1, 1, 0) / sqrt 2.
        index = InvertedIndex([np.array(bag, int) for bag in ([0, 1, 0], [2, 2, 2], [], [1, -1, 0])], 3)
        self.assertLen(index, 4)
        np.testing.assert_allclose(index.search_words(np.array([1, 0])), [3 / np.sqrt(10), 0, 0, 1], rtol=1e-6)

    def test_a_difference_of_histograms(self):
        index = InvertedIndex([np.array([0]), np.array([1])], 2)
        np.testing.assert_allclose(index.search(np.float32([3.0, -4.0])), [0.6, -0.8], rtol=1e-6)

    def test_without_words(self):
        index = InvertedIndex([np.array([0]), np.array([-1, -1])], 2)
        np.testing.assert_array_equal(index.search(np.zeros(2, np.float32)), [0, 0])
        np.testing.assert_array_equal(index.search_words(np.empty(0, int)), [0, 0])
        np.testing.assert_array_equal(index.search_words(np.array([-1])), [0, 0])
        self.assertEqual(InvertedIndex([], 2).search(np.ones(2, np.float32)).shape, (0,))

    def test_memory_grows_with_what_is_there(self):
        bags = [np.arange(20) + i for i in range(500)]
        index = InvertedIndex(bags, 25_000)
        self.assertEqual(index.nbytes, 500 * 20 * 8 + 4 * 25_001)  # 50 MB as rows

    def test_errors(self):
        with self.assertRaisesRegex(ValueError, "image 1: word 3 of a vocabulary of 3"):
            InvertedIndex([np.array([0]), np.array([3])], 3)
        index = InvertedIndex([np.array([0])], 3)
        with self.assertRaisesRegex(ValueError, "word 4"):
            index.search_words(np.array([4]))
        with self.assertRaisesRegex(ValueError, "4 words against an index of 3"):
            index.search(np.ones(4, np.float32))


if __name__ == "__main__":
    absltest.main()
