"""Regions of a photograph from its stored maps, against `encode` of the same box and against float64."""

import functools

import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

import cwcf_jax
from cwcf_jax import datasets, descriptors, encoder
from tests import oracles, shared

IDS = [497, 538, 884, 442]
HEIGHT, WIDTH = 333, 450


@functools.cache
def _model(**options):
    return cwcf_jax.load("googlenet", shared.require("weights/googlenet_bvlc.npz"), **options)


@functools.cache
def _photograph():
    images = datasets.read_oxford(shared.require("data/oxford_dev"))
    return datasets.read_image(images.paths[0])[:HEIGHT, :WIDTH]


@functools.cache
def _maps(**options):
    return encoder.feature_maps(_model(**options), _photograph()[None])


def _pixels(maps, box):
    """A box in cells as one of pixels that touches these cells and no others."""
    height, width = maps.feature_size[0].tolist()
    scale = np.array([WIDTH / width, HEIGHT / height] * 2)
    return np.array([box]) * scale


def _describe(model, maps, boxes, whitening=None, ids=IDS):
    return encoder.describe_regions(model, maps, jnp.asarray(ids, jnp.int32), jnp.asarray(boxes, jnp.int32), whitening)


class HeatMapsTest(parameterized.TestCase):
    def cams(self, ids):
        """Normalised maps in float64, from the padded ones."""
        maps = _maps()
        height, width = maps.cam_size[0].tolist()
        cam_features = np.asarray(maps.cam_features[0, :height, :width], np.float64)
        kernel = np.asarray(_model().params["classifier"]["kernel"], np.float64)
        return [oracles.min_max(cam_features @ kernel[:, c]) for c in ids]

    @parameterized.parameters(1, 2, 4)
    def test_mean_of_the_normalised_maps(self, count):
        maps = _maps()
        found = encoder.heat_maps(_model(), maps, jnp.asarray(IDS[:count], jnp.int32))
        height, width = maps.feature_size[0].tolist()
        self.assertEqual(found.shape, maps.features.shape[:3])
        self.assertLess((height, width), maps.features.shape[1:3])  # there is padding, and it is cold
        np.testing.assert_allclose(found[0, :height, :width], np.mean(self.cams(IDS[:count]), axis=0), atol=1e-5)
        self.assertEqual(float(found[0, height:].sum() + found[0, :, width:].sum()), 0.0)

    def test_at_the_resolution_of_the_features(self):
        model, maps = _model(feature_layer="inception_4e"), _maps(feature_layer="inception_4e")
        found = encoder.heat_maps(model, maps, jnp.asarray(IDS[:2], jnp.int32))
        self.assertEqual(found.shape, maps.features.shape[:3])
        (height, width), (coarse_height, coarse_width) = maps.feature_size[0].tolist(), maps.cam_size[0].tolist()
        self.assertEqual((height, width), (2 * coarse_height - 1, 2 * coarse_width))
        # Columns are doubled: half-pixel centres, a quarter of the neighbour in each. Rows likewise, not by two.
        heat = np.mean(self.cams(IDS[:2]), axis=0)
        rows = np.clip((np.arange(height) + 0.5) * coarse_height / height - 0.5, 0, coarse_height - 1)
        columns = np.clip((np.arange(width) + 0.5) * coarse_width / width - 0.5, 0, coarse_width - 1)
        by_rows = np.array([np.interp(rows, np.arange(coarse_height), column) for column in heat.T]).T
        expected = np.array([np.interp(columns, np.arange(coarse_width), row) for row in by_rows])
        np.testing.assert_allclose(found[0, :height, :width], expected, atol=1e-5)


class DescribeRegionsTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.whitening = cwcf_jax.fit_pca_whitening(np.random.default_rng(0).random((60, 832)), dim=32)

    def whole(self, maps):
        height, width = maps.feature_size[0].tolist()
        return [0, 0, width, height]

    @parameterized.parameters(True, False)
    def test_the_whole_map_is_the_image(self, whitened):
        whitening = self.whitening if whitened else None
        maps = _maps()
        found = _describe(_model(), maps, [[self.whole(maps)]], whitening)
        expected = cwcf_jax.encode(_model(), _photograph()[None], class_ids=IDS, whitening=whitening)
        np.testing.assert_allclose(found[0], expected, atol=1e-5)
        vectors = cwcf_jax.class_vectors(_model(), _photograph()[None], class_ids=IDS).vectors[0]
        np.testing.assert_allclose(found[0, 0], descriptors.aggregate(vectors, whitening), atol=1e-5)

    @parameterized.parameters(
        {},
        {"channel_weighting": False},
        {"cam_normalization": "max_clip", "drop_negative": False, "repeat_dropped": True},
        {"feature_layer": "inception_4e"},
    )
    def test_boxes_are_those_of_encode(self, **options):
        model, maps = _model(**options), _maps(**options)
        boxes = [[1, 0, 4, 3], [5, 2, 6, 7], [3, 3, 4, 4], self.whole(maps)]
        found = _describe(model, maps, [boxes])[0]
        for row, box in zip(found, boxes, strict=True):
            pixels = _pixels(maps, box)
            expected = cwcf_jax.encode(model, _photograph()[None], class_ids=IDS, boxes=pixels)[0]
            np.testing.assert_allclose(row, expected, atol=1e-5)

    def test_against_float64(self):
        """paper/facts.md: maps normalised over the whole image and cut, channel weights of the region alone."""
        maps = _maps()
        height, width = maps.feature_size[0].tolist()
        features = np.asarray(maps.features[0, :height, :width], np.float64)
        cam_features = np.asarray(maps.cam_features[0, :height, :width], np.float64)
        kernel = np.asarray(_model().params["classifier"]["kernel"], np.float64)
        cut = slice(2, 6), slice(1, 5)
        vectors = [oracles.class_vector(features[cut], oracles.min_max(cam_features @ kernel[:, c])[cut]) for c in IDS]
        found = _describe(_model(), maps, [[[1, 2, 5, 6]]])
        np.testing.assert_allclose(found[0, 0], oracles.descriptor(vectors), atol=1e-4)

    def test_a_dropped_class_is_repeated(self):
        model, repeating, maps = _model(), _model(repeat_dropped=True), _maps()
        kernel = model.params["classifier"]["kernel"].at[:, 0].set(-1.0)
        params = model.params | {"classifier": model.params["classifier"] | {"kernel": kernel}}
        plain, changed = (cwcf_jax.Model(params, one.network, one.config) for one in (model, repeating))
        box = [[[1, 2, 5, 6]]]
        expected = _describe(plain, maps, box, ids=[497, 538, 538])
        np.testing.assert_allclose(_describe(changed, maps, box, ids=[497, 538, 0]), expected, atol=1e-6)
        alone = _describe(plain, maps, box, ids=[497, 538])
        np.testing.assert_allclose(_describe(plain, maps, box, ids=[497, 538, 0]), alone, atol=1e-6)
        self.assertGreater(float(jnp.abs(alone - expected).max()), 1e-3)

    def test_a_region_without_cells_is_zero(self):
        maps = _maps()
        for whitening in (None, self.whitening):
            found = _describe(_model(), maps, [[[0, 0, 0, 0], [4, 4, 4, 6], [9, 9, 2, 2]]], whitening)
            np.testing.assert_array_equal(found, np.zeros_like(found))

    def test_images_of_a_batch_do_not_see_each_other(self):
        image = _photograph()
        batch = np.zeros((2, 384, 512, 3), np.uint8)
        sizes = [(HEIGHT, WIDTH), (200, 260)]
        for row, (height, width) in zip(batch, sizes, strict=True):
            row[:height, :width] = image[:height, :width]
        maps = encoder.feature_maps(_model(), batch, sizes=sizes)
        boxes = [[[1, 0, 4, 3], [0, 0, 2, 2]], [[2, 1, 5, 4], [0, 1, 1, 3]]]
        found = _describe(_model(), maps, boxes)
        for i, (height, width) in enumerate(sizes):
            alone = encoder.feature_maps(_model(), image[None, :height, :width])
            np.testing.assert_allclose(found[i], _describe(_model(), alone, [boxes[i]])[0], atol=1e-5)


if __name__ == "__main__":
    absltest.main()
