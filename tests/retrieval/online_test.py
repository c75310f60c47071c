import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from cwcf_jax import retrieval


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
        found = retrieval.online_scores(values, scales, positions, jnp.asarray(query, jnp.float32))
        np.testing.assert_allclose(found, oracle(real, positions, query), atol=1e-5)
        self.assertEqual(float(found[4]), 0.0)
        self.assertEqual(found.dtype, jnp.float32)

    def test_equal_images_score_equally(self):
        random = np.random.default_rng(0)
        values = np.repeat(random.integers(-127, 128, (5, 1, 33), dtype=np.int8), 37, axis=1)
        query = jnp.asarray(random.normal(size=33), jnp.float32)
        found = retrieval.online_scores(values, np.ones((5, 37), np.float32), np.arange(5, dtype=np.int32), query)
        self.assertLen(np.unique(np.asarray(found)), 1)


if __name__ == "__main__":
    absltest.main()
