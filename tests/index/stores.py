"""This module contains the tests that every `TableStore` must pass."""

import numpy as np
from absl.testing import parameterized
from hypothesis import strategies as st

from cwcf_jax.index import Snapshot, TableEntry, TableStore

DIM = 3
STRANGE_PATHS = (
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
    return TableEntry(path, content, size=2**40, modified=2**62, seen=2**62 + 1, width=640, height=480, row=row)


def rows(*firsts):
    return np.array([[first, 0.1, -1e-30] for first in firsts], np.float32)


class StoreCase(parameterized.TestCase):
    """A `StoreCase` needs a store: `open` opens the same store again, `start_empty` makes an empty store."""

    LOCATION_PATTERN = ""  # the location in error messages

    def setUp(self):
        super().setUp()
        self.start_empty()

    def open(self, dim=DIM):
        raise NotImplementedError

    def start_empty(self):
        raise NotImplementedError

    def assert_holds(self, store, expected):
        """Compares a store with ``expected``, a mapping from path to entry and first number of the descriptor."""
        snapshot = store.snapshot()
        self.assertIsInstance(snapshot, Snapshot)
        self.assertEqual(snapshot.entries, tuple(expected[path][0] for path in sorted(expected)))
        self.assertEqual(store.entries(), snapshot.entries)
        descriptors = rows(*(expected[path][1] for path in sorted(expected))).reshape(-1, DIM)
        np.testing.assert_array_equal(snapshot.descriptors, descriptors, strict=True)
        some_rows = range(1, 3)
        paths = [path for path in sorted(expected) if expected[path][0].row in some_rows]
        partial = store.snapshot(some_rows)
        self.assertEqual(partial.entries, tuple(expected[path][0] for path in paths))
        descriptors = rows(*(expected[path][1] for path in paths)).reshape(-1, DIM)
        np.testing.assert_array_equal(partial.descriptors, descriptors, strict=True)
        self.assertEqual(partial.version, snapshot.version)


ANY_STEPS = st.lists(
    st.tuples(
        st.sampled_from(("put", "remove", "tidy", "reopen")),
        st.dictionaries(st.sampled_from(STRANGE_PATHS), st.integers(0, 99), max_size=4),
    ),
    max_size=8,
)


class StoreContract:
    """A `StoreContract` contains the tests of all stores, for a subclass of `StoreCase`."""

    def test_an_empty_store(self):
        store = self.open()
        self.assertIsInstance(store, TableStore)
        self.assert_holds(store, {})
        store.remove(["nothing"])
        store.remove([])
        store.put([], np.zeros((0, DIM), np.float32))
        store.tidy()
        self.assert_holds(self.open(), {})

    def test_strange_paths(self):
        store, expected = self.open(), {path: (entry(path, row=i), i) for i, path in enumerate(STRANGE_PATHS)}
        store.put([new_entry for new_entry, _ in expected.values()], rows(*range(len(STRANGE_PATHS))))
        self.assert_holds(store, expected)
        for i, path in enumerate(STRANGE_PATHS):
            expected[path] = entry(path, content="new"), 100 + i
            store.put([expected[path][0]], rows(100 + i))
        self.assert_holds(self.open(), expected)
        for path in STRANGE_PATHS:
            store.remove([path])
            del expected[path]
            self.assert_holds(store, expected)

    def check_sequence(self, steps):
        """Runs a sequence of `ANY_STEPS`; hypothesis needs a test method in each subclass."""
        self.start_empty()
        store, reader, expected = self.open(), self.open(), {}
        for step, pictures in steps:
            version, expected_before = store.version(), dict(expected)
            if step == "put":
                changed = {path: (entry(path, row=number), number) for path, number in pictures.items()}
                store.put([new_entry for new_entry, _ in changed.values()], rows(*pictures.values()).reshape(-1, DIM))
                expected |= changed
            elif step == "remove":
                store.remove(list(pictures))
                expected = {path: value for path, value in expected.items() if path not in pictures}
            elif step == "tidy":
                store.tidy()
            else:
                store = self.open()
            if expected != expected_before:
                self.assertNotEqual(store.version(), version)
            self.assert_holds(reader, expected)
            self.assertEqual(reader.version(), store.version())
            self.assertEqual(reader.snapshot().version, store.version())

    def test_opening_and_reading_change_nothing(self):
        store = self.open()
        store.put([entry("a")], rows(1))
        version = store.version()
        for read in (self.open().snapshot, store.entries, self.open):
            read()
        self.assertEqual(store.version(), version)

    def test_descriptors_of_another_shape(self):
        for descriptors in (rows(1, 2), rows(1)[:, :2]):
            with self.assertRaisesRegex(ValueError, "1 pictures with descriptors of shape"):
                self.open().put([entry("a")], descriptors)

    def test_another_number_of_dimensions(self):
        self.open()
        with self.assertRaisesRegex(ValueError, f"{self.LOCATION_PATTERN} is no table of an index of 4 dimensions"):
            self.open(4)

    def test_drop(self):
        store = self.open()
        store.put([entry("a")], rows(1))
        store.drop()
        self.assertEmpty(self.open(4).entries())
