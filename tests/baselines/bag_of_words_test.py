import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized
from hypothesis import given, settings
from hypothesis import strategies as st

from cwcf_jax import descriptors
from cwcf_jax.baselines import bag_of_words
from cwcf_jax.baselines.bag_of_words import BagOfWordsIndex, InvertedIndex, Vocabulary
from cwcf_jax.descriptors import WhiteningConfig, fit_pca_whitening
from tests.support import oracles
from tests.support.packages import package

DIM = 5


def _maps(seed, shape=(4, 6), dim=DIM):
    return np.maximum(np.random.default_rng(seed).normal(size=(*shape, dim)), 0).astype(np.float32)


def _local(maps):
    """Computes the unit vectors of all cells of maps resized to twice the size, in float64."""
    height, width, _ = maps.shape
    doubled = package("cv2").resize(maps.astype(np.float64), (2 * width, 2 * height))
    return np.apply_along_axis(oracles.l2, 2, doubled)


BAGS = st.lists(st.lists(st.integers(-1, 9), max_size=12), min_size=1, max_size=8)


def _features(seed=0, shape=(5, 7, 6)):
    return np.maximum(np.random.default_rng(seed).normal(size=shape), 0).astype(np.float32)


def _histogram(assignment, words):
    return np.array([np.count_nonzero(assignment == word) for word in range(words)], np.float64)


class LocalFeaturesTest(absltest.TestCase):
    def test_doubled_then_l2_whitening_l2(self):
        cv2 = package("cv2")
        features = _features()
        samples = np.stack([oracles.l2(row) for row in 0.1 + _features(1, (200, 6))])
        mean, projection = oracles.whitening(samples, 4)
        doubled = cv2.resize(features, (14, 10), interpolation=cv2.INTER_LINEAR)
        expected = [[oracles.l2((oracles.l2(cell) - mean) @ projection) for cell in row] for row in doubled]
        actual = bag_of_words.local_features(jnp.asarray(features), descriptors.fit_pca_whitening(samples, dim=4))
        # The sign of a direction is arbitrary.
        np.testing.assert_allclose(np.abs(actual), np.abs(expected), atol=2e-5)

    def test_norms(self):
        features = np.zeros((4, 4, 6), np.float32)
        features[0, 0] = 2.0
        for whitening in (None, descriptors.fit_pca_whitening(_features(1, (200, 6)))):
            norms = np.linalg.norm(bag_of_words.local_features(jnp.asarray(features), whitening), axis=-1)
            np.testing.assert_allclose(
                norms[:3, :3], 1.0, atol=1e-6
            )  # the two doubled cells, and half of the next cell
            np.testing.assert_array_equal(norms[3:], np.zeros((5, 8)))
        half = bag_of_words.local_features(jnp.asarray(features, jnp.bfloat16), None)
        self.assertEqual(half.dtype, jnp.float32)


class AssignCellsTest(absltest.TestCase):
    def test_nearest_word_or_no_word(self):
        centroids = jnp.eye(3)[jnp.array([2, 0, 1])]
        local = jnp.array([[[1.0, 0.0, 0.0], [0.0, 0.6, 0.8]], [[0.0, 0.0, 0.0], [0.0, 1.0, 0.0]]])
        actual = bag_of_words.assign_cells(local, centroids)
        self.assertEqual(actual.dtype, jnp.int32)
        np.testing.assert_array_equal(actual, [[1, 0], [-1, 2]])

    def test_vmap(self):
        local, centroids = jnp.asarray(0.1 + _features(0, (3, 4, 5, 6))), jnp.asarray(_features(1, (7, 6)))
        actual = jax.vmap(bag_of_words.assign_cells, in_axes=(0, None))(local, centroids)
        distances = np.linalg.norm(np.asarray(local)[..., None, :] - np.asarray(centroids), axis=-1)
        np.testing.assert_array_equal(actual, distances.argmin(axis=-1))


