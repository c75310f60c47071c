import contextlib
import json
import pathlib
import subprocess
import sys

import numpy as np
from absl.testing import absltest, parameterized
from hypothesis import given, settings
from hypothesis import strategies as st

from cwcf_jax.store import (
    ClassVectorStore,
    ClassVectorWriter,
    StaleStoreError,
    StoreBusyError,
    StoreConfig,
    remove,
    write_images,
)
from tests.store.class_vectors import CLASSES, DIM, FINGERPRINT, SHARD_IMAGES, StoreCase, contents, make, read_all
from tests.support import servers, shared

RUNNER = """
import os, signal, sys, time
import numpy as np
from cwcf_jax.store import ClassVectorWriter, StoreConfig

folder, images = sys.argv[1], int(sys.argv[2])

def write():
    with ClassVectorWriter(folder, {"weights": "abc"}, StoreConfig(tuple(range(50)), 16, "int8", 32)) as writer:
        while writer.length < images:
            random = np.random.default_rng(writer.length)  # an image's vectors depend on nothing else
            values = random.integers(-127, 128, (1, 50, 16), dtype=np.int8)
            writer.append(values, random.random((1, 50), dtype=np.float32))
            if writer.length % 7 == 0:
                writer.flush()

for line in sys.stdin:  # seconds until the kill; each run is a process of its own, forked to import nothing again
    start = time.monotonic()
    child = os.fork()
    if child == 0:
        write()
        os._exit(0)
    if float(line) >= 0:
        time.sleep(float(line))
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    print(status, time.monotonic() - start, flush=True)
"""


def _open_files():
    return len(list(pathlib.Path("/proc/self/fd").iterdir()))


