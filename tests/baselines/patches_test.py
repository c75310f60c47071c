import itertools

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.spatial import distance

from cwcf_jax.baselines import patches
from cwcf_jax.descriptors import WhiteningConfig
from tests.baselines import DIM, extractor, image, maps
from tests.support import oracles

SIDE = 16


def _boxes(height, width):
    """Returns squares of 1, 2/3, 1/2 and 2/5 of the short side, evenly spaced, with overlaps of at most half."""
    short = min(height, width)
    boxes = []
    for level in (1, 2, 3, 4):
        side = 2 * short / (level + 1)
        tops, lefts = (np.linspace(0, n - side, max(level, int(np.ceil(n / side - 1e-9)))) for n in (height, width))
        tops, lefts = (starts if len(starts) > 1 else [0.0] for starts in (tops, lefts))
        boxes += [(x, y, min(x + side, width), min(y + side, height)) for y in tops for x in lefts]
    return boxes


def _patch_rows(pixels):
    """Runs the network on one crop after the other, and computes the maximum of each channel."""
    pil_image = Image.fromarray(pixels)
    crops = [pil_image.resize((SIDE, SIDE), Image.Resampling.BILINEAR, box=box) for box in _boxes(*pixels.shape[:2])]
    return np.stack([maps(np.asarray(crop)).max(axis=(0, 1)) for crop in crops])


class PatchRowsTest(parameterized.TestCase):
    def test_against_a_loop_over_crops(self):
        sizes = ((40, 40), (30, 48), (45, 24))
        images = np.random.default_rng(9).integers(0, 256, (3, 48, 48, 3), np.uint8)  # padded with noise
        for i, (height, width) in enumerate(sizes):
            images[i, :height, :width] = image(i, height, width)
        actual = patches.patch_rows(extractor(), images, np.array(sizes, np.int32), SIDE)["patches"]
        self.assertEqual((actual.shape, actual.dtype), ((3, 64, DIM), np.float32))
        for i, (height, width) in enumerate(sizes):
            expected = _patch_rows(images[i, :height, :width])
            self.assertLen(expected, (30, 36, 40)[i])
            # Boxes in float32 may round a pixel value differently.
            np.testing.assert_allclose(actual[i, : len(expected)], expected, atol=0.02 * expected.max())
            np.testing.assert_array_equal(actual[i, len(expected) :], np.zeros((64 - len(expected), DIM)))

    def test_boxes_of_whole_pixels_are_exact(self):
        # 60 x 60 has sides of 60, 40, 30 and 24, which start at multiples of 20, 15 and 12.
        pixels = image(3, 60, 60)
        actual = patches.patch_rows(extractor(), pixels[None], np.array([[60, 60]], np.int32), SIDE)["patches"][0]
        np.testing.assert_allclose(actual[:30], _patch_rows(pixels), rtol=1e-4, atol=1e-4)

    def test_the_largest_patches_are_kept(self):
        pixels = image(4, 10, 80)  # the levels have 8, 24, 48 and 80 patches
        actual = patches.patch_rows(extractor(), pixels[None], np.array([[10, 80]], np.int32), SIDE)["patches"][0]
        expected = _patch_rows(pixels)
        self.assertLen(expected, 8 + 24 + 48 + 80)
        np.testing.assert_allclose(actual, expected[:64], atol=0.02 * expected.max())

    @parameterized.parameters((1, 1), (1, 3), (2, 1))
    def test_the_smallest_images(self, height, width):
        pixels = image(5, height, width)
        size = np.array([[height, width]], np.int32)
        rows = patches.patch_rows(extractor(), pixels[None], size, SIDE)["patches"][0]
        self.assertTrue(np.isfinite(rows).all())
        self.assertGreaterEqual(np.any(rows != 0, axis=1).sum(), 30)


def _database(seed, images=6, patches=5):
    rows = np.random.default_rng(seed).normal(size=(images, patches, DIM)).astype(np.float32)
    rows[1, 3:] = rows[2, 1:] = 0.0
    return rows


