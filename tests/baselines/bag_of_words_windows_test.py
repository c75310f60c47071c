import collections

import numpy as np
from absl.testing import absltest, parameterized
from hypothesis import given, settings
from hypothesis import strategies as st

from cwcf_jax.baselines import bag_of_words_windows
from tests.support import oracles


def _map(seed=0, shape=(12, 16), words=30):
    return np.random.default_rng(seed).integers(-1, words, shape).astype(np.int32)


def _crop(assignment, box):
    x1, y1, x2, y2 = box
    return assignment[y1:y2, x1:x2]


def _parts(assignment, box):
    """Crops a window and its quarters from an assignment map."""
    window = _crop(assignment, box)
    y, x = (box[1] + box[3]) // 2 - box[1], (box[0] + box[2]) // 2 - box[0]
    return [window, window[:y, :x], window[:y, x:], window[y:, :x], window[y:, x:]]


def _cosine(a, b):
    bag_a, bag_b = (collections.Counter(int(word) for word in part.flat if word >= 0) for part in (a, b))
    if not bag_a or not bag_b:
        return 0.0
    norms = np.prod([np.sqrt(sum(count**2 for count in bag.values())) for bag in (bag_a, bag_b)])
    return sum(count * bag_b[word] for word, count in bag_a.items()) / norms


def _score(assignment, window, query_map, box):
    cosines = [_cosine(a, b) for a, b in zip(_parts(assignment, window), _parts(query_map, box), strict=True)]
    weights = [0.5, 1, 1, 1, 1]
    total = sum(w for w, part in zip(weights, _parts(query_map, box), strict=True) if (part >= 0).any())
    return np.dot(weights, cosines) / total if total else 0.0


