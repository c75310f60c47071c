"""These tests compare the best regions from stored maps with a slow reference in float64."""

from unittest import mock

import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized
from hypothesis import given, settings
from hypothesis import strategies as st

import cwcf_jax
from cwcf_jax import encoder
from cwcf_jax.search import Ranking, reranking
from cwcf_jax.search.reranking import RegionConfig
from tests.search.region_case import (
    CLASSES,
    CONFIG,
    StoredCase,
    best_region,
    blurred,
    count_images,
    make_model,
    make_whitening,
)
from tests.support import oracles


class BestRegionsTest(StoredCase):
    def check(self, store, query, *, model=None, whitening=None, config=CONFIG):
        actual = self.find(store, query, model=model, whitening=whitening, config=config)
        winners = set()
        for row in range(count_images(store)):
            maps = store.read(row)
            score, vector, box, threshold = best_region(model or make_model(), maps, query, whitening, config)
            np.testing.assert_allclose(actual.scores[row], score, atol=1e-4)
            np.testing.assert_allclose(actual.vectors[row], vector, atol=1e-4)
            self.assertEqual(actual.boxes[row].tolist(), list(box))
            winners.add(threshold)
        return actual, winners

    @parameterized.product(rule=("component", "contour"), minimum=(0, 4), whitened=(False, True))
    def test_against_float64(self, rule, minimum, whitened):
        store = self.store(self.pictures([(9, 13)] * 3 + [(12, 16), (7, 5), (4, 21)] * 2))
        whitening = make_whitening() if whitened else None
        query = oracles.l2(self.random.normal(size=4 if whitened else 6))
        config = RegionConfig(rule=rule, minimum=minimum, num_classes=4)
        _, winners = self.check(store, query, whitening=whitening, config=config)
        self.assertGreater(len(winners), 2)  # otherwise the thresholds would not matter

    def test_more_than_a_batch_of_one_shape(self):
        shapes = [(6, 8)] * (reranking.BATCH_IMAGES + 3)
        shapes.insert(5, (3, 3))
        self.check(self.store(self.pictures(shapes)), oracles.l2(self.random.random(6)))

    @parameterized.parameters((1, 1), (2, 6), (3, 2))
    def test_how_many_classes(self, heat_classes, num_classes):
        config = RegionConfig(heat_classes=heat_classes, num_classes=num_classes)
        self.check(self.store(self.pictures([(9, 13)] * 3)), oracles.l2(self.random.random(6)), config=config)

    def test_finer_features(self):
        model = make_model(feature_layer="conv1_1")
        store = self.store(self.pictures([(5, 7), (6, 4)], channels=4, step=2))
        actual, _ = self.check(store, oracles.l2(self.random.random(4)), model=model)
        self.assertGreater(actual.boxes.max(), 7)  # boxes are in cells of the features

    def test_any_order_and_some_rows_only(self):
        store = self.store(self.pictures([(9, 13), (6, 8), (9, 12), (6, 7)]))
        query = oracles.l2(self.random.random(6))
        everything = self.find(store, query)
        for rows in ([2], [3, 0], [1, 1, 2]):
            actual = self.find(store, query, rows=rows)
            np.testing.assert_allclose(actual.scores, everything.scores[rows], atol=1e-6)
            np.testing.assert_allclose(actual.vectors, everything.vectors[rows], atol=1e-6)
            np.testing.assert_array_equal(actual.boxes, everything.boxes[rows])

    def test_no_rows(self):
        actual = self.find(self.store([]), np.ones(6))
        self.assertEqual((actual.scores.shape, actual.vectors.shape, actual.boxes.shape), ((0,), (0, 6), (0, 4)))

    def test_types(self):
        actual = self.find(self.store(self.pictures([(4, 4)])), np.ones(6))
        self.assertEqual([part.dtype for part in (actual.scores, actual.vectors)], [np.float32] * 2)
        self.assertEqual(actual.boxes.dtype, np.int32)

    def test_on_an_accelerator_boxes_are_the_same(self):
        store = self.store(self.pictures([(9, 13)] * 2 + [(6, 8)]))
        query = oracles.l2(self.random.random(6))
        expected = self.find(store, query)
        with (
            mock.patch.object(reranking.jax, "default_backend", lambda: "gpu"),
            mock.patch.object(reranking.regions, "host_boxes", side_effect=AssertionError("on the host")),
        ):
            actual = self.find(store, query)
        np.testing.assert_array_equal(actual.boxes, expected.boxes)
        np.testing.assert_array_equal(actual.scores, expected.scores)

    def test_few_shapes_are_compiled(self):
        store = self.store(self.pictures([(9, 13), (10, 16), (12, 14), (11, 15), (5, 5), (8, 6)]))
        encoder.describe_regions.clear_cache()
        self.find(store, np.ones(6))
        self.find(store, np.ones(6), rows=[0, 5])
        self.assertEqual(encoder.describe_regions._cache_size(), 2)  # 12 x 16 and 8 x 8

    def test_the_name_of_a_whitening_compiles_nothing(self):
        store, query = self.store(self.pictures([(4, 4)])), np.ones(4)
        encoder.describe_regions.clear_cache()
        for name in ("first", "second"):
            training = np.random.default_rng(5).random((40, 6))
            self.find(store, query, whitening=cwcf_jax.fit_pca_whitening(training, dim=4, fitted_on=name))
        self.assertEqual(encoder.describe_regions._cache_size(), 1)


