import datetime
import pathlib
from unittest import mock

from absl.testing import absltest
from hypothesis import given, settings

from cwcf_jax.index import LanceStore, table
from tests.index import stores
from tests.index.stores import DIM, STRANGE_PATHS, entry, rows
from tests.support import servers


class LanceCase(stores.StoreCase):
    LOCATION_PATTERN = "it's a table"

    def start_empty(self):
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

        size_before = size()
        store.tidy()
        self.assertGreater(size(), 0.9 * size_before)  # other processes may still read earlier versions
        with mock.patch.object(table, "VERSION_LIFETIME", datetime.timedelta(milliseconds=1)):
            store.tidy()
        self.assertLess(size(), 0.3 * size_before)
        self.assertLen(store.entries(), 20)


class ObjectStoreTest(LanceCase):
    """Tests a table on an S3 server, which LanceDB finds by environment variables."""

    def setUp(self):
        super().setUp()
        self.enterContext(servers.s3_client())
        self.location = "s3://bucket/deep/table"

    def test_put_and_remove(self):
        store, reader = self.open(), self.open()
        expected = {path: (entry(path, row=i), i) for i, path in enumerate(STRANGE_PATHS)}
        store.put([new_entry for new_entry, _ in expected.values()], rows(*range(len(STRANGE_PATHS))))
        self.assert_holds(reader, expected)
        version = reader.version()
        store.remove(STRANGE_PATHS[:-1])
        self.assertNotEqual(reader.version(), version)
        store.tidy()
        self.assert_holds(self.open(), {STRANGE_PATHS[-1]: expected[STRANGE_PATHS[-1]]})


if __name__ == "__main__":
    absltest.main()
