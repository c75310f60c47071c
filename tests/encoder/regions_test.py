"""Tests of region descriptors from maps: against `encode` of the same box, and against float64."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

import cwcf_jax
from cwcf_jax import descriptors, encoder
from cwcf_jax.datasets import read_oxford
from cwcf_jax.images import read_image
from tests.support import oracles, shared
from tests.training import tiny

IDS = [4, 9, 0]
SHAPE = (53, 70)


@functools.cache
def _tiny(**options):
    network = tiny.network(num_labels=10)
    return cwcf_jax.load(network, network.initialize(0), **options)


@functools.cache
def _image():
    return np.random.default_rng(1).integers(0, 256, (1, *SHAPE, 3)).astype(np.uint8)


@functools.cache
def _maps(**options):
    return encoder.feature_maps(_tiny(**options), _image())


def _cams(model, maps, ids):
    """Computes the normalised CAMs of the first image in float64."""
    height, width = maps.cam_size[0].tolist()
    cam_features = np.asarray(maps.cam_features[0, :height, :width], np.float64)
    kernel = np.asarray(model.params["classifier"]["kernel"], np.float64)
    cams = [cam_features @ kernel[:, c] for c in ids]
    return [oracles.min_max(cam) if cam.max() > 0 else np.zeros_like(cam) for cam in cams]


def _whole_map_box(maps):
    height, width = maps.feature_size[0].tolist()
    return [0, 0, width, height]


def _pixels(maps, box):
    """Converts a box from cells to pixels, so that it touches exactly the same cells."""
    height, width = maps.feature_size[0].tolist()
    return np.array([box]) * np.array([SHAPE[1] / width, SHAPE[0] / height] * 2)


def _describe(model, maps, boxes, whitening=None, ids=IDS):
    return encoder.describe_regions(model, maps, jnp.asarray(ids, jnp.int32), jnp.asarray(boxes, jnp.int32), whitening)


class PhotographTest(absltest.TestCase):
    """Tests with GoogLeNet and a photograph."""

    IDS = (497, 538, 884)

    def test_a_region_of_the_whole_map_is_the_image(self):
        model = cwcf_jax.load("googlenet", shared.require("weights/googlenet_bvlc.npz"))
        images = read_oxford(shared.require("data/oxford_dev"))
        photograph = read_image(images.paths[0])[None, :120, :110]
        maps = encoder.feature_maps(model, photograph)
        vectors = cwcf_jax.class_vectors(model, photograph, class_ids=list(self.IDS)).vectors[0]
        for whitening in (None, cwcf_jax.fit_pca_whitening(np.random.default_rng(0).random((60, 832)), dim=32)):
            actual = _describe(model, maps, [[_whole_map_box(maps)]], whitening, self.IDS)
            np.testing.assert_allclose(actual[0, 0], descriptors.aggregate(vectors, whitening), atol=1e-5)
        heat = encoder.heat_maps(model, maps, jnp.asarray(self.IDS[:2], jnp.int32))
        height, width = maps.feature_size[0].tolist()
        expected = np.mean(_cams(model, maps, self.IDS[:2]), axis=0)
        np.testing.assert_allclose(heat[0, :height, :width], expected, atol=1e-5)


class HeatMapsTest(parameterized.TestCase):
    @parameterized.parameters(1, 2, 3)
    def test_mean_of_the_normalised_maps(self, count):
        maps = _maps()
        actual = encoder.heat_maps(_tiny(), maps, jnp.asarray(IDS[:count], jnp.int32))
        height, width = maps.feature_size[0].tolist()
        self.assertEqual(actual.shape, maps.features.shape[:3])
        self.assertLess((height, width), maps.features.shape[1:3])  # the maps have padding, where the heat is 0
        np.testing.assert_allclose(actual[0, :height, :width], np.mean(_cams(_tiny(), maps, IDS[:count]), 0), atol=1e-5)
        self.assertEqual(float(actual[0, height:].sum() + actual[0, :, width:].sum()), 0.0)

    def test_at_the_resolution_of_the_features(self):
        model, maps = _tiny(feature_layer="conv1_1"), _maps(feature_layer="conv1_1")
        actual = encoder.heat_maps(model, maps, jnp.asarray(IDS[:2], jnp.int32))
        self.assertEqual(actual.shape, maps.features.shape[:3])
        heat = np.mean(_cams(model, maps, IDS[:2]), axis=0)
        (height, width), (rows, columns) = maps.feature_size[0].tolist(), heat.shape
        self.assertEqual((height, width, rows, columns), (53, 70, 27, 35))
        # Bilinear with half-pixel centres, one axis after the other.
        y = (np.arange(height) + 0.5) * rows / height - 0.5
        x = (np.arange(width) + 0.5) * columns / width - 0.5
        resized_rows = np.array([np.interp(y, np.arange(rows), column) for column in heat.T]).T
        expected = np.array([np.interp(x, np.arange(columns), row) for row in resized_rows])
        np.testing.assert_allclose(actual[0, :height, :width], expected, atol=1e-5)


class DescribeRegionsTest(parameterized.TestCase):
    @parameterized.parameters(
        {},
        {"channel_weighting": False},
        {"pooling": "gem"},
        {"cam_normalization": "max_clip", "drop_negative": False, "repeat_dropped": True},
        {"feature_layer": "conv1_1"},
    )
    def test_boxes_as_in_encode(self, **fields):
        model, maps = _tiny(**fields), _maps(**fields)
        whitening = cwcf_jax.fit_pca_whitening(np.random.default_rng(0).random((60, model.feature_dim)), dim=3)
        boxes = [[1, 0, 14, 13], [5, 2, 6, 17], [3, 3, 4, 4], _whole_map_box(maps)]
        actual = _describe(model, maps, [boxes], whitening)[0]
        self.assertFalse(bool(jnp.all(actual == 0, axis=1).any()))
        for row, box in zip(actual, boxes, strict=True):
            options = {"class_ids": IDS, "boxes": _pixels(maps, box), "whitening": whitening}
            np.testing.assert_allclose(row, cwcf_jax.encode(model, _image(), **options)[0], atol=1e-5)

    def test_a_grid_of_regions_under_their_own_classes(self):
        model, maps = _tiny(), _maps()
        actual = encoder.describe_grid(model, maps, None, num_classes=2)[0]
        height, width = maps.feature_size[0].tolist()
        boxes = encoder.grid((height, width)).tolist()
        self.assertLen(boxes, 1 + encoder.NUM_GRID_REGIONS)
        np.testing.assert_allclose(actual[0], cwcf_jax.encode(model, _image(), num_classes=2)[0], atol=1e-5)
        for row, box in list(zip(actual, boxes, strict=True))[1::7]:
            expected = cwcf_jax.encode(model, _image(), num_classes=2, boxes=_pixels(maps, box))[0]
            np.testing.assert_allclose(row, expected, atol=1e-5)

    def test_against_float64(self):
        """CAMs are normalised over the whole image and then cropped; channel weights are those of the region alone."""
        maps = _maps()
        height, width = maps.feature_size[0].tolist()
        features = np.asarray(maps.features[0, :height, :width], np.float64)
        for left, top, right, bottom in ([1, 2, 15, 16], [20, 8, 29, 9]):
            crop = slice(top, bottom), slice(left, right)
            vectors = [oracles.class_vector(features[crop], cam[crop]) for cam in _cams(_tiny(), maps, IDS)]
            actual = _describe(_tiny(), maps, [[[left, top, right, bottom]]])
            np.testing.assert_allclose(actual[0, 0], oracles.descriptor(vectors), atol=1e-4)

    def test_power_means_against_float64(self):
        """The region's cells are pooled under CAMs that are normalised over the whole image."""
        maps = _maps()
        height, width = maps.feature_size[0].tolist()
        features = np.asarray(maps.features[0, :height, :width], np.float64)
        model = _tiny(pooling="gem", gem_p=2.5)
        for left, top, right, bottom in ([1, 2, 15, 16], [20, 8, 29, 9]):
            crop = slice(top, bottom), slice(left, right)
            vectors = [oracles.class_power_mean(features[crop], cam[crop], 2.5) for cam in _cams(model, maps, IDS)]
            actual = _describe(model, maps, [[[left, top, right, bottom]]])
            np.testing.assert_allclose(actual[0, 0], oracles.descriptor(vectors), atol=1e-5)
            region_vectors = encoder.region_vectors(
                model,
                jax.tree.map(lambda leaf: leaf[0], maps),
                jnp.asarray(IDS, jnp.int32),
                jnp.array([left, top, right, bottom]),
                None,
            )
            np.testing.assert_allclose(region_vectors, [oracles.l2(vector) for vector in vectors], atol=1e-5)

    def test_a_dropped_class_is_repeated(self):
        kernel = _tiny().params["classifier"]["kernel"].at[:, 0].set(-1.0)
        params = _tiny().params | {"classifier": _tiny().params["classifier"] | {"kernel": kernel}}
        plain, repeating = (
            cwcf_jax.Model(params, model.network, model.config) for model in (_tiny(), _tiny(repeat_dropped=True))
        )
        box = [[[1, 2, 15, 16]]]
        class_9_twice = _describe(plain, _maps(), box, ids=[4, 9, 9])
        class_9_once = _describe(plain, _maps(), box, ids=[4, 9])
        self.assertGreater(float(jnp.abs(class_9_once - class_9_twice).max()), 1e-3)
        np.testing.assert_allclose(_describe(repeating, _maps(), box, ids=[4, 9, 0]), class_9_twice, atol=1e-6)
        np.testing.assert_allclose(_describe(plain, _maps(), box, ids=[4, 9, 0]), class_9_once, atol=1e-6)

    def test_a_region_without_cells_is_zero(self):
        whitening = cwcf_jax.fit_pca_whitening(np.random.default_rng(0).random((60, 6)), dim=3)
        for optional_whitening in (None, whitening):
            actual = _describe(_tiny(), _maps(), [[[0, 0, 0, 0], [4, 4, 4, 6], [9, 9, 2, 2]]], optional_whitening)
            np.testing.assert_array_equal(actual, np.zeros_like(actual))

    def test_images_of_a_batch_are_independent(self):
        batch = np.full((2, *SHAPE, 3), 255, np.uint8)
        sizes = [(53, 61), (20, 26)]
        for row, (height, width) in zip(batch, sizes, strict=True):
            row[:height, :width] = _image()[0, :height, :width]
        boxes = [[[1, 0, 14, 13], [0, 0, 2, 2]], [[2, 1, 13, 10], [0, 1, 1, 3]]]
        actual = _describe(_tiny(), encoder.feature_maps(_tiny(), batch, sizes=sizes), boxes)
        for i, (height, width) in enumerate(sizes):
            maps = encoder.feature_maps(_tiny(), _image()[:, :height, :width])
            np.testing.assert_allclose(actual[i], _describe(_tiny(), maps, [boxes[i]])[0], atol=1e-5)


if __name__ == "__main__":
    absltest.main()
