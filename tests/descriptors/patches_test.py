import itertools

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import distance

from cwcf_jax.descriptors import patches


def _unit(seed, count, dim=8):
    vectors = np.random.default_rng(seed).normal(size=(count, dim))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def _similarity(query, reference):
    return float(patches.patch_similarity(jnp.asarray(query), jnp.asarray(reference)))


class PatchBoxesTest(parameterized.TestCase):
    def test_by_hand(self):
        # 3 x 4: one square of 3 leaves a gap, two do not; squares of 2, 2 down and 2 across.
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
            slack = 1e-6 * max(height, width)
            sides = boxes[:, 2:] - boxes[:, :2]
            np.testing.assert_allclose(sides, 2 * min(height, width) / (level + 1), rtol=1e-4, atol=2 * slack)
            self.assertTrue((boxes[:, :2] >= 0).all() and (boxes[:, 2:] <= [width, height]).all())
            for start, stop, length in ((0, 2, width), (1, 3, height)):
                spans = sorted(set(map(tuple, boxes[:, (start, stop)])))
                self.assertLessEqual(spans[0][0], slack)
                self.assertGreaterEqual(spans[-1][1], length - slack)
                self.assertTrue(all(b[0] <= a[1] + slack for a, b in itertools.pairwise(spans)))

    def test_orientation_turns_the_boxes(self):
        wide, tall = patches.patch_boxes(300, 500), patches.patch_boxes(500, 300)
        self.assertCountEqual(map(tuple, wide[:, [1, 0, 3, 2]]), map(tuple, tall))

    def test_errors(self):
        for arguments in ((0, 5), (5, 0)):
            with self.assertRaisesRegex(ValueError, "no patches"):
                patches.patch_boxes(*arguments)
        for levels in ((), (0, 1)):
            with self.assertRaisesRegex(ValueError, "levels"):
                patches.patch_boxes(5, 5, levels=levels)


class PatchSimilarityTest(absltest.TestCase):
    @settings(deadline=None, max_examples=20)
    @given(st.integers(0, 1000), st.integers(1, 3), st.integers(1, 3), st.integers(0, 1), st.integers(0, 1))
    def test_against_scipy_with_padding(self, seed, asked, offered, query_padding, reference_padding):
        query, reference = _unit(seed, asked), _unit(seed + 1, offered)
        expected = -distance.cdist(query.astype(np.float64), reference.astype(np.float64)).min(axis=1).mean()
        query = np.pad(query, ((query_padding, 0), (0, 0)))
        reference = np.pad(reference, ((0, reference_padding), (0, 0)))
        self.assertAlmostEqual(_similarity(query, reference), expected, delta=1e-6)

    def test_by_hand(self):
        # (1, 0) is there: 0; (0, 1) is nearest to (.6, .8): sqrt(.36 + .04). Not symmetric.
        query, reference = np.eye(2, dtype=np.float32), np.float32([[1.0, 0.0], [0.6, 0.8], [-1.0, 0.0]])
        self.assertAlmostEqual(_similarity(query, reference), -np.sqrt(0.4) / 2, delta=1e-6)
        self.assertAlmostEqual(_similarity(reference, query), -(0 + np.sqrt(0.4) + np.sqrt(2)) / 3, delta=1e-6)

    def test_the_same_patches_are_exactly_as_near_as_can_be(self):
        query = _unit(0, 31, 512)
        self.assertEqual(_similarity(query, query[::-1].copy()), 0.0)

    def test_opposite_only(self):
        # The padding at the origin is nearer than the patch, and takes no part.
        self.assertAlmostEqual(_similarity([[1.0, 0.0]], [[0.0, 0.0], [-1.0, 0.0]]), -2.0, delta=1e-6)

    def test_without_patches(self):
        some, none = _unit(0, 3), np.zeros((3, 8), np.float32)
        for query, reference in ((none, some), (some, none), (none, none)):
            self.assertEqual(_similarity(query, reference), -2.0)

    def test_gradients_are_finite(self):
        some, none = jnp.asarray(_unit(0, 3)), jnp.zeros((3, 8))
        for query, reference in ((some, some), (none, some), (some, none)):
            gradients = jax.grad(patches.patch_similarity, argnums=(0, 1))(query, reference)
            self.assertTrue(all(bool(jnp.isfinite(part).all()) for part in gradients))

    def test_jit_and_vmap_over_references(self):
        query, references = _unit(0, 4), np.stack([_unit(i, 5) for i in range(1, 7)])
        search = jax.jit(jax.vmap(patches.patch_similarity, in_axes=(None, 0)))
        expected = [_similarity(query, reference) for reference in references]
        np.testing.assert_allclose(search(jnp.asarray(query), jnp.asarray(references)), expected, atol=1e-6)


if __name__ == "__main__":
    absltest.main()
