import contextlib
import datetime
import os
import pathlib
from unittest import mock

import numpy as np
from absl.testing import absltest, parameterized
from hypothesis import given, settings
from hypothesis import strategies as st

from cwcf_jax.collection import Entry, LanceStore, Snapshot, Store, table
from tests import servers

DIM = 3
STRANGE = (
    "it's.png",
    'say "cheese".jpg',
    "' OR '1'='1",
    "a'); DROP TABLE pictures; --",
    "日本/ä\u0308.png",
    "line\nbreak\ttab.png",
    "back\\slash\\'.png",
    "100%_.png",
    "\u202egnp.png",
    "\x01",
    " ",
    "x/" * 1500 + "deep.png",
)


def entry(path, *, content="abc", row=0):
    return Entry(path, content, size=2**40, modified=2**62, seen=2**62 + 1, width=640, height=480, row=row)


def rows(*firsts):
    return np.array([[first, 0.1, -1e-30] for first in firsts], np.float32)


class StoreCase(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.location = pathlib.Path(self.create_tempdir().full_path, "deep", "it's a table")

    def open(self, dim=DIM):
        return LanceStore(self.location, dim)

    def assert_holds(self, store, expected):
        """``expected``: path -> (entry, the descriptor's first number)."""
        snapshot = store.snapshot()
        self.assertIsInstance(snapshot, Snapshot)
        self.assertEqual(snapshot.entries, tuple(expected[path][0] for path in sorted(expected)))
        self.assertEqual(store.entries(), snapshot.entries)
        wanted = rows(*(expected[path][1] for path in sorted(expected))).reshape(-1, DIM)
        np.testing.assert_array_equal(snapshot.descriptors, wanted, strict=True)


class LanceStoreTest(StoreCase):
    def test_it_is_a_store_and_begins_empty(self):
        store = self.open()
        self.assertIsInstance(store, Store)
        self.assert_holds(store, {})
        store.remove(["nothing"])
        store.remove([])
        store.put([], np.zeros((0, DIM), np.float32))
        store.tidy()
        self.assert_holds(self.open(), {})

    def test_strange_paths(self):
        store, expected = self.open(), {path: (entry(path, row=i), i) for i, path in enumerate(STRANGE)}
        store.put([one for one, _ in expected.values()], rows(*range(len(STRANGE))))
        self.assert_holds(store, expected)
        for i, path in enumerate(STRANGE):
            expected[path] = entry(path, content="new"), 100 + i
            store.put([expected[path][0]], rows(100 + i))
        self.assert_holds(self.open(), expected)
        for path in STRANGE:
            store.remove([path])
            del expected[path]
            self.assert_holds(store, expected)

    @settings(max_examples=10, deadline=None)
    @given(
        st.lists(
            st.tuples(
                st.sampled_from(("put", "remove", "tidy", "reopen")),
                st.dictionaries(st.sampled_from(STRANGE), st.integers(0, 99), max_size=4),
            ),
            max_size=8,
        )
    )
    def test_any_sequence_of_changes(self, steps):
        self.location = pathlib.Path(self.create_tempdir().full_path)
        store, reader, expected = self.open(), self.open(), {}
        for what, pictures in steps:
            before, held = store.version(), dict(expected)
            if what == "put":
                changed = {path: (entry(path, row=number), number) for path, number in pictures.items()}
                store.put([one for one, _ in changed.values()], rows(*pictures.values()).reshape(-1, DIM))
                expected |= changed
            elif what == "remove":
                store.remove(list(pictures))
                expected = {path: one for path, one in expected.items() if path not in pictures}
            elif what == "tidy":
                store.tidy()
            else:
                store = self.open()
            if expected != held:
                self.assertNotEqual(store.version(), before)
            self.assert_holds(reader, expected)
            self.assertEqual(reader.version(), store.version())
            self.assertEqual(reader.snapshot().version, store.version())

    def test_opening_and_reading_change_nothing(self):
        store = self.open()
        store.put([entry("a")], rows(1))
        before = store.version()
        for read in (self.open().snapshot, store.entries, self.open):
            read()
        self.assertEqual(store.version(), before)

    def test_another_number_of_dimensions(self):
        self.open()
        with self.assertRaisesRegex(ValueError, "it's a table is no table of an index of 4 dimensions"):
            self.open(4)

    def test_descriptors_of_another_shape(self):
        for wrong in (rows(1, 2), rows(1)[:, :2]):
            with self.assertRaisesRegex(ValueError, "1 pictures with descriptors of shape"):
                self.open().put([entry("a")], wrong)

    def test_tidy_gives_space_back(self):
        store = self.open()
        for number in range(30):
            store.put([entry(f"{path}" * 200) for path in range(20)], rows(*[number] * 20))

        def size():
            return sum(file.stat().st_size for file in self.location.rglob("*") if file.is_file())

        before = size()
        store.tidy()
        self.assertGreater(size(), 0.9 * before)  # somebody may still read what was there a moment ago
        with mock.patch.object(table, "KEPT", datetime.timedelta(milliseconds=1)):
            store.tidy()
        self.assertLess(size(), 0.3 * before)
        self.assertLen(store.entries(), 20)


class ObjectStoreTest(StoreCase):
    """The same on an S3 server, which LanceDB finds by the environment."""

    def setUp(self):
        super().setUp()
        stack = contextlib.ExitStack()
        self.addCleanup(stack.close)
        bucket = stack.enter_context(servers.s3_bucket())
        address = {"AWS_ENDPOINT_URL": bucket["endpoint"], "AWS_REGION": bucket["aws_region"], "AWS_ALLOW_HTTP": "true"}
        stack.enter_context(mock.patch.dict(os.environ, address))
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
