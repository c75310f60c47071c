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
    """l2 of every cell of the doubled map, float64."""
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
        found = bag_of_words.local_features(jnp.asarray(features), descriptors.fit_pca_whitening(samples, dim=4))
        # a direction's sign is free
        np.testing.assert_allclose(np.abs(found), np.abs(expected), atol=2e-5)

    def test_norms(self):
        features = np.zeros((4, 4, 6), np.float32)
        features[0, 0] = 2.0
        for whitening in (None, descriptors.fit_pca_whitening(_features(1, (200, 6)))):
            norms = np.linalg.norm(bag_of_words.local_features(jnp.asarray(features), whitening), axis=-1)
            np.testing.assert_allclose(norms[:3, :3], 1.0, atol=1e-6)  # the cell's two and half of the next
            np.testing.assert_array_equal(norms[3:], np.zeros((5, 8)))
        half = bag_of_words.local_features(jnp.asarray(features, jnp.bfloat16), None)
        self.assertEqual(half.dtype, jnp.float32)


class AssignCellsTest(absltest.TestCase):
    def test_nearest_word_or_none(self):
        centroids = jnp.eye(3)[jnp.array([2, 0, 1])]
        local = jnp.array([[[1.0, 0.0, 0.0], [0.0, 0.6, 0.8]], [[0.0, 0.0, 0.0], [0.0, 1.0, 0.0]]])
        found = bag_of_words.assign_cells(local, centroids)
        self.assertEqual(found.dtype, jnp.int32)
        np.testing.assert_array_equal(found, [[1, 0], [-1, 2]])

    def test_vmap(self):
        local, centroids = jnp.asarray(0.1 + _features(0, (3, 4, 5, 6))), jnp.asarray(_features(1, (7, 6)))
        found = jax.vmap(bag_of_words.assign_cells, in_axes=(0, None))(local, centroids)
        distances = np.linalg.norm(np.asarray(local)[..., None, :] - np.asarray(centroids), axis=-1)
        np.testing.assert_array_equal(found, distances.argmin(axis=-1))


class AssignTest(absltest.TestCase):
    def test_nearest_word_of_each_cell_of_the_doubled_map(self):
        training = np.stack([oracles.l2(row) for row in np.random.default_rng(1).random((60, DIM))])
        whitening = WhiteningConfig(dim=4).fit(training, "toy")
        mean, projection = oracles.whitening(training, 4)
        projection = projection * np.sign(np.sum(np.asarray(whitening.projection) * projection, axis=0))
        centroids = np.random.default_rng(2).normal(size=(9, 4)).astype(np.float32)
        bag = Vocabulary(centroids, whitening)
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
        bag = Vocabulary(np.eye(DIM, dtype=np.float32), fit_pca_whitening(_maps(1, (5, 5)).reshape(-1, DIM)))
        found = bag.assign(maps)
        self.assertTrue((found[:3, :3] >= 0).all())  # half of the next cell is the first one's
        self.assertTrue((found[3:] == -1).all() and (found[:, 3:] == -1).all())


class VocabularyTest(absltest.TestCase):
    def _fit(self, maps, **options):
        settings = dict(count=4, sample=10_000, fitted_on="toy") | options
        return bag_of_words.fit_vocabulary(maps, WhiteningConfig(dim=3), **settings)

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
            found = bag_of_words.fit_vocabulary(maps, WhiteningConfig(), count=3, sample=999, fitted_on="", seed=seed)
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


class InvertedIndexTest(absltest.TestCase):
    @settings(deadline=None, max_examples=60)
    @given(BAGS, st.lists(st.integers(-1, 9), max_size=12))
    def test_against_dense_rows(self, bags, query):
        index = InvertedIndex((np.array(bag, np.int32) for bag in bags), 10)
        dense = [oracles.l2(_histogram(np.array(bag, np.int32), 10)) for bag in (*bags, query)]
        found = index.search((7.5 * dense[-1]).astype(np.float32))  # any scale
        self.assertEqual(found.dtype, np.float32)
        np.testing.assert_allclose(found, [row @ dense[-1] for row in dense[:-1]], atol=1e-6)

    def test_by_hand(self):
        # The query is (1, 1, 0) / sqrt 2; images (2, 1, 0) / sqrt 5, (0, 0, 3) / 3, nothing, (1, 1, 0) / sqrt 2.
        index = InvertedIndex([np.array(bag, int) for bag in ([0, 1, 0], [2, 2, 2], [], [1, -1, 0])], 3)
        np.testing.assert_allclose(index.search(np.float32([1, 1, 0])), [3 / np.sqrt(10), 0, 0, 1], rtol=1e-6)

    def test_a_difference_of_histograms(self):
        index = InvertedIndex([np.array([0]), np.array([1])], 2)
        np.testing.assert_allclose(index.search(np.float32([3.0, -4.0])), [0.6, -0.8], rtol=1e-6)

    def test_without_words(self):
        index = InvertedIndex([np.array([0]), np.array([-1, -1])], 2)
        np.testing.assert_array_equal(index.search(np.zeros(2, np.float32)), [0, 0])
        self.assertEqual(InvertedIndex([], 2).search(np.ones(2, np.float32)).shape, (0,))

    def test_memory_grows_with_what_is_there(self):
        bags = [np.arange(20) + i for i in range(500)]
        index = InvertedIndex(bags, 25_000)
        self.assertEqual(index.nbytes, 500 * 20 * 8 + 4 * 25_001)  # 50 MB as rows

    def test_errors(self):
        with self.assertRaisesRegex(ValueError, "image 1: word 3 of a vocabulary of 3"):
            InvertedIndex([np.array([0]), np.array([3])], 3)
        index = InvertedIndex([np.array([0])], 3)
        with self.assertRaisesRegex(ValueError, "4 words against an index of 3"):
            index.search(np.ones(4, np.float32))