class DrawnTest(StoredCase):
    """The CAM has nested squares of 2, 4, 6, 8 and 10 cells; each threshold of the paper finds a different square."""

    FRACTIONS = (0.01, 0.1, 0.2, 0.3, 0.4)

    def setUp(self):
        super().setUp()
        cam = np.zeros((12, 14, 8))
        for border, level in ((1, 0.0625), (2, 0.15625), (3, 0.25), (4, 0.375), (5, 1.0)):
            cam[border : 12 - border, border : 12 - border, 0] = level
        # Channel 0 is active in the square of 4 cells, channel 1 outside this square, channel 2 everywhere. A query of
        # channel 0 alone scores the squares of 4 and 2 cells higher than the larger squares.
        features = np.zeros((12, 14, 6))
        features[4:8, 4:8, 0] = 1.0
        features[..., 1] = 1.0 - features[..., 0]
        features[..., 2] = 0.5
        self.single_store = self.store([(features, cam)])
        kernel = jnp.zeros((8, 10)).at[0, CLASSES[0]].set(1.0)
        classifier = {"kernel": kernel, "bias": jnp.zeros(10)}
        params = make_model().params | {"classifier": classifier}
        self.model = cwcf_jax.load(make_model().network, params)

    def best(self, channel, *, fractions=FRACTIONS, minimum=0):
        config = RegionConfig(fractions=fractions, minimum=minimum, heat_classes=1, num_classes=1)
        query = np.zeros(6) if channel is None else np.eye(6)[channel]
        return self.find(self.single_store, query, model=self.model, config=config)

    @parameterized.parameters(
        (0.01, (1, 1, 11, 11)),
        (0.1, (2, 2, 10, 10)),
        (0.2, (3, 3, 9, 9)),
        (0.3, (4, 4, 8, 8)),
        (0.4, (5, 5, 7, 7)),
    )
    def test_each_threshold_alone(self, fraction, box):
        self.assertEqual(self.best(0, fractions=(fraction,)).boxes[0].tolist(), list(box))

    def test_the_best_region(self):
        # In the square of 4, channels 0 and 2 are active in every cell: both weights are log 2, the vector is
        # (1, 0, .5) / |(1, .5)|.
        actual = self.best(0, fractions=self.FRACTIONS[:4])
        self.assertEqual(actual.boxes[0].tolist(), [4, 4, 8, 8])
        np.testing.assert_allclose(actual.vectors[0], np.array([2, 0, 1, 0, 0, 0]) / np.sqrt(5), atol=1e-6)
        np.testing.assert_allclose(actual.scores[0], 2 / np.sqrt(5), atol=1e-6)
        # For channel 1 the best is the square of 8, with weights log(2 / .25), log(2 / .75) and log 2 for the sums 8.5,
        # 9.375 and 8.9375: the score is 9.20 / |(17.68, 9.20, 6.20)| = .441. The squares of 6 and 10 score .426 and
        # .408.
        self.assertEqual(self.best(1).boxes[0].tolist(), [2, 2, 10, 10])

    @parameterized.parameters(
        (0.2, 4, (4, 4, 8, 8)),
        (0.2, 5, (3, 3, 9, 9)),
        (0.2, 6, (3, 3, 9, 9)),
        (0.1, 7, (2, 2, 10, 10)),
        (0.01, 10, (1, 1, 11, 11)),
    )
    def test_small_regions_are_skipped(self, larger, minimum, box):
        actual = self.best(0, fractions=(larger, 0.3), minimum=minimum)
        self.assertEqual(actual.boxes[0].tolist(), list(box))

    def test_no_region_of_the_minimal_size(self):
        actual = self.best(0, minimum=11)
        self.assertEqual(actual.scores.tolist(), [-np.inf])
        np.testing.assert_array_equal(actual.vectors, np.zeros((1, 6)))
        np.testing.assert_array_equal(actual.boxes, np.zeros((1, 4)))

    @parameterized.parameters(0, 8)
    def test_of_equal_regions_the_first_threshold_wins(self, minimum):
        """All regions score 0 with a zero query; a region is better than no region even if its score is negative."""
        self.assertEqual(self.best(None, minimum=minimum).boxes[0].tolist(), [1, 1, 11, 11])
        reverse = self.best(None, fractions=self.FRACTIONS[::-1], minimum=minimum).boxes[0].tolist()
        self.assertEqual(reverse, [2, 2, 10, 10] if minimum else [5, 5, 7, 7])

    def test_padding_does_not_matter(self):
        maps = self.single_store.read(0)
        ids, described = jnp.asarray(CLASSES[:1], jnp.int32), []
        for shape in ((12, 14), (12, 16), (20, 31)):
            batch = reranking.stack_maps([maps], shape, shape)
            config = RegionConfig(heat_classes=1)
            boxes = reranking.find_regions(self.model, batch, CLASSES[:1], config)
            expected = [[1, 1, 11, 11], [2, 2, 10, 10], [3, 3, 9, 9], [4, 4, 8, 8], [5, 5, 7, 7]]
            self.assertEqual(boxes[0].tolist(), expected)
            described.append(encoder.describe_regions(self.model, batch, ids, jnp.asarray(boxes), None)[0])
        np.testing.assert_allclose(described[1], described[0], atol=1e-6)
        np.testing.assert_allclose(described[2], described[0], atol=1e-6)


