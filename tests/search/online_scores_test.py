import functools

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized
from jax.sharding import Mesh

from cwcf_jax.search import online_nearest_sharded, online_scores


def oracle(vectors, positions, query):
    """OnA as the paper has it: the sum of the chosen class vectors, scaled to norm 1, times the query; float64."""
    sums = vectors[positions].astype(np.float64).sum(axis=0)
    norms = np.linalg.norm(sums, axis=-1)
    return np.where(norms > 0, sums @ query / np.where(norms > 0, norms, 1.0), 0.0)


class OnlineScoresTest(parameterized.TestCase):
    @parameterized.product(n=(1, 7, 8, 20), dtype=("int8", "float16", "float32"))
    def test_against_the_definition(self, n, dtype):
        random = np.random.default_rng(n)
        vectors = random.normal(size=(20, 6, 9))
        vectors[:, 4] = 0  # an image without evidence
        query = random.normal(size=9)
        positions = random.permutation(20)[:n].astype(np.int32)
        scales = None
        values = vectors.astype(dtype) if dtype != "int8" else np.rint(30 * vectors).clip(-127, 127).astype(np.int8)
        if dtype == "int8":
            scales = random.uniform(0.1, 2.0, size=(20, 6)).astype(np.float32)
        real = values.astype(np.float64) * (1.0 if scales is None else scales[..., None])
        found = online_scores(values, scales, positions, jnp.asarray(query, jnp.float32))
        np.testing.assert_allclose(found, oracle(real, positions, query), atol=1e-5)
        self.assertEqual(float(found[4]), 0.0)
        self.assertEqual(found.dtype, jnp.float32)

    def test_equal_images_score_equally(self):
        random = np.random.default_rng(0)
        values = np.repeat(random.integers(-127, 128, (5, 1, 33), dtype=np.int8), 37, axis=1)
        query = jnp.asarray(random.normal(size=33), jnp.float32)
        found = online_scores(values, np.ones((5, 37), np.float32), np.arange(5, dtype=np.int32), query)
        self.assertLen(np.unique(np.asarray(found)), 1)


class ShardedTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        mesh = Mesh(np.array(jax.devices()[:8]), ("images",))
        self.nearest = functools.partial(online_nearest_sharded, mesh=mesh, axis="images")

    @parameterized.parameters("int8", "float32")
    def test_as_one_device_ties_included(self, dtype):
        random = np.random.default_rng(0)
        values = random.integers(-9, 10, (7, 48, 5)).astype(dtype)
        scales = random.uniform(0.5, 2.0, (7, 48)).astype(np.float32) if dtype == "int8" else None
        values[:, 30:34] = values[:, 2:3]
        if scales is not None:
            scales[:, 30:34] = scales[:, 2:3]
        query = jnp.asarray(random.normal(size=5), jnp.float32)
        positions = np.array([6, 0, 3], np.int32)
        scores = np.asarray(online_scores(values, scales, positions, query))
        spread = [None if one is None else jnp.asarray(one) for one in (values, scales, positions)]
        found = self.nearest(*spread, query, 6)
        order = np.argsort(-scores, kind="stable")[:6]
        np.testing.assert_array_equal(found.rows[0], order)
        np.testing.assert_allclose(found.scores[0], scores[order], atol=1e-6)

    def test_uneven_stores_are_refused(self):
        for images, count in ((15, 1), (16, 3), (16, 0)):
            with self.assertRaisesRegex(ValueError, f"{images} images over 8 devices: each needs as many"):
                self.nearest(jnp.ones((2, images, 3)), None, jnp.zeros(1, jnp.int32), jnp.ones(3), count)


if __name__ == "__main__":
    absltest.main()