class BagsTest(parameterized.TestCase):
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
        expected = [oracles.l2(_histogram(one, words)) @ oracles.l2(histogram) for one in assignments]
        np.testing.assert_allclose(bags.search(histogram), expected, atol=1e-6)
        whole = BagOfWordsIndex(words, [query[y1:y2, x1:x2]])
        np.testing.assert_allclose(whole.search(histogram), [float(histogram.any())], atol=1e-6)

    def test_images_of_different_shapes(self):
        """Upright pictures beside lying ones."""
        bags = BagOfWordsIndex(2, [np.array([[0, 1]], np.int32), np.array([[0], [0], [-1]], np.int32)])
        np.testing.assert_allclose(bags.search(np.array([1, 0], np.float32)), [np.sqrt(0.5), 1.0], atol=1e-6)

    def test_a_box_without_words(self):
        bags = BagOfWordsIndex(4, [np.array([[0, 1]], np.int32), np.array([[-1, -1]], np.int32)])
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
        bags = BagOfWordsIndex(99, images)
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
        bags = BagOfWordsIndex(99, [*images, alone])
        scores, histograms = bags.search_windows(query, box, np.array([0, 1]))
        found = bags.search(histograms[np.argmax(scores)])
        self.assertEqual(int(np.argmax(found)), 3)
        self.assertAlmostEqual(float(found[3]), 1.0, delta=1e-6)

    def test_ranking(self):
        query, box, images = self._planted()
        alone = np.full((12, 16), -1, np.int32)
        alone[:3, :4] = query[1:4, 2:6]
        bags = BagOfWordsIndex(99, [*images, alone])
        scores = bags.search(bags.histogram(query, box))
        self.assertEqual(bags.ranking(query, box).tolist(), np.argsort(-scores, kind="stable").tolist())
        # Of the best two, the pattern alone and the image that holds it, the windows are the pattern twice.
        expanded = bags.ranking(query, box, rerank=2, expansion=2)
        self.assertEqual(expanded.tolist()[:2], [3, 1])
        scores, histograms = bags.search_windows(query, box, np.arange(4))
        for expansion in (1, 2, 4):
            best = sorted(range(4), key=lambda row: (-scores[row], [3, 1, 2, 0].index(row)))[:expansion]
            again = bags.search(sum(histograms[row] for row in best))
            found = bags.ranking(query, box, rerank=4, expansion=expansion)
            self.assertEqual(found.tolist(), np.argsort(-again, kind="stable").tolist())

    def test_re_ranking_and_expansion_go_together(self):
        query, box, images = self._planted()
        for rerank, expansion in ((0, 2), (2, 0)):
            with self.assertRaisesRegex(ValueError, f"together, not {rerank} images and {expansion} windows"):
                BagOfWordsIndex(99, images).ranking(query, box, rerank=rerank, expansion=expansion)

    @parameterized.parameters(((2, 0, 3, 8), 1), ((0, 2, 8, 3), 0))
    def test_windows_have_the_shape_of_the_query(self, box, expected):
        """Columns over rows: an upright query finds the upright pattern, a lying one the lying one."""
        lying, upright = np.full((16, 16), 5, np.int32), np.full((16, 16), 5, np.int32)
        lying[0:4, 0:16] = 1
        upright[0:16, 0:4] = 1
        query = np.ones((8, 8), np.int32)
        scores, _ = BagOfWordsIndex(6, [lying, upright]).search_windows(query, np.array(box), np.array([0, 1]))
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
