import numpy as np
from absl.testing import absltest, parameterized
from hypothesis import given, settings
from hypothesis import strategies as st

from cwcf_jax import baselines
from cwcf_jax.baselines import BagOfWords, Bags
from cwcf_jax.descriptors import WhiteningConfig, fit_pca_whitening
from tests.support import oracles
from tests.support.packages import package

DIM = 5


def _maps(seed, shape=(4, 6), dim=DIM):
    return np.maximum(np.random.default_rng(seed).normal(size=(*shape, dim)), 0).astype(np.float32)


def _local(maps):
    """l2 of every cell of the doubled map, float64."""
    height, width, _ = maps.shape
    doubled = package("cv2").resize(maps.astype(np.float64), (2 * width, 2 * height))
    return np.apply_along_axis(oracles.l2, 2, doubled)


def _bag(words, dim=2):
    """A vocabulary of so many words for histograms, where what the words are does not matter."""
    return BagOfWords(np.zeros((words, dim), np.float32), fit_pca_whitening(np.eye(3)[:, :dim]))


def _histogram(assignment, words):
    return np.array([np.count_nonzero(assignment == word) for word in range(words)], np.float64)


class AssignTest(absltest.TestCase):
    def test_nearest_word_of_each_cell_of_the_doubled_map(self):
        training = np.stack([oracles.l2(row) for row in np.random.default_rng(1).random((60, DIM))])
        whitening = WhiteningConfig(dim=4).fit(training, "toy")
        mean, projection = oracles.whitening(training, 4)
        projection = projection * np.sign(np.sum(np.asarray(whitening.projection) * projection, axis=0))
        centroids = np.random.default_rng(2).normal(size=(9, 4)).astype(np.float32)
        bag = BagOfWords(centroids, whitening)
        self.assertEqual(bag.words, 9)
        for seed, shape in enumerate([(4, 6), (3, 3), (1, 1)]):
            maps = _maps(seed, shape)
            unit = _local(maps)
            local = np.apply_along_axis(lambda cell: oracles.l2((cell - mean) @ projection), 2, unit)
            nearest = np.linalg.norm(local[:, :, None] - centroids, axis=3).argmin(axis=2)
            found = bag.assign(maps)
            self.assertEqual((found.shape, found.dtype), ((2 * shape[0], 2 * shape[1]), np.int32))
            np.testing.assert_array_equal(found, np.where(unit.any(axis=2), nearest, -1))

    def test_no_word_where_nothing_is_active(self):
        maps = np.zeros((3, 4, DIM), np.float32)
        maps[0, 0] = 1.0
        bag = BagOfWords(np.eye(DIM, dtype=np.float32), fit_pca_whitening(_maps(1, (5, 5)).reshape(-1, DIM)))
        found = bag.assign(maps)
        self.assertTrue((found[:3, :3] >= 0).all())  # half of the next cell is the first one's
        self.assertTrue((found[3:] == -1).all() and (found[:, 3:] == -1).all())