class AssignTest(absltest.TestCase):
    def test_nearest_word_of_each_cell_of_the_doubled_map(self):
        training = np.stack([oracles.l2(row) for row in np.random.default_rng(1).random((60, DIM))])
        whitening = WhiteningConfig(dim=4).fit(training, "toy")
        mean, projection = oracles.whitening(training, 4)
        projection = projection * np.sign(np.sum(np.asarray(whitening.projection) * projection, axis=0))
        centroids = np.random.default_rng(2).normal(size=(9, 4)).astype(np.float32)
        vocabulary = Vocabulary(centroids, whitening)
        self.assertEqual(vocabulary.words, 9)
        for seed, shape in enumerate([(4, 6), (3, 3), (1, 1)]):
            maps = _maps(seed, shape)
            unit = _local(maps)
            local = np.apply_along_axis(lambda cell: oracles.l2((cell - mean) @ projection), 2, unit)
            nearest = np.linalg.norm(local[:, :, None] - centroids, axis=3).argmin(axis=2)
            actual = vocabulary.assign(maps)
            self.assertEqual((actual.shape, actual.dtype), ((2 * shape[0], 2 * shape[1]), np.int32))
            np.testing.assert_array_equal(actual, np.where(unit.any(axis=2), nearest, -1))

    def test_no_word_in_cells_without_activation(self):
        maps = np.zeros((3, 4, DIM), np.float32)
        maps[0, 0] = 1.0
        vocabulary = Vocabulary(np.eye(DIM, dtype=np.float32), fit_pca_whitening(_maps(1, (5, 5)).reshape(-1, DIM)))
        assignment = vocabulary.assign(maps)
        self.assertTrue((assignment[:3, :3] >= 0).all())  # the two doubled cells, and half of the next cell
        self.assertTrue((assignment[3:] == -1).all() and (assignment[:, 3:] == -1).all())


class VocabularyTest(absltest.TestCase):
    def _fit(self, maps, **options):
        settings = dict(count=4, sample=10_000, fitted_on="toy") | options
        return bag_of_words.fit_vocabulary(maps, WhiteningConfig(dim=3), **settings)

    def test_whitening_of_all_local_features(self):
        maps = [_maps(0), _maps(1, (3, 3))]
        maps[0][:, 3:] = 0.0  # cells without activation are no local features
        whitening = self._fit(maps).whitening
        local = np.concatenate([_local(image_maps).reshape(-1, DIM) for image_maps in maps])
        mean, projection = oracles.whitening(local[np.any(local != 0, axis=1)], 3)
        np.testing.assert_allclose(whitening.mean, mean, atol=1e-6)
        scaled = np.asarray(whitening.projection) / np.sqrt(np.asarray(whitening.eigenvalues))
        np.testing.assert_allclose(np.abs(scaled), np.abs(projection), rtol=1e-3, atol=1e-3)
        self.assertEqual(whitening.fitted_on, "toy")

    def test_words_are_means_of_unit_vectors(self):
        """Three patterns, each in two images of different scales, give one word for each pattern."""
        patterns = np.random.default_rng(3).random((3, DIM)).astype(np.float32)
        maps = [np.tile(scale * pattern, (3, 4, 1)) for pattern in patterns for scale in (1.0, 2.0)]
        maps = [image_maps.astype(np.float32) for image_maps in maps]
        for seed in range(10):  # with some seeds, k-means starts from two rows of the same pattern
            vocabulary = bag_of_words.fit_vocabulary(
                maps, WhiteningConfig(), count=3, sample=999, fitted_on="", seed=seed
            )
            if len(np.unique(vocabulary.centroids.round(3), axis=0)) == 3:
                break
        np.testing.assert_allclose(np.linalg.norm(vocabulary.centroids, axis=1), 1.0, atol=1e-5)
        words = [set(vocabulary.assign(image_maps).ravel().tolist()) for image_maps in maps]
        self.assertEqual(words[::2], words[1::2])
        self.assertCountEqual([word for (word,) in words[::2]], range(3))

    def test_seed(self):
        maps = [_maps(0), _maps(1)]
        np.testing.assert_array_equal(self._fit(maps, seed=3).centroids, self._fit(maps, seed=3).centroids)
        self.assertFalse(np.array_equal(self._fit(maps, seed=3).centroids, self._fit(maps, seed=4).centroids))

    def test_a_sample_is_drawn_from_every_image(self):
        maps = [np.tile(np.eye(DIM, dtype=np.float32)[i], (6, 6, 1)) for i in range(DIM)]
        vocabulary = self._fit(maps, sample=20, count=5)  # 4 of 144 cells of each image
        np.testing.assert_allclose(vocabulary.whitening.mean, np.full(DIM, 0.2), atol=1e-6)

    def test_more_words_than_local_features(self):
        with self.assertRaisesRegex(ValueError, "cannot make 97 words of 96 vectors"):
            self._fit([_maps(0)], count=97)

    def test_cells_without_activation_are_no_local_features(self):
        maps = _maps(0) + np.float32(0.1)
        maps[:, 1:] = 0.0  # 8 rows of the two doubled columns, and half of the next column
        with self.assertRaisesRegex(ValueError, "cannot make 25 words of 24 vectors"):
            self._fit([maps], count=25)

    def test_the_sample_is_not_exceeded(self):
        with self.assertRaisesRegex(ValueError, "cannot make 11 words of 10 vectors"):
            self._fit([_maps(i) for i in range(4)], sample=10, count=11)