class SlidingWindowsTest(parameterized.TestCase):
    def test_the_grid_of_the_source(self):
        # Of 32 x 42, windows of 3/8 and thinner are left out: 1 whole map, 9 halves, 49 quarters, 3 x 1 of W/2 x H and
        # 7 x 3 of W/4 x H/2 remain.
        actual = bag_of_words_windows.sliding_windows(32, 42)
        self.assertLen(actual, 1 + 9 + 49 + 3 + 21)
        np.testing.assert_array_equal(actual[0], [0, 0, 42, 32])
        sides = collections.Counter(map(tuple, actual[:, 2:] - actual[:, :2]))
        self.assertEqual(sides, {(42, 32): 1, (21, 32): 3, (21, 16): 9, (10, 16): 21, (10, 8): 49})

    def test_by_hand(self):
        actual = bag_of_words_windows.sliding_windows(4, 4)
        halves = [[x, y, x + 2, y + 2] for y in (0, 1, 2) for x in (0, 1, 2)]
        np.testing.assert_array_equal(actual[0], [0, 0, 4, 4])
        self.assertContainsSubset(list(map(tuple, halves)), list(map(tuple, actual)))
        # Also W x H/2 and W/2 x H are kept. H/4 is one cell: 4 windows along a side.
        sides = collections.Counter(map(tuple, actual[:, 2:] - actual[:, :2]))
        self.assertEqual(sides, {(4, 4): 1, (4, 2): 3, (2, 4): 3, (2, 2): 9, (2, 1): 12, (1, 2): 12, (1, 1): 16})

    def test_threshold(self):
        windows = bag_of_words_windows.sliding_windows(8, 20)
        self.assertIn((10, 4), set(map(tuple, windows[:, 2:] - windows[:, :2])))  # 4 / 10 = .4
        windows = bag_of_words_windows.sliding_windows(8, 22)
        self.assertNotIn((11, 4), set(map(tuple, windows[:, 2:] - windows[:, :2])))  # 4 / 11 = .36

    def test_the_whole_map_is_always_a_window(self):
        np.testing.assert_array_equal(bag_of_words_windows.sliding_windows(2, 40)[0], [0, 0, 40, 2])

    def test_aspect_of_the_query(self):
        for windows in (
            bag_of_words_windows.sliding_windows(32, 42, aspect=0.5)[1:],
            bag_of_words_windows.sliding_windows(32, 42, aspect=3.0)[1:],
        ):
            self.assertNotEmpty(windows)
        tall = bag_of_words_windows.sliding_windows(32, 42, aspect=0.25)[1:]
        shapes = (tall[:, 2] - tall[:, 0]) / (tall[:, 3] - tall[:, 1])
        self.assertEqual(set(shapes), {10 / 32, 10 / 16})  # .25 / .3125 and .25 / .625; not 21 / 32

    @settings(deadline=None, max_examples=60)
    @given(st.integers(1, 60), st.integers(1, 60))
    def test_windows_of_any_map(self, height, width):
        windows = bag_of_words_windows.sliding_windows(height, width)
        self.assertEqual(windows.dtype, np.int32)
        self.assertLen({tuple(window) for window in windows}, len(windows))
        self.assertTrue((windows[:, :2] >= 0).all() and (windows[:, 2:] <= [width, height]).all())
        sides = windows[:, 2:] - windows[:, :2]
        self.assertTrue((sides >= 1).all())
        self.assertTrue((sides[1:].min(axis=1) / sides[1:].max(axis=1) >= 0.4).all())
        self.assertTrue((np.diff(sides.prod(axis=1)) <= max(height, width)).all())
        for side in {tuple(side) for side in sides[1:]}:
            same_size = windows[(sides == side).all(axis=1)]
            for axis, length in ((0, width), (1, height)):
                starts = sorted(set(same_size[:, axis]))
                self.assertEqual((starts[0], starts[-1]), (0, length - side[axis]))
                # Neighbours overlap by half, up to the rounding of sides and starts to cells.
                self.assertTrue((np.diff(starts) <= side[axis] / 2 + 1.5).all())

    def test_errors(self):
        for arguments in ((0, 4), (4, 0)):
            with self.assertRaisesRegex(ValueError, "has no windows"):
                bag_of_words_windows.sliding_windows(*arguments)
        with self.assertRaisesRegex(ValueError, "aspect"):
            bag_of_words_windows.sliding_windows(4, 4, aspect=0.0)


class WindowScoresTest(absltest.TestCase):
    @settings(deadline=None, max_examples=30)
    @given(st.integers(0, 1000), st.integers(1, 13), st.integers(1, 17), st.sampled_from([2, 30, 25_000]))
    def test_against_counting(self, seed, height, width, vocabulary):
        assignment, other = _map(seed, (height, width), vocabulary), _map(seed + 1, (9, 11), vocabulary)
        random = np.random.default_rng(seed)
        x1, y1 = random.integers(0, 11), random.integers(0, 9)
        box = np.array([x1, y1, random.integers(x1 + 1, 12), random.integers(y1 + 1, 10)])
        grid = bag_of_words_windows.sliding_windows(height, width)
        actual = bag_of_words_windows.window_scores(assignment, grid, bag_of_words_windows.describe(other, box))
        self.assertEqual(actual.dtype, np.float32)
        np.testing.assert_allclose(actual, [_score(assignment, window, other, box) for window in grid], atol=1e-6)

    def test_quarters_by_hand(self):
        # The same four words, two of them in other quarters: cosines 1 (window), 1 0 0 1 (quarters): (.5 + 2) / 4.5.
        query = bag_of_words_windows.describe(np.array([[0, 1], [2, 3]]), np.array([0, 0, 2, 2]))
        actual = bag_of_words_windows.window_scores(np.array([[0, 2], [1, 3]]), np.array([[0, 0, 2, 2]]), query)
        np.testing.assert_allclose(actual, [2.5 / 4.5], rtol=1e-6)

    def test_the_query_itself_scores_one(self):
        assignment = _map()
        for box in ([2, 3, 9, 11], [5, 5, 6, 6], [0, 0, 16, 1]):
            box = np.array(box)
            query = bag_of_words_windows.describe(assignment, box)
            if len(query.words):
                np.testing.assert_allclose(
                    bag_of_words_windows.window_scores(assignment, box[None], query), [1.0], rtol=1e-6
                )

    def test_without_words(self):
        assignment, no_words = _map(), np.full((3, 4), -1, np.int32)
        grid = bag_of_words_windows.sliding_windows(12, 16)
        for query in (
            bag_of_words_windows.describe(no_words, np.array([0, 0, 4, 3])),
            bag_of_words_windows.describe(assignment, np.array([3, 3, 3, 3])),
        ):
            self.assertEmpty(query.words)
            np.testing.assert_array_equal(
                bag_of_words_windows.window_scores(assignment, grid, query), np.zeros(len(grid))
            )
        query = bag_of_words_windows.describe(assignment, np.array([0, 0, 16, 12]))
        np.testing.assert_array_equal(
            bag_of_words_windows.window_scores(no_words, np.array([[0, 0, 4, 3]]), query), [0.0]
        )

    def test_pyramid(self):
        query = bag_of_words_windows.describe(np.array([[7, 7, 5], [5, -1, 7]]), np.array([0, 0, 2, 2]))
        np.testing.assert_array_equal(query.words, [5, 7])
        expected = [[1 / np.sqrt(5), 2 / np.sqrt(5)], [0, 1], [0, 1], [1, 0], [0, 0]]
        np.testing.assert_allclose(query.histograms, expected, rtol=1e-6)