class VocabularyTest(absltest.TestCase):
    def _fit(self, maps, **options):
        settings = dict(count=4, sample=10_000, fitted_on="toy") | options
        return baselines.fit_vocabulary(maps, WhiteningConfig(dim=3), **settings)

    def test_whitening_of_every_local_feature(self):
        maps = [_maps(0), _maps(1, (3, 3))]
        maps[0][:, 3:] = 0.0  # cells without activation are no local features
        found = self._fit(maps)
        local = np.concatenate([_local(one).reshape(-1, DIM) for one in maps])
        mean, projection = oracles.whitening(local[np.any(local != 0, axis=1)], 3)
        np.testing.assert_allclose(found.whitening.mean, mean, atol=1e-6)
        scaled = np.asarray(found.whitening.projection) / np.sqrt(np.asarray(found.whitening.eigenvalues))
        np.testing.assert_allclose(np.abs(scaled), np.abs(projection), rtol=1e-3, atol=1e-3)
        self.assertEqual(found.whitening.fitted_on, "toy")

    def test_words_are_means_of_unit_vectors(self):
        """Three things, each in two images: every cell's word is its own thing."""
        things = np.random.default_rng(3).random((3, DIM)).astype(np.float32)
        maps = [np.tile(scale * thing, (3, 4, 1)) for thing in things for scale in (1.0, 2.0)]  # scale says nothing
        maps = [one.astype(np.float32) for one in maps]
        for seed in range(10):  # of some draws two rows are the same thing
            found = baselines.fit_vocabulary(maps, WhiteningConfig(), count=3, sample=999, fitted_on="", seed=seed)
            if len(np.unique(found.centroids.round(3), axis=0)) == 3:
                break
        np.testing.assert_allclose(np.linalg.norm(found.centroids, axis=1), 1.0, atol=1e-5)
        words = [set(found.assign(one).ravel().tolist()) for one in maps]
        self.assertEqual(words[::2], words[1::2])
        self.assertCountEqual([word for (word,) in words[::2]], range(3))

    def test_seed(self):
        maps = [_maps(0), _maps(1)]
        np.testing.assert_array_equal(self._fit(maps, seed=3).centroids, self._fit(maps, seed=3).centroids)
        self.assertFalse(np.array_equal(self._fit(maps, seed=3).centroids, self._fit(maps, seed=4).centroids))

    def test_a_sample_is_drawn_from_every_image(self):
        maps = [np.tile(np.eye(DIM, dtype=np.float32)[i], (6, 6, 1)) for i in range(DIM)]
        found = self._fit(maps, sample=20, count=5)  # 4 of 144 cells each
        np.testing.assert_allclose(found.whitening.mean, np.full(DIM, 0.2), atol=1e-6)

    def test_more_words_than_local_features(self):
        with self.assertRaisesRegex(ValueError, "cannot make 97 words of 96 vectors"):
            self._fit([_maps(0)], count=97)

    def test_cells_where_nothing_is_active_are_no_local_features(self):
        maps = _maps(0) + np.float32(0.1)
        maps[:, 1:] = 0.0  # the first column's two and half of the next, 8 rows
        with self.assertRaisesRegex(ValueError, "cannot make 25 words of 24 vectors"):
            self._fit([maps], count=25)

    def test_no_more_are_drawn_than_were_asked_for(self):
        with self.assertRaisesRegex(ValueError, "cannot make 11 words of 10 vectors"):
            self._fit([_maps(i) for i in range(4)], sample=10, count=11)


