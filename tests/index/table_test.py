import datetime
import pathlib
from unittest import mock

from absl.testing import absltest
from hypothesis import given, settings

from cwcf_jax.index import LanceStore, table
from tests.index import stores
from tests.index.stores import DIM, STRANGE, entry, rows
from tests.support import servers


class LanceCase(stores.StoreCase):
    NAMED = "it's a table"

    def start_anew(self):
        self.location = pathlib.Path(self.create_tempdir().full_path, "deep", "it's a table")

    def open(self, dim=DIM):
        return LanceStore(self.location, dim)


class LanceStoreTest(stores.StoreContract, LanceCase):
    @settings(max_examples=10, deadline=None)
    @given(stores.ANY_STEPS)
    def test_any_sequence_of_changes(self, steps):
        self.check_sequence(steps)

    def test_tidy_gives_space_back(self):
        store = self.open()
        for number in range(30):
            store.put([entry(f"{path}" * 200) for path in range(20)], rows(*[number] * 20))

        def size():
            return sum(file.stat().st_size for file in self.location.rglob("*") if file.is_file())

        before = size()
        store.tidy()
        self.assertGreater(size(), 0.9 * before)  # somebody may still read what was there a moment ago
        with mock.patch.object(table, "VERSION_LIFETIME", datetime.timedelta(milliseconds=1)):
            store.tidy()
        self.assertLess(size(), 0.3 * before)
        self.assertLen(store.entries(), 20)


class ObjectStoreTest(LanceCase):
    """The same on an S3 server, which LanceDB finds by the environment."""

    def setUp(self):
        super().setUp()
        self.enterContext(servers.s3_client())
        self.location = "s3://bucket/deep/table"

    def test_pictures_come_and_go(self):
        store, reader = self.open(), self.open()
        expected = {path: (entry(path, row=i), i) for i, path in enumerate(STRANGE)}
        store.put([one for one, _ in expected.values()], rows(*range(len(STRANGE))))
        self.assert_holds(reader, expected)
        version = reader.version()
        store.remove(STRANGE[:-1])
        self.assertNotEqual(reader.version(), version)
        store.tidy()
        self.assert_holds(self.open(), {STRANGE[-1]: expected[STRANGE[-1]]})


if __name__ == "__main__":
    absltest.main()
