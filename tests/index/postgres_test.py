"""These tests start a PostgreSQL server with pgvector."""

import dataclasses
import threading
import uuid

import jax.numpy as jnp
import numpy as np
from absl.testing import absltest
from hypothesis import given, settings

from cwcf_jax.index import Index
from cwcf_jax.search import nearest
from tests.index import stores
from tests.index.stores import DIM, entry, rows
from tests.support import indexes, packages, servers


class PostgresCase(stores.StoreCase):
    LOCATION_PATTERN = "in .*host=.*"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        packages.package("psycopg")
        cls.server = cls.enterClassContext(servers.postgres())

    def start_empty(self):
        self.name = f'it\'s a "table" {uuid.uuid4().hex[:8]}'

    def open(self, dim=DIM):
        from cwcf_jax.index.postgres import PostgresStore

        store = PostgresStore(self.server.address(), dim, name=self.name)
        self.addCleanup(store.close)
        return store


class PostgresStoreTest(stores.StoreContract, PostgresCase):
    @settings(max_examples=10, deadline=None)
    @given(stores.ANY_STEPS)
    def test_any_sequence_of_changes(self, steps):
        self.check_sequence(steps)

    def test_a_killed_server_that_restarts(self):
        store = self.open()
        store.put([entry("a"), entry("b")], rows(1, 2))
        version = store.version()
        self.server.kill()
        with self.assertRaisesRegex(ConnectionError, "host="):
            store.version()
        self.server.start()
        self.assertEqual(store.version(), version)
        store.put([entry("b", content="new")], rows(3))
        self.server.kill()
        self.server.start()
        store.remove(["a"])
        self.assert_holds(store, {"b": (entry("b", content="new"), 3)})

    def test_no_server(self):
        from cwcf_jax.index.postgres import PostgresStore

        with self.assertRaisesRegex(ConnectionError, "user=somebody") as raised:
            PostgresStore("postgresql://somebody:secret@127.0.0.1:1/pictures", DIM)
        self.assertNotIn("secret", str(raised.exception))

    def test_concurrent_writers(self):
        errors = []

        def write(number):
            try:
                store = self.open()
                for i in range(10):
                    store.put([entry(f"{number}/{i}", row=i)], rows(number))
            except Exception as error:
                errors.append(error)

        threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEmpty(errors)
        store = self.open()
        self.assertLen(store.entries(), 40)
        self.assertEqual(store.version(), 41)


class NearestTest(PostgresCase):
    """Tests the search with clustered vectors, which are similar to descriptors."""

    def setUp(self):
        super().setUp()
        random = np.random.default_rng(0)
        centres = random.normal(size=(50, 64))
        vectors = centres[random.integers(50, size=3000)] + 0.5 * random.normal(size=(3000, 64))
        self.vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
        self.queries = self.vectors[:20]
        self.store = self.open(64)
        self.paths = [f"{i:04d}.jpg" for i in range(3000)]
        self.store.put([entry(path, row=i) for i, path in enumerate(self.paths)], self.vectors)

    def test_exact_search_equals_the_library(self):
        actual = [self.store.nearest(query, 100) for query in self.queries]
        expected = nearest(jnp.asarray(self.queries), self.vectors, 100)
        for hits, expected_rows, scores in zip(
            actual, np.asarray(expected.rows), np.asarray(expected.scores), strict=True
        ):
            np.testing.assert_allclose([hit.score for hit in hits], scores, atol=1e-6)
            self.assertEqual([hit.entry.row for hit in hits], expected_rows.tolist())

    def test_equal_scores_come_in_the_order_of_their_paths(self):
        self.start_empty()
        store = self.open()
        store.put([entry(path) for path in ("b", "B", "a", "\u00e9", "c")], rows(1, 1, 1, 1, 2))
        actual = store.nearest(np.array([1, 0, 0], np.float32), 4)
        self.assertEqual([hit.entry.path for hit in actual], ["c", "B", "a", "b"])

    def test_recall_of_the_hnsw_index(self):
        self.store.index()
        expected = [{hit.entry.path for hit in self.store.nearest(query, 10)} for query in self.queries]

        def recall(ef_search):
            actual = [self.store.nearest(query, 10, ef_search=ef_search) for query in self.queries]
            for hits in actual:
                self.assertEqual([hit.score for hit in hits], sorted((hit.score for hit in hits), reverse=True))
            paths = ({hit.entry.path for hit in hits} for hits in actual)
            return np.mean([len(a & b) / 10 for a, b in zip(paths, expected, strict=True)])

        self.assertGreater(recall(200), 0.95)
        self.assertGreaterEqual(recall(200), recall(10))

    def test_too_many_dimensions_for_the_index(self):
        self.start_empty()
        with self.assertRaisesRegex(ValueError, "at most 2000 dimensions, not 2001"):
            self.open(2001).index()


class IndexTest(indexes.IndexCase):
    """Tests an index with its table in the database."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        packages.package("psycopg")
        cls.server = cls.enterClassContext(servers.postgres())

    def tables(self):
        with packages.package("psycopg").connect(self.server.address()) as connection:
            return {
                name for (name,) in connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
            }

    def test_same_as_a_local_index(self):
        self.draw(0, 1, 2)
        local = Index.create(self.root, indexes.CONFIG, folder=self.root.parent / f"{self.root.name}-local")
        config = dataclasses.replace(indexes.CONFIG, table=self.server.address())
        index = Index.create(self.root, config)
        for created in (local, index):
            self.assert_update(created.update(), added=3)
        self.assertFalse((index.generation() / "table").exists())
        for actual, expected in zip(Index(self.root).snapshot()[1:], local.snapshot()[1:], strict=True):
            if isinstance(actual, np.ndarray):
                np.testing.assert_array_equal(actual, expected)
            else:
                self.assertEqual([entry.path for entry in actual], [entry.path for entry in expected])
        picture = self.root / "1.png"
        self.assertEqual(index.search(picture)[0].entry.path, "1.png")

        tables_before = self.tables()
        index.rebuild()
        index.remove(["1.png"])
        self.draw(3)
        self.assert_update(index.update(), added=1, unchanged=2)  # removes the tables of the earlier generation
        tables_after = self.tables()
        self.assertLen(tables_after - tables_before, 2)
        self.assertEmpty(tables_before & tables_after)
        self.assertEqual([entry.path for entry in index.snapshot().entries], ["0.png", "2.png", "3.png"])


if __name__ == "__main__":
    absltest.main()