class BagsTest(parameterized.TestCase):
    @settings(deadline=None, max_examples=40)
    @given(st.integers(0, 10_000), st.integers(1, 4), st.integers(1, 12))
    def test_search_is_the_cosine_of_dense_histograms(self, seed, images, words):
        random = np.random.default_rng(seed)
        assignments = list(random.integers(-1, words, (images, 3, 4)).astype(np.int32))
        query = random.integers(-1, words, (6, 7)).astype(np.int32)
        x1, x2 = sorted(random.choice(8, 2, replace=False).tolist())
        y1, y2 = sorted(random.choice(7, 2, replace=False).tolist())
        bags = Bags(_bag(words), assignments)
        histogram = bags.histogram(query, np.array([x1, y1, x2, y2]))
        np.testing.assert_array_equal(histogram, _histogram(query[y1:y2, x1:x2], words))
        expected = [oracles.l2(_histogram(one, words)) @ oracles.l2(histogram) for one in assignments]
        np.testing.assert_allclose(bags.search(histogram), expected, atol=1e-6)
        whole = Bags(_bag(words), [query[y1:y2, x1:x2]])
        np.testing.assert_allclose(whole.search(histogram), [float(histogram.any())], atol=1e-6)

    def test_images_of_different_shapes(self):
        """Upright pictures beside lying ones."""
        bags = Bags(_bag(2), [np.array([[0, 1]], np.int32), np.array([[0], [0], [-1]], np.int32)])
        np.testing.assert_allclose(bags.search(np.array([1, 0], np.float32)), [np.sqrt(0.5), 1.0], atol=1e-6)

    def test_a_box_without_words(self):
        bags = Bags(_bag(4), [np.array([[0, 1]], np.int32), np.array([[-1, -1]], np.int32)])
        histogram = bags.histogram(np.full((3, 3), -1, np.int32), np.array([0, 0, 2, 2]))
        np.testing.assert_array_equal(histogram, np.zeros(4))
        np.testing.assert_array_equal(bags.search(histogram), [0.0, 0.0])

    def _planted(self):
        """A query box of 4 x 3 cells; images of other words, with it in a window, and with a part of it."""
        random = np.random.default_rng(0)
        query = random.integers(0, 50, (8, 9)).astype(np.int32)
        box = np.array([2, 1, 6, 4])
        inside = query[1:4, 2:6]
        images = [random.integers(50, 99, (12, 16)).astype(np.int32) for _ in range(3)]
        images[1][9:12, 12:16] = inside  # the last window of 4 x 3 cells
        images[2][0:3, 0:2] = inside[:, :2]
        return query, box, images

    def test_finds_a_pasted_pattern(self):
        query, box, images = self._planted()
        bags = Bags(_bag(99), images)
        scores, histograms = bags.search_windows(query, box, np.array([0, 2, 1]))
        self.assertEqual((scores.dtype, histograms.shape), (np.float32, (3, 99)))
        self.assertAlmostEqual(float(scores[2]), 1.0, delta=1e-6)
        np.testing.assert_allclose(histograms[2], oracles.l2(bags.histogram(query, box)), atol=1e-6)
        self.assertEqual(float(scores[0]), 0.0)
        self.assertBetween(float(scores[1]), 0.1, 0.9)
        np.testing.assert_allclose(np.linalg.norm(histograms, axis=1), 1.0, atol=1e-6)

    def test_expansion_sums_windows_and_not_images(self):
        """The new query is the pattern without its surroundings: an image of the pattern alone comes first."""
        query, box, images = self._planted()
        alone = np.full((12, 16), -1, np.int32)
        alone[:3, :4] = query[1:4, 2:6]
        bags = Bags(_bag(99), [*images, alone])
        scores, histograms = bags.search_windows(query, box, np.array([0, 1]))
        found = bags.search(histograms[np.argmax(scores)])
        self.assertEqual(int(np.argmax(found)), 3)
        self.assertAlmostEqual(float(found[3]), 1.0, delta=1e-6)

    @parameterized.parameters(((2, 0, 3, 8), 1), ((0, 2, 8, 3), 0))
    def test_windows_have_the_shape_of_the_query(self, box, expected):
        """Columns over rows: an upright query finds the upright pattern, a lying one the lying one."""
        lying, upright = np.full((16, 16), 5, np.int32), np.full((16, 16), 5, np.int32)
        lying[0:4, 0:16] = 1
        upright[0:16, 0:4] = 1
        query = np.ones((8, 8), np.int32)
        scores, _ = Bags(_bag(6), [lying, upright]).search_windows(query, np.array(box), np.array([0, 1]))
        self.assertEqual(int(np.argmax(scores)), expected)
        self.assertAlmostEqual(float(scores[expected]), 1.0, delta=1e-6)

    def test_an_image_without_words(self):
        query, box, _ = self._planted()
        bags = Bags(_bag(99), [np.full((2, 3), -1, np.int32)])
        scores, histograms = bags.search_windows(query, box, np.array([0]))
        np.testing.assert_array_equal(scores, [0.0])
        np.testing.assert_array_equal(histograms, np.zeros((1, 99)))


if __name__ == "__main__":
    absltest.main()
