import functools
import math

import numpy as np
from absl.testing import absltest, parameterized

import cwcf_jax
from cwcf_jax import encoder
from cwcf_jax.collection import queries, whitening
from cwcf_jax.datasets import Resize
from tests import collection, oracles


@functools.cache
def _model():
    return cwcf_jax.load("vgg_small_cam", collection.WEIGHTS)


def _image(height=60, width=90):
    random = np.random.default_rng(0)
    return np.repeat(np.repeat(random.integers(0, 256, (height // 10, width // 10, 3)), 10, 0), 10, 1).astype(np.uint8)


def _none():
    return whitening.none(_model().feature_dim, _model().feature_dim)


class DescribeTest(parameterized.TestCase):
    @parameterized.parameters((), (10.0, 5.0, 70.0, 58.0), (0.0, 0.0, 90.0, 60.0))
    def test_as_the_encoder_describes_it(self, *box):
        """Whose boxes are in the pixels that the network sees; these are half of the picture's."""
        box = box or None
        prepared = queries.prepare(_model(), Resize("max", 45), _image())
        self.assertEqual((prepared.height, prepared.width), (60, 90))
        found = queries.describe(_model(), _none(), prepared, num_classes=6, box=box)
        small = Resize("max", 45)(_image())[None]
        boxes = None if box is None else np.array([box], np.float32) / 2
        expected = cwcf_jax.class_vectors(_model(), small, num_classes=6, boxes=boxes)
        np.testing.assert_array_equal(found.class_ids, expected.class_ids[0])
        np.testing.assert_allclose(found.probabilities, expected.probabilities[0], rtol=1e-4)
        self.assertTrue(np.all(np.diff(found.probabilities) <= 0))
        units = np.stack([oracles.l2(np.asarray(vector, np.float64)) for vector in expected.vectors[0]])
        turned = units @ np.asarray(_none().projection, np.float64)
        np.testing.assert_allclose(found.vectors, turned, atol=2e-5)
        np.testing.assert_allclose(found.descriptor, oracles.l2(turned.sum(axis=0)), atol=2e-5)

    def test_under_classes_that_are_named(self):
        prepared = queries.prepare(_model(), Resize(), _image())
        found = queries.describe(_model(), _none(), prepared, num_classes=6, class_ids=[3, 1])
        expected = cwcf_jax.class_vectors(_model(), _image()[None], class_ids=np.array([3, 1]))
        np.testing.assert_array_equal(found.class_ids, [3, 1])
        total = sum(oracles.l2(np.asarray(vector, np.float64)) for vector in expected.vectors[0])
        expected = oracles.l2(total @ np.asarray(_none().projection, np.float64))
        np.testing.assert_allclose(found.descriptor, expected, atol=2e-5)

    @parameterized.parameters(
        *((10.0, 10.0, 10.0, 20.0), (10.0, 20.0, 30.0, 20.0), (30.0, 0.0, 10.0, 20.0), (-1.0, 0.0, 10.0, 10.0)),
        *((0.0, 0.0, 91.0, 60.0), (0.0, 0.0, 90.0, 60.5), (100.0, 100.0, 120.0, 120.0)),
        *((0.0, math.nan, 10.0, 10.0), (0.0, 0.0, math.inf, 10.0)),
    )
    def test_no_region_of_the_picture(self, *box):
        prepared = queries.prepare(_model(), Resize(), _image())
        message = r"the region \S+ does not lie within the picture's 90 x 60"
        with self.assertRaisesRegex(ValueError, message):
            queries.describe(_model(), _none(), prepared, num_classes=6, box=box)


class PrepareTest(parameterized.TestCase):
    @parameterized.parameters(((60, 90), np.uint8), ((60, 90, 4), np.uint8), ((60, 90, 3), np.float32))
    def test_what_is_no_picture(self, shape, dtype):
        with self.assertRaisesRegex(ValueError, r"a picture is \[height, width, 3\] of uint8, not \[60, 90.* of "):
            queries.prepare(_model(), Resize(), np.zeros(shape, dtype))

    def test_kept_maps_padded(self):
        maps = encoder.feature_maps(_model(), _image()[None])
        height, width = np.asarray(maps.feature_size[0]).tolist()
        kept = {name: np.asarray(getattr(maps, name))[0, :height, :width] for name in ("features", "cam_features")}
        found = queries.Prepared(queries.one_image(kept), 60, 90)
        expected = queries.Prepared(maps, 60, 90)
        for box in (None, (30.0, 10.0, 80.0, 50.0)):
            one, other = (
                queries.describe(_model(), _none(), prepared, num_classes=6, box=box) for prepared in (found, expected)
            )
            np.testing.assert_allclose(one.descriptor, other.descriptor, atol=1e-5)
        self.assertEqual(found.nbytes, sum(np.asarray(part).nbytes for part in found.maps))


if __name__ == "__main__":
    absltest.main()
