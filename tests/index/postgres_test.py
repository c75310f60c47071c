"""Against a real PostgreSQL server with pgvector, started for these tests."""

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
    NAMED = "in .*host=.*"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        packages.package("psycopg")
        cls.server = cls.enterClassContext(servers.postgres())

    def start_anew(self):
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

    def test_a_server_that_was_killed_is_found_again(self):
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

    def test_writers_at_once_lose_nothing(self):
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
    """Clustered vectors, as descriptors are."""

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

    def test_exact_is_our_ranking(self):
        found = [self.store.nearest(query, 100) for query in self.queries]
        expected = nearest(jnp.asarray(self.queries), self.vectors, 100)
        for one, rows_, scores in zip(found, np.asarray(expected.rows), np.asarray(expected.scores), strict=True):
            np.testing.assert_allclose([hit.score for hit in one], scores, atol=1e-6)
            self.assertEqual([hit.entry.row for hit in one], rows_.tolist())

    def test_equal_scores_come_in_the_order_of_their_paths(self):
        self.start_anew()
        store = self.open()
        store.put([entry(path) for path in ("b", "B", "a", "\u00e9", "c")], rows(1, 1, 1, 1, 2))
        found = store.nearest(np.array([1, 0, 0], np.float32), 4)
        self.assertEqual([hit.entry.path for hit in found], ["c", "B", "a", "b"])

    def test_by_index_most_are_found_and_more_the_more_it_looks_at(self):
        self.store.index()
        expected = [{hit.entry.path for hit in self.store.nearest(query, 10)} for query in self.queries]

        def recall(ef_search):
            found = [self.store.nearest(query, 10, ef_search=ef_search) for query in self.queries]
            for one in found:
                self.assertEqual([hit.score for hit in one], sorted((hit.score for hit in one), reverse=True))
            hits = ({hit.entry.path for hit in one} for one in found)
            return np.mean([len(a & b) / 10 for a, b in zip(hits, expected, strict=True)])

        self.assertGreater(recall(200), 0.95)
        self.assertGreaterEqual(recall(200), recall(10))

    def test_too_many_dimensions_for_the_index(self):
        self.start_anew()
        with self.assertRaisesRegex(ValueError, "at most 2000 dimensions, not 2001"):
            self.open(2001).index()


class IndexTest(indexes.IndexCase):
    """A whole index whose pictures and descriptors are in the database."""

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

    def test_as_with_the_database_inside(self):
        self.draw(0, 1, 2)
        inside = Index.create(self.root, indexes.CONFIG, folder=self.root.parent / f"{self.root.name}-inside")
        config = dataclasses.replace(indexes.CONFIG, table=self.server.address())
        outside = Index.create(self.root, config)
        for index in (inside, outside):
            self.assert_update(index.update(), added=3)
        self.assertFalse((outside.generation() / "table").exists())
        for found, expected in zip(Index(self.root).snapshot()[1:], inside.snapshot()[1:], strict=True):
            if isinstance(found, np.ndarray):
                np.testing.assert_array_equal(found, expected)
            else:
                self.assertEqual([one.path for one in found], [one.path for one in expected])
        picture = self.root / "1.png"
        self.assertEqual(outside.search(picture)[0].entry.path, "1.png")

        before = self.tables()
        outside.rebuild()
        outside.remove(["1.png"])
        self.draw(3)
        self.assert_update(outside.update(), added=1, unchanged=2)  # sweeps what the rebuild left
        after = self.tables()
        self.assertLen(after - before, 2)
        self.assertEmpty(before & after)
        self.assertEqual([entry.path for entry in outside.snapshot().entries], ["0.png", "2.png", "3.png"])


if __name__ == "__main__":
    absltest.main()