class InvertedIndexTest(absltest.TestCase):
    @settings(deadline=None, max_examples=60)
    @given(BAGS, st.lists(st.integers(-1, 9), max_size=12))
    def test_against_dense_rows(self, bags, query):
        index = InvertedIndex((np.array(bag, np.int32) for bag in bags), 10)
        dense = [oracles.l2(_histogram(np.array(bag, np.int32), 10)) for bag in (*bags, query)]
        actual = index.search((7.5 * dense[-1]).astype(np.float32))  # the scale is irrelevant
        self.assertEqual(actual.dtype, np.float32)
        np.testing.assert_allclose(actual, [row @ dense[-1] for row in dense[:-1]], atol=1e-6)

    def test_by_hand(self):
        # The query is (1, 1, 0) / sqrt 2; the images are (2, 1, 0) / sqrt 5, (0, 0, 3) / 3, 0 and (1, 1, 0) / sqrt 2.
        index = InvertedIndex([np.array(bag, int) for bag in ([0, 1, 0], [2, 2, 2], [], [1, -1, 0])], 3)
        np.testing.assert_allclose(index.search(np.float32([1, 1, 0])), [3 / np.sqrt(10), 0, 0, 1], rtol=1e-6)

    def test_a_difference_of_histograms(self):
        index = InvertedIndex([np.array([0]), np.array([1])], 2)
        np.testing.assert_allclose(index.search(np.float32([3.0, -4.0])), [0.6, -0.8], rtol=1e-6)

    def test_without_words(self):
        index = InvertedIndex([np.array([0]), np.array([-1, -1])], 2)
        np.testing.assert_array_equal(index.search(np.zeros(2, np.float32)), [0, 0])
        self.assertEqual(InvertedIndex([], 2).search(np.ones(2, np.float32)).shape, (0,))

    def test_memory_is_proportional_to_the_words_of_images(self):
        bags = [np.arange(20) + i for i in range(500)]
        index = InvertedIndex(bags, 25_000)
        self.assertEqual(index.nbytes, 500 * 20 * 8 + 4 * 25_001)  # dense rows would need 50 MB

    def test_errors(self):
        with self.assertRaisesRegex(ValueError, "image 1: word 3 is outside the vocabulary of 3 words"):
            InvertedIndex([np.array([0]), np.array([3])], 3)
        index = InvertedIndex([np.array([0])], 3)
        with self.assertRaisesRegex(ValueError, "the histogram has 4 words, but the index has 3"):
            index.search(np.ones(4, np.float32))