class DescribePatchesTest(parameterized.TestCase):
    @parameterized.parameters(True, False)
    def test_each_patch_is_whitened_separately(self, whitened):
        rows, training = _database(0, images=67), np.random.default_rng(1).random((60, DIM))
        whitening = WhiteningConfig(dim=4).fit(training, "toy") if whitened else None
        mean, projection = oracles.whitening(training, 4) if whitened else (np.zeros(DIM), np.eye(DIM))
        expected = np.apply_along_axis(lambda row: oracles.l2((oracles.l2(row) - mean) @ projection), 2, rows)
        expected[~np.any(rows != 0, axis=2)] = 0.0
        actual = patches.describe_patches(rows, whitening)
        np.testing.assert_allclose(np.abs(actual), np.abs(expected), atol=1e-4)  # the signs of directions are arbitrary


class RankPatchesTest(absltest.TestCase):
    def test_mean_of_the_smallest_distances(self):
        query = np.apply_along_axis(oracles.l2, 1, _database(2)[0]).astype(np.float32)
        query[4] = 0.0
        database = np.apply_along_axis(oracles.l2, 2, _database(3, images=67)).astype(np.float32)
        expected = []
        for reference in database:
            rows = [row for row in reference if row.any()]
            expected.append(-np.mean([min(np.linalg.norm(patch - row) for row in rows) for patch in query[:4]]))
        actual = np.asarray(patches.rank_patches(jnp.asarray(query), jnp.asarray(database)))
        np.testing.assert_allclose(actual, expected, atol=1e-6)
        np.testing.assert_array_equal(np.argsort(-actual), np.argsort(-np.array(expected)))

    def test_the_query_is_nearest_and_an_image_without_patches_farthest(self):
        database = np.apply_along_axis(oracles.l2, 2, _database(4)).astype(np.float32)
        database[5] = 0.0
        scores = np.asarray(patches.rank_patches(jnp.asarray(database[3]), jnp.asarray(database)))
        self.assertEqual((int(np.argmax(scores)), float(scores[3])), (3, 0.0))
        self.assertEqual((int(np.argmin(scores)), float(scores[5])), (5, -2.0))

    def test_a_crop_is_found_in_its_image(self):
        """The first patch of the crop, which is the whole crop, is one of the image's patches."""
        images = np.stack([image(i, 60, 60) for i in range(4)])
        crop = images[2, 20:60, 0:40]
        database = patches.patch_rows(extractor(), images, np.full((4, 2), 60, np.int32), SIDE)["patches"]
        crop_rows = patches.patch_rows(extractor(), crop[None], np.array([[40, 40]], np.int32), SIDE)["patches"]
        first_patch = patches.describe_patches(crop_rows, None)[0, :1]
        scores = np.asarray(patches.rank_patches(first_patch, patches.describe_patches(database, None)))
        self.assertEqual(int(np.argmax(scores)), 2)
        self.assertGreater(scores[2], -0.02)  # not 0: the resize of a patch also reads pixels around the patch
        self.assertLess(np.delete(scores, 2).max(), 2 * scores[2])


def _unit(seed, count, dim=8):
    vectors = np.random.default_rng(seed).normal(size=(count, dim))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def _similarity(query, reference):
    return float(patches.patch_similarity(jnp.asarray(query), jnp.asarray(reference)))


