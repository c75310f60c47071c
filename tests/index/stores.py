"""What every `Store` must do, whatever database is under it."""

import numpy as np
from absl.testing import parameterized
from hypothesis import strategies as st

from cwcf_jax.index import Snapshot, TableEntry, TableStore

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
    return TableEntry(path, content, size=2**40, modified=2**62, seen=2**62 + 1, width=640, height=480, row=row)


def rows(*firsts):
    return np.array([[first, 0.1, -1e-30] for first in firsts], np.float32)


class StoreCase(parameterized.TestCase):
    """What needs a store: `open` gives one more handle on the same, `start_anew` an empty one."""

    NAMED = ""  # what errors call the place

    def setUp(self):
        super().setUp()
        self.start_anew()

    def open(self, dim=DIM):
        raise NotImplementedError

    def start_anew(self):
        raise NotImplementedError

    def assert_holds(self, store, expected):
        """``expected``: path -> (entry, the descriptor's first number)."""
        snapshot = store.snapshot()
        self.assertIsInstance(snapshot, Snapshot)
        self.assertEqual(snapshot.entries, tuple(expected[path][0] for path in sorted(expected)))
        self.assertEqual(store.entries(), snapshot.entries)
        wanted = rows(*(expected[path][1] for path in sorted(expected))).reshape(-1, DIM)
        np.testing.assert_array_equal(snapshot.descriptors, wanted, strict=True)
        some = range(1, 3)
        chosen = [path for path in sorted(expected) if expected[path][0].row in some]
        part = store.snapshot(some)
        self.assertEqual(part.entries, tuple(expected[path][0] for path in chosen))
        wanted = rows(*(expected[path][1] for path in chosen)).reshape(-1, DIM)
        np.testing.assert_array_equal(part.descriptors, wanted, strict=True)
        self.assertEqual(part.version, snapshot.version)


ANY_STEPS = st.lists(
    st.tuples(
        st.sampled_from(("put", "remove", "tidy", "reopen")),
        st.dictionaries(st.sampled_from(STRANGE), st.integers(0, 99), max_size=4),
    ),
    max_size=8,
)


class StoreContract:
    """What every store does: mixed into a `StoreCase`."""

    def test_it_is_a_store_and_begins_empty(self):
        store = self.open()
        self.assertIsInstance(store, TableStore)
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

    def check_sequence(self, steps):
        """For a test of its own in each class, under `ANY_STEPS`: hypothesis wants it so."""
        self.start_anew()
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

    def test_descriptors_of_another_shape(self):
        for wrong in (rows(1, 2), rows(1)[:, :2]):
            with self.assertRaisesRegex(ValueError, "1 pictures with descriptors of shape"):
                self.open().put([entry("a")], wrong)

    def test_another_number_of_dimensions(self):
        self.open()
        with self.assertRaisesRegex(ValueError, f"{self.NAMED} is no table of an index of 4 dimensions"):
            self.open(4)

    def test_drop(self):
        store = self.open()
        store.put([entry("a")], rows(1))
        store.drop()
        self.assertEmpty(self.open(4).entries())