class SharedWritingTest(StoreCase):
    """Other processes write the shards of one store, in any order and some shards twice."""

    @parameterized.product(dtype=("int8", "float16"), first=(0, 5, 8), more=(3, 4, 21))
    def test_byte_for_byte_as_by_one_writer(self, dtype, first, more):
        vectors = self.fill(first + more, dtype=dtype)
        expected = contents(self.folder)
        self.folder = pathlib.Path(self.create_tempdir().full_path, "other")
        with self.open(dtype=dtype) as writer:
            writer.append(*(part[:first] for part in vectors))
            rows = writer.reserve(more)
            self.assertEqual([rows[0].start, rows[-1].stop], [first, first + more])
            self.assertLen({shard_rows.start // SHARD_IMAGES for shard_rows in rows}, len(rows))
            for shard_rows in (*rows[::-1], rows[0]):
                write_images(self.folder, shard_rows.start, *(part[shard_rows] for part in vectors))
            self.assertLen(ClassVectorStore(self.folder), first)
            writer.commit(more)
            self.assertLen(ClassVectorStore(self.folder), first + more)
        self.assertEqual(contents(self.folder), expected)

    def test_uncommitted_images_are_overwritten_by_the_next_writer(self):
        values, scales = self.fill(10)
        uncommitted = make(9, seed=1)
        with self.open() as writer:
            for shard_rows in writer.reserve(9):
                parts = (part[shard_rows.start - 10 : shard_rows.stop - 10] for part in uncommitted)
                write_images(self.folder, shard_rows.start, *parts)
        store = ClassVectorStore(self.folder)
        self.assertLen(store, 10)
        np.testing.assert_array_equal(read_all(store, np.array([2]))[0], values[:, [2]])
        appended = make(6, seed=2)
        with self.open() as writer:
            writer.append(*appended)
        actual = read_all(ClassVectorStore(self.folder), np.arange(4))
        for part, old, new in zip(actual, (values, scales), appended, strict=True):
            np.testing.assert_array_equal(part, np.concatenate([old, new]))

    def test_on_an_object_store(self):
        vectors = make(21)
        with servers.s3_client():
            location = "s3://bucket/deep/vectors"
            with ClassVectorWriter(location, FINGERPRINT, StoreConfig(CLASSES, DIM, "int8", SHARD_IMAGES)) as writer:
                for shard_rows in writer.reserve(21):
                    write_images(location, shard_rows.start, *(part[shard_rows] for part in vectors))
                writer.commit(21)
            store = ClassVectorStore(location, FINGERPRINT)
            for part, expected in zip(read_all(store, np.array([3, 1])), vectors, strict=True):
                np.testing.assert_array_equal(part, expected[:, [3, 1]])
            blocks = list(store.read(np.array([2]), range(1, 3)))
            self.assertEqual([images for images, _ in blocks], [slice(8, 16), slice(16, 21)])
            np.testing.assert_array_equal(blocks[1][1].values[0, :5], vectors[0][16:21, 2])
            remove(location)
            with self.assertRaises(FileNotFoundError):
                ClassVectorStore(location)


class WriteTest(StoreCase):
    @settings(max_examples=25, deadline=None)
    @given(st.lists(st.tuples(st.integers(0, 9), st.sampled_from(("on", "flush", "reopen"))), min_size=1, max_size=8))
    def test_files_do_not_depend_on_the_steps_of_writing(self, steps):
        total = sum(count for count, _ in steps)
        values, scales = make(total)
        self.folder = pathlib.Path(self.create_tempdir().full_path)
        with contextlib.ExitStack() as stack:
            writer = stack.enter_context(self.open())
            for count, then in steps:
                self.assertLessEqual(writer.length, total)
                rows = slice(writer.length, writer.length + count)
                writer.append(values[rows], scales[rows])
                if then == "flush":
                    writer.flush()
                elif then == "reopen":
                    writer.close()
                    writer = stack.enter_context(self.open())
        actual = contents(self.folder)
        self.folder = pathlib.Path(self.create_tempdir().full_path)
        with self.open() as writer:
            writer.append(values, scales)
        self.assertEqual(actual, contents(self.folder))

    def test_images_are_seen_after_a_flush(self):
        values, scales = make(11)
        with self.open() as writer:
            writer.append(values, scales)
            self.assertLen(ClassVectorStore(self.folder), 8)
            writer.flush()
            self.assertLen(ClassVectorStore(self.folder), 11)

    def test_an_error_inside_keeps_full_shards_and_releases_the_store(self):
        with self.assertRaisesRegex(KeyError, "mine"), self.open() as writer:
            writer.append(*make(11))
            raise KeyError("mine")
        with self.open() as writer:
            self.assertEqual(writer.length, 8)

    def test_a_writer_killed_20_times_writes_the_same_bytes(self):
        whole, killed = self.folder / "whole", self.folder / "killed"
        with self._runner(whole) as run:
            whole_run_s = run(-1)
        random, lengths = np.random.default_rng(0), []
        with self._runner(killed) as run:
            for _ in range(20):
                run(random.uniform(0, whole_run_s / 8))
                if (killed / "store.json").exists():
                    lengths.append(self._check_committed(killed))
            self.assertEqual(lengths, sorted(lengths))
            self.assertGreater(len(set(lengths)), 3, "the kills came too early to test anything")
            run(-1)
        self.assertEqual(contents(killed), contents(whole))

    @contextlib.contextmanager
    def _runner(self, folder, images=600):
        """Yields a function that runs a writer and kills it after some seconds; it returns the seconds of the run.

        A negative number of seconds lets the writer finish.
        """
        command = [sys.executable, "-c", RUNNER, str(folder), str(images)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        with subprocess.Popen(command, cwd=shared.ROOT, text=True, **pipes) as process:

            def run(seconds):
                print(seconds, file=process.stdin, flush=True)
                status, run_s = process.stdout.readline().split()
                if seconds < 0:
                    self.assertEqual(int(status), 0)
                return float(run_s)

            yield run
            process.stdin.close()

    def _check_committed(self, folder):
        """Checks that some images are complete; returns the number of images."""
        store = ClassVectorStore(folder)
        for row in range(0, len(store), 37):
            expected = np.random.default_rng(row).integers(-127, 128, (1, 50, 16), dtype=np.int8)
            actual = store.vectors(np.array([row]), np.arange(50)).values
            np.testing.assert_array_equal(actual.swapaxes(0, 1), expected)
        return len(store)

    @parameterized.parameters(
        (np.zeros((1, 4, 6), np.float16), np.zeros((1, 4), np.float32), r"int8 of shape \[images, 4, 6\]"),
        (np.zeros((1, 5, 6), np.int8), np.zeros((1, 5), np.float32), r"shape \[images, 4, 6\]"),
        (np.zeros((2, 4, 6), np.int8), np.zeros((1, 4), np.float32), r"scales \[images, classes\]"),
        (np.zeros((1, 4, 6), np.int8), None, r"int8 vectors come with scales"),
    )
    def test_wrong_vectors(self, values, scales, message):
        with self.open() as writer:
            with self.assertRaisesRegex(ValueError, message):
                writer.append(values, scales)
            self.assertEqual(writer.length, 0)


class RefusalTest(StoreCase):
    def test_other_fingerprints_and_layouts_are_named(self):
        self.fill(3)
        original = contents(self.folder)
        for change, message in (
            ({"weights": "other"}, 'weights: "abc" there, "other" now'),
            ({"protocol": "authors_code"}, 'protocol: "paper" there, "authors_code" now'),
            ({"whitening": None}, 'whitening: "123" there, null now'),
        ):
            for open_store in (self.open, lambda fingerprint: ClassVectorStore(self.folder, fingerprint)):
                with self.assertRaisesRegex(StaleStoreError, message):
                    open_store(FINGERPRINT | change)
        for change, message in (
            ({"dim": 7}, "dim: 6 there, 7 now"),
            ({"classes": (1,)}, "classes"),
            ({"fragment": 9}, "8 there, 9"),
        ):
            with self.assertRaisesRegex(StaleStoreError, message):
                self.open(**change)
        self.assertEqual(contents(self.folder), original)

    def test_one_writer_at_a_time_and_any_readers(self):
        self.fill(3)
        with self.open(), self.assertRaisesRegex(StoreBusyError, "in use by another process"):
            self.open()
        with self.open():
            self.assertLen(ClassVectorStore(self.folder), 3)

    def test_no_store(self):
        with self.assertRaisesRegex(FileNotFoundError, "no class-vector store at .*deep/store"):
            ClassVectorStore(self.folder)

    def test_another_folder_is_left_alone(self):
        self.folder.mkdir(parents=True)
        (self.folder / "photo.jpg").write_bytes(b"mine")
        with self.assertRaisesRegex(StaleStoreError, "holds photo.jpg, but no store.json; name a new or an"):
            self.open()
        self.assertEqual([path.name for path in self.folder.iterdir()], ["photo.jpg"])

    @parameterized.parameters("values/c/0/0/0", "scales/c/0/0")
    def test_damaged_files_are_named(self, name):
        self.fill(11)
        file = self.folder / name
        data = file.read_bytes()
        for damaged, message in ((data[:-1], "bytes instead of"), (b"", "0 bytes"), (None, "cannot be read")):
            file.unlink(missing_ok=True)
            if damaged is not None:
                file.write_bytes(damaged)
            with self.assertRaisesRegex(StaleStoreError, f"{name}.*{message}"):
                read_all(ClassVectorStore(self.folder), np.array([0]))

    def test_a_damaged_index_is_named(self):
        self.fill(8)
        file = self.folder / "values" / "c" / "0" / "0" / "0"
        data = bytearray(file.read_bytes())
        data[len(CLASSES) * SHARD_IMAGES * DIM] ^= 8
        file.write_bytes(data)
        with self.assertRaisesRegex(StaleStoreError, "its index does not fit"):
            read_all(ClassVectorStore(self.folder), np.array([0]))

    def test_a_damaged_header_is_named(self):
        self.fill(2)
        file = self.folder / "store.json"
        header = json.loads(file.read_text())
        for text in (
            "{",
            "[]",
            json.dumps(header | {"format": 99}),
            json.dumps({**header, "layout": {"classes": [1]}}),
        ):
            file.write_text(text)
            with self.assertRaisesRegex(StaleStoreError, "store.json"):
                ClassVectorStore(self.folder)

    @parameterized.parameters(
        ({"dtype": "float64"}, "unknown type of class vectors 'float64'; known: int8, float16"),
        ({"classes": ()}, "distinct, ascending"),
        ({"classes": (3, 1)}, "distinct, ascending"),
        ({"classes": (1, 1)}, "distinct, ascending"),
        ({"fragment": 0}, "at least 1 dimension and 1 image"),
    )
    def test_invalid_layouts(self, change, message):
        with self.assertRaisesRegex(ValueError, message):
            StoreConfig(**({"classes": CLASSES, "dim": DIM} | change))

    def test_descriptors_do_not_leak(self):
        self.fill(20)
        num_open = _open_files()
        for _ in range(5):
            read_all(ClassVectorStore(self.folder), np.array([0, 1]))
            self.open().close()
        self.assertLessEqual(_open_files(), num_open + 1)


if __name__ == "__main__":
    absltest.main()
