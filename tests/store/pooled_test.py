import contextlib
import errno
import gc
import json
import os
import pathlib
import signal
import subprocess
import sys
import time
from subprocess import PIPE
from unittest import mock

import numpy as np
from absl.testing import absltest, parameterized

from cwcf_jax.store import PooledStore, StaleStoreError, StoreBusyError
from cwcf_jax.store import rows as rows_module
from tests import shared

LENGTH, CLASSES, DIM = 5, 7, 3
FINGERPRINT = {"weights": "abc123", "preprocessing": {"mean": [1.5, 2.0], "resize": "min720"}, "regions": None}
FIELDS = ("sums", "channel_weights", "class_sums", "logits")

WRITER = """
import sys
import numpy as np
from cwcf_jax.store import PooledStore

folder, length, classes, dim = sys.argv[1], *map(int, sys.argv[2:])
shapes = {"sums": (dim,), "channel_weights": (dim,), "class_sums": (classes, dim), "logits": (classes,)}
base = {name: np.arange(np.prod(shape), dtype=np.float32).reshape(shape) for name, shape in shapes.items()}
with PooledStore(folder, {"weights": "abc"}, length=length, classes=classes, dim=dim) as store:
    print("open", flush=True)
    for index in store.missing():
        if index == length - 50:
            sys.stdin.read()  # until it is closed, so that a kill never comes too late
        store.write(int(index), **{name: value + np.float32(index) for name, value in base.items()})
print("finished", flush=True)
"""


