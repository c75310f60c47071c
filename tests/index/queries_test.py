import functools
import math

import numpy as np
from absl.testing import absltest, parameterized

import cwcf_jax
from cwcf_jax.images import Resize
from cwcf_jax.index import queries
from tests.support import indexes, oracles


@functools.cache
def _model():
    return cwcf_jax.load("thin_cam", indexes.WEIGHTS)


def _image():
    blocks = np.random.default_rng(0).integers(0, 256, (8, 12, 3)).astype(np.uint8)
    return blocks.repeat(8, axis=0).repeat(8, axis=1)


@functools.cache
def _prepared():
    """Returns a query picture of 96 x 64 pixels, resized to half; a cell of its maps is 16 pixels wide."""
    return queries.prepare(_model(), Resize("max", 48), _image())


def _maps():
    """Returns the maps of the query picture without padding."""
    sizes = {"features": _prepared().maps.feature_size, "cam_features": _prepared().maps.cam_size}
    cuts = {name: tuple(slice(n) for n in np.asarray(size[0]).tolist()) for name, size in sizes.items()}
    return {name: np.asarray(getattr(_prepared().maps, name))[0][cut] for name, cut in cuts.items()}


def _describe(prepared=None, **arguments):
    return queries.describe(_model(), _whitening(), prepared or _prepared(), num_classes=6, **arguments)


@functools.cache
def _whitening():
    training = np.random.default_rng(0).random((60, _model().feature_dim))
    return cwcf_jax.fit_pca_whitening(training, dim=16)


class DescribeTest(parameterized.TestCase):
    @parameterized.parameters(
        ({}, np.s_[:, :]),
        ({"box": (0.0, 0.0, 96.0, 64.0)}, np.s_[:, :]),
        ({"box": (20.0, 20.0, 60.0, 45.0)}, np.s_[1:3, 1:4]),
        ({"class_ids": [3, 1]}, np.s_[:, :]),
        ({"class_ids": [3, 1], "box": (50.0, 1.0, 95.0, 15.0)}, np.s_[:1, 3:]),
    )
    def test_against_float64(self, arguments, cut):
        """A region has the classes that are most probable in it, and every cell that it touches."""
        actual, maps = _describe(**arguments), _maps()
        self.assertEqual((_prepared().height, _prepared().width), (64, 96))
        self.assertEqual(maps["features"].shape[:2], (4, 6))
        kernel, bias = (np.asarray(_model().params["classifier"][name], np.float64) for name in ("kernel", "bias"))
        logits = np.asarray(maps["cam_features"][cut], np.float64).mean(axis=(0, 1)) @ kernel + bias
        classes = np.array(arguments.get("class_ids", np.argsort(-logits)[:6]))
        np.testing.assert_array_equal(actual.class_ids, classes)
        softmax = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
        np.testing.assert_allclose(actual.probabilities, softmax[classes], rtol=1e-4)
        vectors = indexes.float64_vectors(_model(), maps, classes, cut)
        expected = indexes.float64_whitened(vectors, _whitening())
        np.testing.assert_allclose(actual.vectors, expected, atol=2e-5)
        np.testing.assert_allclose(actual.descriptor, oracles.l2(expected.sum(axis=0)), atol=2e-5)

    @parameterized.parameters(
        *((10.0, 10.0, 10.0, 20.0), (10.0, 20.0, 30.0, 20.0), (30.0, 0.0, 10.0, 20.0), (-1.0, 0.0, 10.0, 10.0)),
        *((0.0, 0.0, 97.0, 60.0), (0.0, 0.0, 90.0, 64.5), (100.0, 100.0, 120.0, 120.0)),
        *((0.0, math.nan, 10.0, 10.0), (0.0, 0.0, math.inf, 10.0)),
    )
    def test_invalid_regions(self, *box):
        with self.assertRaisesRegex(ValueError, r"the region \S+ does not lie within the picture's 96 x 64"):
            _describe(box=box)


class PrepareTest(parameterized.TestCase):
    @parameterized.parameters(((60, 90), np.uint8), ((60, 90, 4), np.uint8), ((60, 90, 3), np.float32))
    def test_no_picture(self, shape, dtype):
        with self.assertRaisesRegex(ValueError, r"a picture is \[height, width, 3\] of uint8, not \[60, 90.* of "):
            queries.prepare(_model(), Resize(), np.zeros(shape, dtype))

    def test_padded_maps(self):
        padded = queries.PreparedQuery(queries.as_batch(_maps()), 64, 96)
        for arguments in ({}, {"box": (30.0, 10.0, 80.0, 50.0)}):
            expected = _describe(**arguments).descriptor
            np.testing.assert_allclose(_describe(padded, **arguments).descriptor, expected, atol=1e-5)
        self.assertEqual(padded.nbytes, sum(np.asarray(array).nbytes for array in padded.maps))


if __name__ == "__main__":
    absltest.main()