class BagOfWordsIndexTest(parameterized.TestCase):
    @settings(deadline=None, max_examples=40)
    @given(st.integers(0, 10_000), st.integers(1, 4), st.integers(1, 12))
    def test_search_is_the_cosine_of_dense_histograms(self, seed, images, words):
        random = np.random.default_rng(seed)
        assignments = list(random.integers(-1, words, (images, 3, 4)).astype(np.int32))
        query = random.integers(-1, words, (6, 7)).astype(np.int32)
        x1, x2 = sorted(random.choice(8, 2, replace=False).tolist())
        y1, y2 = sorted(random.choice(7, 2, replace=False).tolist())
        bags = BagOfWordsIndex(words, assignments)
        histogram = bags.histogram(query, np.array([x1, y1, x2, y2]))
        np.testing.assert_array_equal(histogram, _histogram(query[y1:y2, x1:x2], words))
        expected = [oracles.l2(_histogram(cells, words)) @ oracles.l2(histogram) for cells in assignments]
        np.testing.assert_allclose(bags.search(histogram), expected, atol=1e-6)
        query_index = BagOfWordsIndex(words, [query[y1:y2, x1:x2]])
        np.testing.assert_allclose(query_index.search(histogram), [float(histogram.any())], atol=1e-6)

    def test_images_of_different_shapes(self):
        """Portrait and landscape images may be mixed."""
        bags = BagOfWordsIndex(2, [np.array([[0, 1]], np.int32), np.array([[0], [0], [-1]], np.int32)])
        np.testing.assert_allclose(bags.search(np.array([1, 0], np.float32)), [np.sqrt(0.5), 1.0], atol=1e-6)

    def test_a_box_without_words(self):
        bags = BagOfWordsIndex(4, [np.array([[0, 1]], np.int32), np.array([[-1, -1]], np.int32)])
        histogram = bags.histogram(np.full((3, 3), -1, np.int32), np.array([0, 0, 2, 2]))
        np.testing.assert_array_equal(histogram, np.zeros(4))
        np.testing.assert_array_equal(bags.search(histogram), [0.0, 0.0])

    def _planted(self):
        """Returns a query with a box of 4 x 3 cells, and images with none, all and a part of the box's pattern."""
        random = np.random.default_rng(0)
        query = random.integers(0, 50, (8, 9)).astype(np.int32)
        box = np.array([2, 1, 6, 4])
        pattern = query[1:4, 2:6]
        images = [random.integers(50, 99, (12, 16)).astype(np.int32) for _ in range(3)]
        images[1][9:12, 12:16] = pattern  # the last window of 4 x 3 cells
        images[2][0:3, 0:2] = pattern[:, :2]
        return query, box, images

    def test_finds_a_pasted_pattern(self):
        query, box, images = self._planted()
        bags = BagOfWordsIndex(99, images)
        scores, histograms = bags.search_windows(query, box, np.array([0, 2, 1]))
        self.assertEqual((scores.dtype, histograms.shape), (np.float32, (3, 99)))
        self.assertAlmostEqual(float(scores[2]), 1.0, delta=1e-6)
        np.testing.assert_allclose(histograms[2], oracles.l2(bags.histogram(query, box)), atol=1e-6)
        self.assertEqual(float(scores[0]), 0.0)
        self.assertBetween(float(scores[1]), 0.1, 0.9)
        np.testing.assert_allclose(np.linalg.norm(histograms, axis=1), 1.0, atol=1e-6)

    def test_expansion_sums_windows_and_not_images(self):
        """The expanded query is the pattern without its surroundings: an image of only the pattern comes first."""
        query, box, images = self._planted()
        only_pattern = np.full((12, 16), -1, np.int32)
        only_pattern[:3, :4] = query[1:4, 2:6]
        bags = BagOfWordsIndex(99, [*images, only_pattern])
        window_scores, histograms = bags.search_windows(query, box, np.array([0, 1]))
        scores = bags.search(histograms[np.argmax(window_scores)])
        self.assertEqual(int(np.argmax(scores)), 3)
        self.assertAlmostEqual(float(scores[3]), 1.0, delta=1e-6)

    def test_ranking(self):
        query, box, images = self._planted()
        only_pattern = np.full((12, 16), -1, np.int32)
        only_pattern[:3, :4] = query[1:4, 2:6]
        bags = BagOfWordsIndex(99, [*images, only_pattern])
        scores = bags.search(bags.histogram(query, box))
        self.assertEqual(bags.ranking(query, box).tolist(), np.argsort(-scores, kind="stable").tolist())
        # The best two images are the pattern alone and the image with the pattern: both windows are the pattern.
        expanded = bags.ranking(query, box, rerank=2, expansion=2)
        self.assertEqual(expanded.tolist()[:2], [3, 1])
        scores, histograms = bags.search_windows(query, box, np.arange(4))
        for expansion in (1, 2, 4):
            best = sorted(range(4), key=lambda row: (-scores[row], [3, 1, 2, 0].index(row)))[:expansion]
            expanded_scores = bags.search(sum(histograms[row] for row in best))
            ranking = bags.ranking(query, box, rerank=4, expansion=expansion)
            self.assertEqual(ranking.tolist(), np.argsort(-expanded_scores, kind="stable").tolist())

    def test_re_ranking_needs_expansion(self):
        query, box, images = self._planted()
        for rerank, expansion in ((0, 2), (2, 0)):
            with self.assertRaisesRegex(ValueError, f"together, not {rerank} images and {expansion} windows"):
                BagOfWordsIndex(99, images).ranking(query, box, rerank=rerank, expansion=expansion)

    @parameterized.parameters(((2, 0, 3, 8), 1), ((0, 2, 8, 3), 0))
    def test_windows_have_the_shape_of_the_query(self, box, expected):
        """A portrait query finds the portrait pattern, and a landscape query the landscape pattern."""
        landscape, portrait = np.full((16, 16), 5, np.int32), np.full((16, 16), 5, np.int32)
        landscape[0:4, 0:16] = 1
        portrait[0:16, 0:4] = 1
        query = np.ones((8, 8), np.int32)
        scores, _ = BagOfWordsIndex(6, [landscape, portrait]).search_windows(query, np.array(box), np.array([0, 1]))
        self.assertEqual(int(np.argmax(scores)), expected)
        self.assertAlmostEqual(float(scores[expected]), 1.0, delta=1e-6)

    def test_an_image_without_words(self):
        query, box, _ = self._planted()
        bags = BagOfWordsIndex(99, [np.full((2, 3), -1, np.int32)])
        scores, histograms = bags.search_windows(query, box, np.array([0]))
        np.testing.assert_array_equal(scores, [0.0])
        np.testing.assert_array_equal(histograms, np.zeros((1, 99)))


if __name__ == "__main__":
    absltest.main()