class PatchBoxesTest(parameterized.TestCase):
    def test_by_hand(self):
        # Along the long side of 3 x 4 lie two squares of 3, because one would leave a gap; then 2 x 2 squares of 2.
        expected = [[0, 0, 3, 3], [1, 0, 4, 3], [0, 0, 2, 2], [2, 0, 4, 2], [0, 1, 2, 3], [2, 1, 4, 3]]
        np.testing.assert_allclose(patches.patch_boxes(3, 4, levels=(1, 2)), expected, rtol=1e-6)

    @parameterized.parameters(((600, 600), 30), ((768, 1024), 31), ((1024, 768), 31), ((800, 1200), 33), ((1, 1), 30))
    def test_about_thirty(self, shape, count):
        self.assertLen(patches.patch_boxes(*shape), count)

    @settings(deadline=None, max_examples=60)
    @given(st.integers(1, 2000), st.integers(1, 2000))
    def test_every_level_covers_the_image_with_squares_inside(self, height, width):
        for level in range(1, 5):
            boxes = patches.patch_boxes(height, width, levels=(level,)).astype(np.float64)
            tolerance = 1e-6 * max(height, width)
            sides = boxes[:, 2:] - boxes[:, :2]
            np.testing.assert_allclose(sides, 2 * min(height, width) / (level + 1), rtol=1e-4, atol=2 * tolerance)
            self.assertTrue((boxes[:, :2] >= 0).all() and (boxes[:, 2:] <= [width, height]).all())
            for start, stop, length in ((0, 2, width), (1, 3, height)):
                spans = sorted(set(map(tuple, boxes[:, (start, stop)])))
                self.assertLessEqual(spans[0][0], tolerance)
                self.assertGreaterEqual(spans[-1][1], length - tolerance)
                self.assertTrue(all(b[0] <= a[1] + tolerance for a, b in itertools.pairwise(spans)))

    def test_portrait_is_landscape_transposed(self):
        wide, tall = patches.patch_boxes(300, 500), patches.patch_boxes(500, 300)
        self.assertCountEqual(map(tuple, wide[:, [1, 0, 3, 2]]), map(tuple, tall))

    def test_errors(self):
        for arguments in ((0, 5), (5, 0)):
            with self.assertRaisesRegex(ValueError, "has no patches"):
                patches.patch_boxes(*arguments)
        for levels in ((), (0, 1)):
            with self.assertRaisesRegex(ValueError, "levels"):
                patches.patch_boxes(5, 5, levels=levels)


class PatchSimilarityTest(absltest.TestCase):
    @settings(deadline=None, max_examples=20)
    @given(st.integers(0, 1000), st.integers(1, 3), st.integers(1, 3), st.integers(0, 1), st.integers(0, 1))
    def test_against_scipy_with_padding(self, seed, query_count, reference_count, query_padding, reference_padding):
        query, reference = _unit(seed, query_count), _unit(seed + 1, reference_count)
        expected = -distance.cdist(query.astype(np.float64), reference.astype(np.float64)).min(axis=1).mean()
        query = np.pad(query, ((query_padding, 0), (0, 0)))
        reference = np.pad(reference, ((0, reference_padding), (0, 0)))
        self.assertAlmostEqual(_similarity(query, reference), expected, delta=1e-6)

    def test_by_hand(self):
        # (1, 0) has distance 0 to the same patch; (0, 1) has distance sqrt(.36 + .04) to (.6, .8). Not symmetric.
        query, reference = np.eye(2, dtype=np.float32), np.float32([[1.0, 0.0], [0.6, 0.8], [-1.0, 0.0]])
        self.assertAlmostEqual(_similarity(query, reference), -np.sqrt(0.4) / 2, delta=1e-6)
        self.assertAlmostEqual(_similarity(reference, query), -(0 + np.sqrt(0.4) + np.sqrt(2)) / 3, delta=1e-6)

    def test_equal_patches_have_exactly_distance_0(self):
        query = _unit(0, 31, 512)
        self.assertEqual(_similarity(query, query[::-1].copy()), 0.0)

    def test_padding_is_ignored(self):
        # The padding at the origin is nearer than the only patch.
        self.assertAlmostEqual(_similarity([[1.0, 0.0]], [[0.0, 0.0], [-1.0, 0.0]]), -2.0, delta=1e-6)

    def test_without_patches(self):
        image_patches, no_patches = _unit(0, 3), np.zeros((3, 8), np.float32)
        for query, reference in ((no_patches, image_patches), (image_patches, no_patches), (no_patches, no_patches)):
            self.assertEqual(_similarity(query, reference), -2.0)

    def test_gradients_are_finite(self):
        image, zeros = jnp.asarray(_unit(0, 3)), jnp.zeros((3, 8))
        for query, reference in ((image, image), (zeros, image), (image, zeros)):
            gradients = jax.grad(patches.patch_similarity, argnums=(0, 1))(query, reference)
            self.assertTrue(all(bool(jnp.isfinite(gradient).all()) for gradient in gradients))

    def test_jit_and_vmap_over_references(self):
        query, references = _unit(0, 4), np.stack([_unit(i, 5) for i in range(1, 7)])
        search = jax.jit(jax.vmap(patches.patch_similarity, in_axes=(None, 0)))
        expected = [_similarity(query, reference) for reference in references]
        np.testing.assert_allclose(search(jnp.asarray(query), jnp.asarray(references)), expected, atol=1e-6)


if __name__ == "__main__":
    absltest.main()
