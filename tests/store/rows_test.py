"""These tests check the folder of a `PooledStore`: fingerprints, locks, and the files of killed processes."""

import contextlib
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
from tests.store.pooled_stores import CLASSES, DIM, FIELDS, FINGERPRINT, LENGTH, StoreCase, contents, make_row
from tests.support import shared

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


def count_descriptors():
    gc.collect()  # memory maps keep their files open until they are collected
    return len(list(pathlib.Path("/proc/self/fd").iterdir()))


class OpeningTest(StoreCase):
    def assert_stale(self, *parts, **changes):
        original = contents(self.folder)
        with self.assertRaises(StaleStoreError) as caught:
            self.open(**changes)
        message = str(caught.exception)
        for part in (str(self.folder), *parts):
            self.assertIn(part, message)
        self.assertEqual(contents(self.folder), original)
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
    def test_another_length(self, length):
        self.fill(0, 3)
        self.assert_stale(f"length: {LENGTH} there, {length} now", length=length)

    @parameterized.parameters(("classes", 8), ("dim", 4), ("dim", 2))
    def test_another_shape(self, name, size):
        self.fill(0, 3)
        self.assert_stale(f'fields: {{"sums": [{DIM}]', **{name: size})

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
        mean = (1.5, 2.0)  # a list after JSON
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
        """If the shortened file were filled up with zeros, its rows would still count as done."""
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
        self.assert_stale("holds sub, thesis.tex, but no fingerprint.json; name a new or an empty folder")

    def test_an_empty_folder(self):
        self.folder.mkdir(parents=True)
        with self.open() as store:
            self.assertEqual(store.length, LENGTH)

    @parameterized.parameters(range(10))
    def test_killed_while_the_store_was_created(self, steps):
        """After a kill at any step before the first row, the next run opens the store."""
        remaining = [steps]
        real = {name: getattr(os, name) for name in ("ftruncate", "fsync", "replace")}
        real["write_text"] = pathlib.Path.write_text

        def interrupted(name):
            def step(*args, **options):
                if not remaining[0]:
                    raise KeyboardInterrupt
                remaining[0] -= 1
                return real[name](*args, **options)

            return step

        with (
            mock.patch.multiple(os, **{name: interrupted(name) for name in ("ftruncate", "fsync", "replace")}),
            mock.patch.object(pathlib.Path, "write_text", interrupted("write_text")),
            mock.patch.object(pathlib.Path, "unlink"),  # a killed process removes nothing
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
        folder = self.root / "second"
        with self.open() as first, PooledStore(folder, FINGERPRINT, length=2, classes=1, dim=1) as second:
            self.assertEqual((first.length, second.length), (LENGTH, 2))


class LockTest(StoreCase):
    def test_two_openers(self):
        with self.open() as first:
            with self.assertRaisesRegex(StoreBusyError, f"{self.folder} is in use by another process"):
                self.open()
            with self.assertRaises(StoreBusyError):  # raised before fingerprints are compared
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
        num_open = count_descriptors()
        store = self.open()
        self.assertGreater(count_descriptors(), num_open)
        store.close()
        del store
        self.assertEqual(count_descriptors(), num_open)

    def test_closing_twice(self):
        store = self.open()
        store.close()
        reused = [os.open(os.devnull, os.O_RDONLY) for _ in range(9)]  # reuse the descriptors of the store's files
        store.close()
        for descriptor in reused:
            os.close(descriptor)

    def test_failed_openings_leave_no_files_open(self):
        self.fill(2)
        num_open = count_descriptors()
        with self.assertRaises(StaleStoreError):
            self.open({"weights": "other"})
        self.assertEqual(count_descriptors(), num_open)
        with (
            mock.patch.object(np, "memmap", side_effect=OSError("no memory")),
            self.assertRaisesRegex(OSError, "no mem"),
        ):
            self.open()
        self.assertEqual(count_descriptors(), num_open)
        with self.open(), self.assertRaises(StoreBusyError):
            self.open()
        self.assertEqual(count_descriptors(), num_open)


class KillTest(StoreCase):
    """A writing process is killed twice: the rows marked as done are right, and the next process writes the others."""

    LENGTH, CLASSES, DIM = 600, 200, 256  # 206 kB a row

    def start(self):
        numbers = [str(number) for number in (self.LENGTH, self.CLASSES, self.DIM)]
        command = [sys.executable, "-c", WRITER, str(self.folder), *numbers]
        process = subprocess.Popen(command, cwd=shared.ROOT, stdin=PIPE, stdout=PIPE, text=True)
        for cleanup in (process.stdout.close, process.stdin.close, process.wait, process.kill):  # run in reverse order
            self.addCleanup(cleanup)
        self.assertEqual(process.stdout.readline(), "open\n")
        return process

    def open_store(self):
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
        for min_rows in (20, 60):
            process = self.start()
            with self.assertRaises(StoreBusyError):
                self.open_store()
            deadline = time.monotonic() + 60
            while self.finished_rows() < min_rows and time.monotonic() < deadline:
                time.sleep(0.0005)
            process.kill()
            self.assertEqual(process.wait(), -signal.SIGKILL)
            with self.open_store() as store:
                self.check(store)
                self.assertGreaterEqual(int(store.done.sum()), min_rows)
                self.assertNotEmpty(store.missing())
        process = self.start()
        process.stdin.close()
        self.assertEqual(process.stdout.readline(), "finished\n")
        self.assertEqual(process.wait(), 0)
        with self.open_store() as store:
            self.assertEmpty(store.missing())
            self.check(store)


if __name__ == "__main__":
    absltest.main()