class NoEvidenceTest(StoredCase):
    """These tests check that scores and vectors are finite without evidence."""

    def check_zero(self, features, cam_features):
        actual = self.find(self.store([(features, cam_features)]), np.eye(6)[0])
        self.assertEqual(float(actual.scores[0]), 0.0)
        np.testing.assert_array_equal(actual.vectors[0], np.zeros(6))
        return actual.boxes[0].tolist()

    def test_dead_features(self):
        self.check_zero(np.zeros((5, 7, 6)), blurred(self.random, (5, 7, 8)))

    def test_maps_that_are_nowhere_positive(self):
        self.assertEqual(self.check_zero(self.random.random((5, 7, 6)), np.zeros((5, 7, 8))), [0, 0, 7, 5])

    def test_one_cell(self):
        actual = self.find(self.store([(np.ones((1, 1, 6)), np.ones((1, 1, 8)))]), np.ones(6) / np.sqrt(6))
        self.assertTrue(np.isfinite(actual.vectors).all())
        self.assertEqual(actual.boxes[0].tolist(), [0, 0, 1, 1])


class StackMapsTest(absltest.TestCase):
    def test_padded_with_zeros(self):
        random = np.random.default_rng(0)
        maps = [
            {"features": random.random((*size, 3)), "cam_features": random.random((*cam_size, 2))}
            for size, cam_size in (((4, 5), (2, 3)), ((3, 6), (1, 3)))
        ]
        maps = [{name: value.astype(np.float16) for name, value in image_maps.items()} for image_maps in maps]
        actual = reranking.stack_maps(maps, (4, 8), (4, 4))
        self.assertEqual((actual.features.shape, actual.cam_features.shape), ((2, 4, 8, 3), (2, 4, 4, 2)))
        self.assertEqual({actual.features.dtype, actual.cam_features.dtype}, {jnp.dtype("float32")})
        self.assertEqual(actual.feature_size.tolist(), [[4, 5], [3, 6]])
        self.assertEqual(actual.cam_size.tolist(), [[2, 3], [1, 3]])
        np.testing.assert_array_equal(actual.features[1, :3, :6], maps[1]["features"])
        np.testing.assert_array_equal(actual.cam_features[0, :2, :3], maps[0]["cam_features"])
        for stacked, name in ((actual.features, "features"), (actual.cam_features, "cam_features")):
            total = sum(np.sum(image_maps[name], dtype=np.float64) for image_maps in maps)
            self.assertAlmostEqual(np.asarray(stacked, np.float64).sum(), total)  # the padding is zero


