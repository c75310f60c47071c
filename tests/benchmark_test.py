"""Descriptors and whitenings from stored rows, against float64 on the same numbers."""

import pathlib

import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from cwcf_jax import benchmark, engine
from cwcf_jax.benchmark import Collection
from cwcf_jax.descriptors import WhiteningConfig, fit_pca_whitening
from cwcf_jax.store import PooledStore
from tests import oracles

ROWS, CLASSES, DIM = 150, 20, 12  # more rows than one chunk holds


class BenchmarkTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.generator = np.random.default_rng(0)
        self.images = self._store("images", ROWS)
        self.queries = self._store("queries", 18)  # more than one block
        self.collection = Collection("toy", self.images, self.queries)
        self.whitening = fit_pca_whitening(self.generator.normal(size=(40, DIM)), dim=5)
        self.projection = np.asarray(self.whitening.projection) / np.sqrt(np.asarray(self.whitening.eigenvalues))

    def _store(self, name, rows, *, skip=()):
        folder = pathlib.Path(self.create_tempdir().full_path) / name
        store = PooledStore(folder, {"name": name}, length=rows, classes=CLASSES, dim=DIM)
        self.addCleanup(store.close)
        for i in set(range(rows)) - set(skip):
            store.write(
                i,
                sums=self.generator.random(DIM),
                channel_weights=self.generator.random(DIM),
                class_sums=self.generator.random((CLASSES, DIM)),
                logits=self.generator.normal(size=CLASSES),
            )
        return store

    def _expected(self, store, i, ids):
        vectors = store.class_sums[i][ids].astype(np.float64) * store.channel_weights[i]
        return oracles.descriptor(vectors, np.asarray(self.whitening.mean), self.projection)

    def test_offline(self):
        found = benchmark.describe(self.images, self.whitening, (1, 4, 20))
        self.assertEqual(found.shape, (3, ROWS, 5))
        for i in (0, 127, 128, 149):
            order = np.argsort(-self.images.logits[i], kind="stable")
            for m, count in enumerate((1, 4, 20)):
                np.testing.assert_allclose(found[m, i], self._expected(self.images, i, order[:count]), atol=1e-5)

    def test_predefined(self):
        ids = np.array([7, 3, 11, 2])
        found = benchmark.describe(self.images, self.whitening, (2, 3), ids)
        for i in (0, 149):
            np.testing.assert_allclose(found[0, i], self._expected(self.images, i, [7, 3]), atol=1e-5)
            np.testing.assert_allclose(found[1, i], self._expected(self.images, i, [7, 3, 11]), atol=1e-5)

    def test_online_is_each_querys_classes_over_the_database(self):
        classes = benchmark.top_classes(self.queries, 6)
        adapted = list(benchmark.describe_online(self.images, self.whitening, (1, 6), classes))
        self.assertLen(adapted, 18)
        for q in (0, 15, 16, 17):
            expected = benchmark.describe(self.images, self.whitening, (1, 6), classes[q])
            np.testing.assert_allclose(adapted[q], expected, atol=1e-6)
            np.testing.assert_allclose(adapted[q][1, 3], self._expected(self.images, 3, classes[q]), atol=1e-5)

    @parameterized.parameters(True, False)
    def test_raw(self, weighted):
        found = benchmark.describe_raw(self.images, None, channel_weighting=weighted)
        sums = self.images.sums[5] * (self.images.channel_weights[5] if weighted else 1.0)
        np.testing.assert_allclose(found[5], oracles.l2(sums), atol=1e-6)

    def test_whitening_of_the_baselines_sees_images_and_queries(self):
        found = benchmark.fit_on_raw([self.collection], WhiteningConfig(dim=3), channel_weighting=True)
        vectors = [
            oracles.l2(store.sums[i] * store.channel_weights[i])
            for store in (self.images, self.queries)
            for i in range(store.length)
        ]
        mean, projection = oracles.whitening(vectors, 3)
        np.testing.assert_allclose(found.mean, mean, atol=1e-6)
        scaled = np.asarray(found.projection) / np.sqrt(np.asarray(found.eigenvalues))
        np.testing.assert_allclose(np.abs(scaled), np.abs(projection), rtol=1e-3, atol=1e-3)
        self.assertEqual(found.fitted_on, "toy")

    @parameterized.parameters((None,), ([4, 9, 1],))
    def test_whitening_of_class_vectors(self, ids):
        chosen = None if ids is None else np.array(ids)
        found = benchmark.fit_on_classes([self.collection], WhiteningConfig(), 2, chosen)
        vectors = []
        for store in (self.images, self.queries):
            for i in range(store.length):
                own = np.argsort(-store.logits[i], kind="stable")[:2] if ids is None else ids[:2]
                vectors += [oracles.l2(store.class_sums[i, c] * store.channel_weights[i]) for c in own]
        np.testing.assert_allclose(found.mean, np.mean(vectors, axis=0), atol=1e-6)
        eigenvalues = np.linalg.eigvalsh(np.cov(np.transpose(vectors)))[::-1]
        np.testing.assert_allclose(found.eigenvalues[:11], eigenvalues[:11], rtol=1e-3)
        self.assertEqual(found.fitted_on, "toy, N_pca 2")

    def test_rows_without_an_image_fit_nothing(self):
        partial = Collection("partial", self._store("partial", 10, skip=(2, 7)))
        found = benchmark.fit_on_raw([partial], WhiteningConfig(), channel_weighting=False)
        vectors = [oracles.l2(partial.images.sums[i]) for i in range(10) if i not in (2, 7)]
        np.testing.assert_allclose(found.mean, np.mean(vectors, axis=0), atol=1e-6)

    def test_frequent_classes_counts_queries_where_there_are_any(self):
        found = benchmark.frequent_classes([self.collection], count=4, top=3)
        votes = np.zeros(CLASSES, int)
        for i in range(self.queries.length):
            votes[np.argsort(-self.queries.logits[i], kind="stable")[:3]] += 1
        self.assertEqual(found.tolist(), sorted(range(CLASSES), key=lambda c: (-votes[c], c))[:4])
        images_only = benchmark.frequent_classes([Collection("toy", self.images)], count=1, top=20)
        self.assertEqual(images_only.tolist(), [0])  # every class has every vote: the lowest index

    def test_dropped_classes_are_counted(self):
        store = self._store("dropping", 5, skip=(4,))
        top = benchmark.top_classes(store, 3)
        for i, lost in ((0, 1), (3, 2)):
            sums = np.array(store.class_sums[i])
            sums[top[i, :lost]] = 0.0
            row = {"sums": store.sums[i], "channel_weights": store.channel_weights[i], "logits": store.logits[i]}
            store.write(i, class_sums=sums, **row)
        self.assertEqual(benchmark.count_dropped(store, 3), 3)
        self.assertEqual(benchmark.count_dropped(store, 1), 2)

    def test_rankings_are_those_of_one_search_each(self):
        databases = benchmark.describe(self.images, self.whitening, (1, 5))
        queries = benchmark.describe(self.queries, self.whitening, (1, 5))
        for expansion in (0, 3):
            found = benchmark.rankings(queries[:, 4], databases, expansion=expansion)
            for m in range(2):
                expected = engine.search(queries[m, 4], databases[m], expansion=expansion)
                np.testing.assert_array_equal(found[m], expected)
        self.assertEqual(found.dtype, jnp.int32)


if __name__ == "__main__":
    absltest.main()