def make_row(seed):
    random = np.random.default_rng(seed)
    shapes = {"sums": (DIM,), "channel_weights": (DIM,), "class_sums": (CLASSES, DIM), "logits": (CLASSES,)}
    return {name: random.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def descriptors():
    gc.collect()  # memory maps hold their files until they are collected
    return len(list(pathlib.Path("/proc/self/fd").iterdir()))


class StoreCase(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.root = pathlib.Path(self.create_tempdir().full_path)
        self.folder = self.root / "deep" / "store"

    def open(self, fingerprint=None, *, length=LENGTH, classes=CLASSES, dim=DIM):
        fingerprint = FINGERPRINT if fingerprint is None else fingerprint
        return PooledStore(self.folder, fingerprint, length=length, classes=classes, dim=dim)

    def fill(self, *indices):
        with self.open() as store:
            for index in indices:
                store.write(index, **make_row(index))

    def assert_row(self, store, index):
        for name, expected in make_row(index).items():
            np.testing.assert_array_equal(getattr(store, name)[index], expected)


class RowsTest(StoreCase):
    def test_a_new_store_is_empty(self):
        with self.open() as store:
            self.assertEqual(store.length, LENGTH)
            self.assertEqual(store.done.dtype, bool)
            np.testing.assert_array_equal(store.done, [False] * LENGTH)
            np.testing.assert_array_equal(store.missing(), range(LENGTH))
            self.assertEqual(store.class_sums.shape, (LENGTH, CLASSES, DIM))
            self.assertEqual(store.logits.shape, (LENGTH, CLASSES))
            self.assertEqual(store.sums.shape, (LENGTH, DIM))
            self.assertEqual(store.channel_weights.shape, (LENGTH, DIM))

    def test_rows_are_read_back_at_once_and_after_reopening(self):
        with self.open() as store:
            for index in (4, 0, 2):
                store.write(index, **make_row(index))
                self.assert_row(store, index)
            np.testing.assert_array_equal(store.done, [True, False, True, False, True])
        with self.open() as store:
            np.testing.assert_array_equal(store.missing(), [1, 3])
            for index in (0, 2, 4):
                self.assert_row(store, index)
            for index in (1, 3):
                store.write(index, **make_row(index))
            self.assertEmpty(store.missing())
            for index in range(LENGTH):
                self.assert_row(store, index)

    def test_a_row_can_be_written_again(self):
        with self.open() as store:
            store.write(1, **make_row(9))
            store.write(1, **make_row(1))
            self.assert_row(store, 1)
            np.testing.assert_array_equal(store.missing(), [0, 2, 3, 4])

    def test_the_files_are_flat_float32(self):
        self.fill(*range(LENGTH))
        for name in FIELDS:
            expected = np.stack([make_row(index)[name] for index in range(LENGTH)])
            self.assertEqual((self.folder / f"{name}.f32").read_bytes(), expected.astype("<f4").tobytes())
        self.assertEqual((self.folder / "done").read_bytes(), b"\1" * LENGTH)

    def test_other_layouts_and_types_are_converted(self):
        row = {name: np.asfortranarray(value.astype(np.float64)) for name, value in make_row(3).items()}
        row["sums"] = np.repeat(make_row(3)["sums"], 2)[::2].astype(">f4")
        with self.open() as store:
            store.write(3, **row)
            self.assert_row(store, 3)

    def test_arrays_cannot_be_written_to(self):
        with self.open() as store:
            for name in FIELDS:
                with self.assertRaises(ValueError):
                    getattr(store, name)[0] = 1.0

    @parameterized.parameters(*FIELDS)
    def test_wrong_shape(self, name):
        row = make_row(0)
        shape = row[name].shape
        for wrong in (row[name][:-1], row[name][None], np.repeat(row[name], 2, axis=0)):
            with self.open() as store:
                with self.assertRaises(ValueError) as caught:
                    store.write(0, **(row | {name: wrong}))
                self.assertEqual(str(caught.exception), f"{name} must have shape {shape}, not {wrong.shape}")
                self.assertFalse(store.done.any())

    def test_a_refused_row_leaves_the_old_one(self):
        with self.open() as store:
            store.write(1, **make_row(1))
            with self.assertRaisesRegex(ValueError, "logits must have shape"):
                store.write(1, **(make_row(2) | {"logits": np.zeros(CLASSES + 1, np.float32)}))
            self.assert_row(store, 1)

    @parameterized.parameters(LENGTH, LENGTH + 100, -1)
    def test_no_such_row(self, index):
        with self.open() as store:
            with self.assertRaises(IndexError):
                store.write(index, **make_row(0))
            self.assertFalse(store.done.any())
        self.assertEqual((self.folder / "sums.f32").stat().st_size, 4 * LENGTH * DIM)

    def test_short_writes_are_continued(self):
        pwrite = os.pwrite
        with (
            self.open() as store,
            mock.patch.object(rows_module.os, "pwrite", lambda file, data, at: pwrite(file, data[:5], at)),
        ):
            store.write(2, **make_row(2))
            self.assert_row(store, 2)
            np.testing.assert_array_equal(np.flatnonzero(store.done), [2])

    @parameterized.parameters(range(5))
    def test_a_row_that_failed_halfway_is_not_done(self, good_writes):
        pwrite, left = os.pwrite, [good_writes]

        def failing(file, data, at):
            if not left[0]:
                raise OSError(errno.ENOSPC, "disk full")
            left[0] -= 1
            return pwrite(file, data, at)

        with self.open() as store:
            with mock.patch.object(rows_module.os, "pwrite", failing), self.assertRaisesRegex(OSError, "disk full"):
                store.write(2, **make_row(2))
            self.assertFalse(store.done.any())
            store.write(2, **make_row(2))
            self.assert_row(store, 2)


class ClassVectorsTest(StoreCase):
    def setUp(self):
        super().setUp()
        self.fill(*range(LENGTH))
        self.store = self.enterContext(self.open())

    def expected(self, rows, ids):
        """Eq. 4, one at a time: the class sum times the channel weights, by channel."""
        return np.array(
            [
                [make_row(row)["class_sums"][c] * make_row(row)["channel_weights"] for c in own]
                for row, own in zip(rows, ids, strict=True)
            ]
        )

    @parameterized.parameters(
        (slice(1, 4), [1, 2, 3]),
        (slice(None), [0, 1, 2, 3, 4]),
        (np.array([4, 0]), [4, 0]),
        (np.array([3, 3, 1, 3, 1, 0, 2]), [3, 3, 1, 3, 1, 0, 2]),
        (np.array([True, False, True, False, True]), [0, 2, 4]),
        (slice(4, 5), [4]),
    )
    def test_shared_classes(self, rows, indices):
        for ids in ([6], [5, 0, 5], [2, 6, 0, 1]):
            found = self.store.class_vectors(rows, np.array(ids))
            self.assertEqual((found.shape, found.dtype), ((len(indices), len(ids), DIM), np.float32))
            np.testing.assert_array_equal(found, self.expected(indices, [ids] * len(indices)))

    @parameterized.parameters(
        (slice(1, 4), [1, 2, 3]),
        (np.array([4, 0, 4]), [4, 0, 4]),
        (np.array([True, False, True, False, True]), [0, 2, 4]),
    )
    def test_each_rows_own_classes(self, rows, indices):
        for ids in ([[6], [0], [3]], [[0, 1, 2], [6, 5, 4], [3, 3, 3]], [[5, 0], [2, 1], [0, 6]]):
            found = self.store.class_vectors(rows, np.array(ids))
            np.testing.assert_array_equal(found, self.expected(indices, ids))

    def test_the_store_keeps_its_values(self):
        self.store.class_vectors(slice(None), np.arange(CLASSES))
        for index in range(LENGTH):
            self.assert_row(self.store, index)


class OpeningTest(StoreCase):
    def assert_stale(self, *parts, **changes):
        before = contents(self.folder)
        with self.assertRaises(StaleStoreError) as caught:
            self.open(**changes)
        message = str(caught.exception)
        for part in (str(self.folder), *parts):
            self.assertIn(part, message)
        self.assertEqual(contents(self.folder), before)
        return message

    @parameterized.parameters(
        ({"weights": "def456"}, 'weights: "abc123" there, "def456" now'),
        ({"regions": "r1"}, 'regions: null there, "r1" now'),
        (
            {"preprocessing": {"mean": [1.5, 2.0], "resize": "max9"}},
            '"resize": "min720"} there',
            '"resize": "max9"} now',
        ),
        ({"extra": 3}, "extra: null there, 3 now"),
    )
    def test_another_fingerprint(self, change, *parts):
        self.fill(0, 3)
        message = self.assert_stale(*parts, fingerprint=FINGERPRINT | change)
        self.assertEqual(message.count(" there, "), 1)

    def test_a_missing_key(self):
        self.fill(0)
        self.assert_stale('weights: "abc123" there, null now', fingerprint={**FINGERPRINT, "weights": None})
        self.assert_stale('weights: "abc123" there, null now', fingerprint={"regions": None, "preprocessing": {}})

    @parameterized.parameters(9, 4)
    def test_another_length(self, now):
        self.fill(0, 3)
        self.assert_stale(f"length: {LENGTH} there, {now} now", length=now)

    @parameterized.parameters(("classes", 8), ("dim", 4), ("dim", 2))
    def test_another_shape(self, name, now):
        self.fill(0, 3)
        self.assert_stale(f'fields: {{"sums": [{DIM}]', **{name: now})

    def test_every_difference_is_named(self):
        self.fill(0)
        self.assert_stale(
            "length: 5", "fields:", "weights:", dim=4, length=9, fingerprint=FINGERPRINT | {"weights": "x"}
        )

    def test_long_values_are_cut(self):
        self.fill(0)
        message = self.assert_stale(
            'weights: "abc123" there, "xxx', fingerprint=FINGERPRINT | {"weights": "x" * 10_000}
        )
        self.assertLess(len(message), 600)

    def test_another_format(self):
        self.fill(0)
        with mock.patch.object(rows_module, "FORMAT", 99):
            self.assert_stale("format: 2 there, 99 now")

    def test_equal_after_json(self):
        self.fill(0)
        mean = (1.5, 2.0)  # comes back as a list
        with self.open(
            {"regions": None, "preprocessing": {"resize": "min720", "mean": mean}, "weights": "abc123"}
        ) as store:
            self.assert_row(store, 0)

    @parameterized.parameters("{", "", "[]", "3", "null", '"text"', b"\xff\xfe")
    def test_unreadable_fingerprint(self, text):
        self.fill(0)
        (self.folder / "fingerprint.json").write_bytes(text if isinstance(text, bytes) else text.encode())
        self.assert_stale("fingerprint.json cannot be read", "remove")

    @parameterized.parameters(*FIELDS)
    def test_a_damaged_file_is_refused(self, name):
        """Made shorter behind our back; filled up with zeros its rows would still count as done."""
        self.fill(0, 4)
        os.truncate(self.folder / f"{name}.f32", 8)
        self.assert_stale(f"{name}.f32")

    @parameterized.parameters(*FIELDS)
    def test_a_missing_file_is_refused(self, name):
        self.fill(0, 4)
        (self.folder / f"{name}.f32").unlink()
        self.assert_stale(f"{name}.f32")

    def test_a_foreign_folder(self):
        self.folder.mkdir(parents=True)
        (self.folder / "thesis.tex").write_text("years of work")
        (self.folder / "sub").mkdir()
        self.assert_stale("is not empty and not a store")

    def test_an_empty_folder(self):
        self.folder.mkdir(parents=True)
        with self.open() as store:
            self.assertEqual(store.length, LENGTH)

    @parameterized.parameters(range(8))
    def test_killed_while_it_was_made(self, steps):
        """Whatever a kill leaves behind of a store without rows, the next run takes it over."""
        left = [steps]
        real = {"ftruncate": os.ftruncate, "write_text": pathlib.Path.write_text, "replace": pathlib.Path.replace}

        def dying(name):
            def step(*args):
                if not left[0]:
                    raise KeyboardInterrupt
                left[0] -= 1
                return real[name](*args)

            return step

        with (
            mock.patch.object(rows_module.os, "ftruncate", dying("ftruncate")),
            mock.patch.object(pathlib.Path, "write_text", dying("write_text")),
            mock.patch.object(pathlib.Path, "replace", dying("replace")),
            contextlib.suppress(KeyboardInterrupt),
        ):
            self.open().close()
        with self.open() as store:
            np.testing.assert_array_equal(store.missing(), range(LENGTH))
            store.write(1, **make_row(1))
        with self.open() as store:
            self.assert_row(store, 1)

    def test_the_fingerprint_is_readable(self):
        self.fill(0)
        stored = json.loads((self.folder / "fingerprint.json").read_text())
        fields = {"sums": [DIM], "channel_weights": [DIM], "class_sums": [CLASSES, DIM], "logits": [CLASSES]}
        self.assertEqual(stored, FINGERPRINT | {"format": rows_module.FORMAT, "length": LENGTH, "fields": fields})

    def test_two_stores_side_by_side(self):
        with self.open() as one, PooledStore(self.root / "two", FINGERPRINT, length=2, classes=1, dim=1) as two:
            self.assertEqual((one.length, two.length), (LENGTH, 2))


class LockTest(StoreCase):
    def test_two_openers(self):
        with self.open() as first:
            with self.assertRaisesRegex(StoreBusyError, f"{self.folder} is in use by another process"):
                self.open()
            with self.assertRaises(StoreBusyError):  # before anything is compared
                self.open({"weights": "other"})
            first.write(0, **make_row(0))
        with self.open() as second:
            self.assert_row(second, 0)

    def test_free_after_an_exception(self):
        with self.assertRaises(ZeroDivisionError), self.open():
            raise ZeroDivisionError
        self.open().close()

    def test_free_after_a_failed_opening(self):
        self.fill(2)
        with self.assertRaises(StaleStoreError) as caught:
            self.open({"weights": "other"})
        with self.open() as store:
            self.assert_row(store, 2)
        del caught

    def test_closing_leaves_no_files_open(self):
        before = descriptors()
        store = self.open()
        self.assertGreater(descriptors(), before)
        store.close()
        del store
        self.assertEqual(descriptors(), before)

    def test_closing_twice_does_no_harm(self):
        store = self.open()
        store.close()
        other = [os.open(os.devnull, os.O_RDONLY) for _ in range(9)]  # which take over the numbers of the store's files
        store.close()
        for file in other:
            os.close(file)

    def test_failed_openings_leave_no_files_open(self):
        self.fill(2)
        before = descriptors()
        with self.assertRaises(StaleStoreError):
            self.open({"weights": "other"})
        self.assertEqual(descriptors(), before)
        with (
            mock.patch.object(np, "memmap", side_effect=OSError("no memory")),
            self.assertRaisesRegex(OSError, "no mem"),
        ):
            self.open()
        self.assertEqual(descriptors(), before)
        with self.open(), self.assertRaises(StoreBusyError):
            self.open()
        self.assertEqual(descriptors(), before)


class KillTest(StoreCase):
    """A process that writes is killed, twice; what it marked as done is right and the rest is filled in."""

    LENGTH, CLASSES, DIM = 600, 200, 256  # 206 kB a row

    def start(self):
        numbers = [str(number) for number in (self.LENGTH, self.CLASSES, self.DIM)]
        command = [sys.executable, "-c", WRITER, str(self.folder), *numbers]
        process = subprocess.Popen(command, cwd=shared.ROOT, stdin=PIPE, stdout=PIPE, text=True)
        for cleanup in (process.stdout.close, process.stdin.close, process.wait, process.kill):  # from the last on
            self.addCleanup(cleanup)
        self.assertEqual(process.stdout.readline(), "open\n")
        return process

    def open_here(self):
        return PooledStore(self.folder, {"weights": "abc"}, length=self.LENGTH, classes=self.CLASSES, dim=self.DIM)

    def finished_rows(self):
        return (self.folder / "done").read_bytes().count(1)

    def check(self, store):
        for index in np.flatnonzero(store.done):
            for name in FIELDS:
                row = getattr(store, name)[index]
                expected = np.arange(row.size, dtype=np.float32).reshape(row.shape) + np.float32(index)
                np.testing.assert_array_equal(row, expected)

    def test_kill(self):
        for enough in (20, 60):
            process = self.start()
            with self.assertRaises(StoreBusyError):
                self.open_here()
            deadline = time.monotonic() + 60
            while self.finished_rows() < enough and time.monotonic() < deadline:
                time.sleep(0.0005)
            process.kill()
            self.assertEqual(process.wait(), -signal.SIGKILL)
            with self.open_here() as store:
                self.check(store)
                self.assertGreaterEqual(int(store.done.sum()), enough)
                self.assertNotEmpty(store.missing())
        process = self.start()
        process.stdin.close()
        self.assertEqual(process.stdout.readline(), "finished\n")
        self.assertEqual(process.wait(), 0)
        with self.open_here() as store:
            self.assertEmpty(store.missing())
            self.check(store)


if __name__ == "__main__":
    absltest.main()
