import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from cwcf_jax.evaluation import MethodDescriptors
from cwcf_jax.images import BenchmarkQuery
from cwcf_jax.search.pipeline import SearchConfig
from experiments import small_collections

QUERIES = (
    BenchmarkQuery("few", 0, (0.0, 0.0, 1.0, 1.0), frozenset({0, 3}), frozenset({5})),
    BenchmarkQuery("many", 7, (0.0, 0.0, 1.0, 1.0), frozenset(range(7, 15)), frozenset()),
)
READABLE = np.delete(np.arange(30), 9)


class DrawTest(parameterized.TestCase):
    @parameterized.parameters((6, 1, (1, 1)), (6, 0, (1, 3)), (20, 0, (1, 6)), (20, 3, (1, 3)))
    def test_positives_and_strangers(self, images, positives, expected):
        drawn = small_collections.draw(np.random.default_rng(0), QUERIES, READABLE, images, positives)
        for (query, collection), benchmark_query, count in zip(drawn, QUERIES, expected, strict=True):
            self.assertLen(set(collection.tolist()), images)
            self.assertEqual(collection.tolist(), sorted(collection))
            self.assertLessEqual(
                set(collection.tolist()), set(READABLE.tolist()) - {benchmark_query.image} - benchmark_query.junk
            )
            self.assertEqual(set(collection.tolist()) & benchmark_query.positives, query.positives)
            self.assertLen(query.positives, count)

    def test_all_pictures_are_as_many_as_every_query_can_have(self):
        drawn = small_collections.draw(np.random.default_rng(0), QUERIES, READABLE, 0, 1)
        self.assertEqual([len(collection) for _, collection in drawn], [1 + 22, 1 + 22])

    def test_samples_differ(self):
        first, second = (
            small_collections.draw(np.random.default_rng(seed), QUERIES, READABLE, 6, 1)[1][1] for seed in (0, 1)
        )
        self.assertNotEqual(first.tolist(), second.tolist())


class RankTest(absltest.TestCase):
    def test_by_cosine_within_each_querys_own_collection(self):
        angles = np.linspace(0, 1.7, 30) ** 2  # at different distances
        database = jnp.asarray(np.stack([np.cos(angles), np.sin(angles)], -1)[None], jnp.float32)
        descriptors = MethodDescriptors("OfA", (8,), 32, database[:, jnp.array([0, 7])], [database] * 2)
        drawn = small_collections.draw(np.random.default_rng(3), QUERIES, READABLE, 6, 0)
        ranked = small_collections.rank_collections(descriptors, SearchConfig(), None, drawn)
        for query, collection in drawn:
            self.assertEqual(
                ranked[query.name], sorted(collection.tolist(), key=lambda i: abs(angles[i] - angles[query.image]))
            )


if __name__ == "__main__":
    absltest.main()