SCORES = st.lists(st.sampled_from([-1.0, -0.0, 0.0, 0.25, 1.0]), max_size=12)  # many ties


class RegionConfigTest(absltest.TestCase):
    def test_limited_to_the_number_of_classes(self):
        for classes, expected in ((1, (1, 1)), (4, (2, 4)), (6, (2, 6)), (1000, (2, 6))):
            config = RegionConfig(minimum=3).limited_to(classes)
            self.assertEqual((config.heat_classes, config.num_classes, config.minimum), (*expected, 3))


class ReorderTest(absltest.TestCase):
    def test_by_hand(self):
        original = Ranking(jnp.array([0.9, 0.8, 0.7, 0.6, 0.5]), jnp.array([7, 3, 9, 1, 4]))
        actual = reranking.reorder(original, np.float32([0.2, 0.9, 0.2]))
        np.testing.assert_array_equal(actual.rows, [3, 7, 9, 1, 4])
        np.testing.assert_array_equal(actual.scores, np.float32([0.9, 0.2, 0.2, 0.6, 0.5]))

    @settings(deadline=None, max_examples=60)
    @given(SCORES, st.integers(0, 5), st.integers(0, 1000))
    def test_against_sorted(self, scores, more, seed):
        ranking = np.random.default_rng(seed).permutation(len(scores) + more).astype(np.int32)
        order = sorted(range(len(scores)), key=lambda rank: (-scores[rank], rank))
        expected = [*ranking[order], *ranking[len(scores) :]]
        actual = reranking.reorder(Ranking(np.zeros(len(ranking)), ranking), np.array(scores, np.float32))
        np.testing.assert_array_equal(actual.rows, expected)

    def test_no_scores_change_nothing(self):
        actual = reranking.reorder(Ranking(np.zeros(3), np.array([2, 0, 1])), np.zeros(0))
        np.testing.assert_array_equal(actual.rows, [2, 0, 1])

    def test_more_scores_than_images(self):
        with self.assertRaisesRegex(ValueError, "3 scores for a ranking of 2 images"):
            reranking.reorder(Ranking(np.zeros(2), np.array([1, 0])), np.ones(3))


if __name__ == "__main__":
    absltest.main()
