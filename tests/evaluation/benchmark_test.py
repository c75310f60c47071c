"""These tests compare descriptors and whitenings from stored rows with float64 references on the same numbers."""

import pathlib

import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from cwcf_jax.descriptors import WhiteningConfig, fit_pca_whitening
from cwcf_jax.evaluation import benchmark
from cwcf_jax.evaluation.benchmark import DatasetRows
from cwcf_jax.store import PooledScales, PooledStore
from tests.support import oracles

ROWS, CLASSES, DIM = 150, 20, 12  # more rows than one chunk has


class BenchmarkTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.generator = np.random.default_rng(0)
        self.images = self._store("images", ROWS)
        self.queries = self._store("queries", 18)  # more than one block
        self.collection = DatasetRows("toy", self.images, self.queries)
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
        actual = benchmark.describe(self.images, self.whitening, (1, 4, 20))
        self.assertEqual(actual.shape, (3, ROWS, 5))
        for i in (0, 127, 128, 149):
            order = np.argsort(-self.images.logits[i], kind="stable")
            for m, count in enumerate((1, 4, 20)):
                np.testing.assert_allclose(actual[m, i], self._expected(self.images, i, order[:count]), atol=1e-5)

    def test_predefined(self):
        ids = np.array([7, 3, 11, 2])
        actual = benchmark.describe(self.images, self.whitening, (2, 3), ids)
        for i in (0, 149):
            np.testing.assert_allclose(actual[0, i], self._expected(self.images, i, [7, 3]), atol=1e-5)
            np.testing.assert_allclose(actual[1, i], self._expected(self.images, i, [7, 3, 11]), atol=1e-5)

    def test_online_is_each_querys_classes_over_the_database(self):
        classes = benchmark.top_classes(self.queries, 6)
        adapted = list(benchmark.describe_online(self.images, self.whitening, (1, 6), classes))
        self.assertLen(adapted, 18)
        for q in (0, 15, 16, 17):
            expected = benchmark.describe(self.images, self.whitening, (1, 6), classes[q])
            np.testing.assert_allclose(adapted[q], expected, atol=1e-6)
            np.testing.assert_allclose(adapted[q][1, 3], self._expected(self.images, 3, classes[q]), atol=1e-5)

    def test_scales_are_whitened_and_summed(self):
        """The first scale gives the classes."""
        other = self._store("other scale", ROWS)
        both = PooledScales([self.images, other])
        classes = benchmark.top_classes(self.queries, 6)
        offline = benchmark.describe(both, self.whitening, (1, 6))
        online = next(iter(benchmark.describe_online(both, self.whitening, (1, 6), classes)))
        mean = np.asarray(self.whitening.mean, np.float64)
        for i in (0, 149):
            own = np.argsort(-self.images.logits[i], kind="stable")
            for actual, ids in ((offline, own), (online, classes[0])):
                for m, count in enumerate((1, 6)):
                    vectors = [
                        store.class_sums[i][ids[:count]].astype(np.float64) * store.channel_weights[i]
                        for store in (self.images, other)
                    ]
                    expected = oracles.descriptor(np.concatenate(vectors), mean, self.projection)
                    np.testing.assert_allclose(actual[m, i], expected, atol=1e-5)

    def _dropping(self, rows):
        """Makes a store where some classes of each row are dropped; row 0 lacks its two most probable classes."""
        store = self._store("dropping", rows)
        order = benchmark.top_classes(store, CLASSES)
        dropped = self.generator.random((rows, CLASSES)) < 0.4
        dropped[:, 0], dropped[0, :2] = False, True
        for i in range(rows):
            sums = np.array(store.class_sums[i])
            sums[order[i, dropped[i]]] = 0.0
            row = {"sums": store.sums[i], "channel_weights": store.channel_weights[i], "logits": store.logits[i]}
            store.write(i, class_sums=sums, **row)
        return store

    def _repeated(self, store, i, ids):
        """Computes a descriptor as the released code does: a class without evidence repeats the vector before it.

        Classes before the first class with evidence have no vector.
        """
        vectors, last = [], None
        for c in ids:
            if store.class_sums[i, c].any():
                last = store.class_sums[i, c].astype(np.float64) * store.channel_weights[i]
            vectors += [] if last is None else [last]
        return oracles.descriptor(vectors, np.asarray(self.whitening.mean), self.projection)

    def test_repeated_vectors(self):
        store = self._dropping(6)
        actual = benchmark.describe(store, self.whitening, (4, 9), repeat=True)
        plain = benchmark.describe(store, self.whitening, (4, 9))
        self.assertGreater(float(jnp.abs(actual - plain).max()), 1e-2)
        for i in range(6):
            order = np.argsort(-store.logits[i], kind="stable")
            for m, count in enumerate((4, 9)):
                np.testing.assert_allclose(actual[m, i], self._repeated(store, i, order[:count]), atol=1e-5)

    def test_repeated_vectors_online(self):
        store, classes = self._dropping(6), benchmark.top_classes(self.queries, 6)
        adapted = list(benchmark.describe_online(store, self.whitening, (2, 6), classes, repeat=True))
        for q in (0, 16):
            for i in range(6):
                if store.class_sums[i, classes[q][0]].any():  # else the first prefix may have no vector
                    np.testing.assert_allclose(adapted[q][0, i], self._repeated(store, i, classes[q][:2]), atol=1e-5)
                np.testing.assert_allclose(adapted[q][1, i], self._repeated(store, i, classes[q]), atol=1e-5)

    def test_nothing_to_repeat_is_zero(self):
        store = self._dropping(1)
        first_two = benchmark.top_classes(store, 2)[0]
        actual = benchmark.describe(store, self.whitening, (1, 2), first_two, repeat=True)
        np.testing.assert_array_equal(actual, np.zeros((2, 1, 5)))

    @parameterized.parameters(True, False)
    def test_raw(self, weighted):
        actual = benchmark.describe_raw(self.images, None, channel_weighting=weighted)
        sums = self.images.sums[5] * (self.images.channel_weights[5] if weighted else 1.0)
        np.testing.assert_allclose(actual[5], oracles.l2(sums), atol=1e-6)

    def test_whitening_of_the_baselines_is_fitted_on_images_and_queries(self):
        actual = benchmark.fit_on_raw([self.collection], WhiteningConfig(dim=3), channel_weighting=True)
        vectors = [
            oracles.l2(store.sums[i] * store.channel_weights[i])
            for store in (self.images, self.queries)
            for i in range(store.length)
        ]
        mean, projection = oracles.whitening(vectors, 3)
        np.testing.assert_allclose(actual.mean, mean, atol=1e-6)
        scaled = np.asarray(actual.projection) / np.sqrt(np.asarray(actual.eigenvalues))
        np.testing.assert_allclose(np.abs(scaled), np.abs(projection), rtol=1e-3, atol=1e-3)
        self.assertEqual(actual.fitted_on, "toy")

    @parameterized.parameters((None,), ([4, 9, 1],))
    def test_whitening_of_class_vectors(self, ids):
        class_ids = None if ids is None else np.array(ids)
        actual = benchmark.fit_on_classes([self.collection], WhiteningConfig(), 2, class_ids)
        vectors = []
        for store in (self.images, self.queries):
            for i in range(store.length):
                own = np.argsort(-store.logits[i], kind="stable")[:2] if ids is None else ids[:2]
                vectors += [oracles.l2(store.class_sums[i, c] * store.channel_weights[i]) for c in own]
        np.testing.assert_allclose(actual.mean, np.mean(vectors, axis=0), atol=1e-6)
        eigenvalues = np.linalg.eigvalsh(np.cov(np.transpose(vectors)))[::-1]
        np.testing.assert_allclose(actual.eigenvalues[:11], eigenvalues[:11], rtol=1e-3)
        self.assertEqual(actual.fitted_on, "toy, N_pca 2")

    def test_rows_without_an_image_are_not_fitted_on(self):
        partial = DatasetRows("partial", self._store("partial", 10, skip=(2, 7)))
        actual = benchmark.fit_on_raw([partial], WhiteningConfig(), channel_weighting=False)
        vectors = [oracles.l2(partial.images.sums[i]) for i in range(10) if i not in (2, 7)]
        np.testing.assert_allclose(actual.mean, np.mean(vectors, axis=0), atol=1e-6)

    def test_frequent_classes_counts_queries_where_there_are_any(self):
        actual = benchmark.frequent_classes([self.collection], count=4, top=3)
        votes = np.zeros(CLASSES, int)
        for i in range(self.queries.length):
            votes[np.argsort(-self.queries.logits[i], kind="stable")[:3]] += 1
        self.assertEqual(actual.tolist(), sorted(range(CLASSES), key=lambda c: (-votes[c], c))[:4])
        images_only = benchmark.frequent_classes([DatasetRows("toy", self.images)], count=1, top=20)
        self.assertEqual(images_only.tolist(), [0])  # all classes have equal votes: the lowest index comes first

    def test_votes_and_voters(self):
        partial = DatasetRows("partial", self.images, self._store("queries 2", 10, skip=(2, 7)))
        votes, voters = benchmark.class_votes([self.collection, partial], top=3)
        expected = np.zeros(CLASSES, int)
        for store in (self.queries, partial.queries):
            for i in np.flatnonzero(store.done):
                expected[np.argsort(-store.logits[i], kind="stable")[:3]] += 1
        self.assertEqual(voters, 18 + 8)
        np.testing.assert_array_equal(votes, expected)
        self.assertEqual(votes.sum(), 3 * 26)

    def test_votes_of_images_where_there_are_no_queries(self):
        votes, voters = benchmark.class_votes([DatasetRows("toy", self.images), self.collection], top=1)
        self.assertEqual((voters, votes.sum()), (ROWS + 18, ROWS + 18))

    def test_every_class_has_a_vote_if_all_are_on_top(self):
        votes, voters = benchmark.class_votes([self.collection], top=CLASSES)
        self.assertEqual((votes.tolist(), voters), ([18] * CLASSES, 18))

    def test_most_voted(self):
        votes = np.array([3, 9, 0, 9, 3, 1])
        self.assertEqual(benchmark.most_voted(votes, 6).tolist(), [1, 3, 0, 4, 5, 2])
        self.assertEqual(benchmark.most_voted(votes, 3).tolist(), [1, 3, 0])

    def test_dropped_classes_are_counted(self):
        store = self._store("dropping", 5, skip=(4,))
        top = benchmark.top_classes(store, 3)
        for i, num_dropped in ((0, 1), (3, 2)):
            sums = np.array(store.class_sums[i])
            sums[top[i, :num_dropped]] = 0.0
            row = {"sums": store.sums[i], "channel_weights": store.channel_weights[i], "logits": store.logits[i]}
            store.write(i, class_sums=sums, **row)
        self.assertEqual(benchmark.count_dropped(store, 3), 3)
        self.assertEqual(benchmark.count_dropped(store, 1), 2)


if __name__ == "__main__":
    absltest.main()
