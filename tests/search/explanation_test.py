import jax.numpy as jnp
import numpy as np
from absl.testing import absltest
from hypothesis import given, settings
from hypothesis import strategies as st

from cwcf_jax.search import class_pairs


class ClassPairsTest(absltest.TestCase):
    def test_by_hand(self):
        query = jnp.array([[3.0, 0.0], [0.0, 4.0]])  # the sum has norm 5
        image = jnp.array([[1.0, 0.0]])
        np.testing.assert_allclose(class_pairs(query, image), [[0.6], [0.0]], atol=1e-6)

    @settings(deadline=None, max_examples=30)
    @given(st.integers(0, 2**32 - 1), st.sampled_from((1, 6)), st.sampled_from((2, 9)))
    def test_terms_sum_to_the_score(self, seed, n, m):
        random = np.random.default_rng(seed)
        query, image = (random.normal(size=(count, 8)) for count in (n, m))
        sums = query.sum(axis=0), image.sum(axis=0)
        score = np.dot(*sums) / np.linalg.norm(sums[0]) / np.linalg.norm(sums[1])
        found = class_pairs(jnp.asarray(query, jnp.float32), jnp.asarray(image, jnp.float32))
        self.assertAlmostEqual(float(found.sum()), score, delta=1e-5)
        one = query[0] @ image[1] / np.linalg.norm(sums[0]) / np.linalg.norm(sums[1])
        self.assertAlmostEqual(float(found[0, 1]), one, delta=1e-5 * max(1.0, abs(one)))

    def test_no_evidence(self):
        self.assertEqual(float(jnp.abs(class_pairs(jnp.zeros((2, 3)), jnp.ones((2, 3)))).max()), 0.0)


if __name__ == "__main__":
    absltest.main()