class LocateTest(absltest.TestCase):
    def test_finds_a_planted_pattern(self):
        grid = bag_of_words_windows.sliding_windows(12, 16)
        query_map = _map(1, (8, 8), 500)
        query = bag_of_words_windows.describe(query_map, np.array([1, 1, 5, 4]))
        pattern = _crop(query_map, (1, 1, 5, 4))
        for number in (34, 50, 82):  # windows of 4 x 3 cells
            x1, y1, x2, y2 = grid[number]
            assignment = _map(2, (12, 16), 500) + 501
            assignment[y1:y2, x1:x2] = pattern
            location = bag_of_words_windows.locate(assignment, grid, query, 1001)
            np.testing.assert_array_equal(location.window, grid[number])
            self.assertAlmostEqual(location.score, 1.0, delta=1e-6)
            expected = oracles.l2(np.bincount(pattern[pattern >= 0], minlength=1001))
            np.testing.assert_allclose(location.histogram, expected, atol=1e-6)

    def test_histogram_of_the_window(self):
        assignment = _map()
        query = bag_of_words_windows.describe(_map(1), np.array([0, 0, 16, 12]))
        grid = bag_of_words_windows.sliding_windows(12, 16)
        location = bag_of_words_windows.locate(assignment, grid, query, 40)
        best = int(np.argmax(bag_of_words_windows.window_scores(assignment, grid, query)))
        words = _crop(assignment, grid[best])
        np.testing.assert_array_equal(location.window, grid[best])
        self.assertEqual(location.histogram.dtype, np.float32)
        expected = oracles.l2(np.bincount(words[words >= 0], minlength=40))
        np.testing.assert_allclose(location.histogram, expected, atol=1e-6)

    def test_the_first_of_equal_windows(self):
        no_words = np.full((12, 16), -1, np.int32)
        query = bag_of_words_windows.describe(_map(), np.array([0, 0, 16, 12]))
        location = bag_of_words_windows.locate(no_words, bag_of_words_windows.sliding_windows(12, 16), query, 40)
        np.testing.assert_array_equal(location.window, [0, 0, 16, 12])
        self.assertEqual(location.score, 0.0)
        np.testing.assert_array_equal(location.histogram, np.zeros(40))


if __name__ == "__main__":
    absltest.main()
