"""These tests damage map stores, and interrupt and kill processes that write them."""

import itertools
import signal
import subprocess
import sys
from unittest import mock

import numpy as np
from absl.testing import absltest, parameterized

from cwcf_jax.store import MapStore, StaleStoreError
from cwcf_jax.store import maps as maps_module
from tests.store.map_case import LENGTH, MapStoreCase, make_maps
from tests.support import shared

KILLED = """
import os, signal, sys
import numpy as np
from cwcf_jax.store import MapStore

savez = np.savez

def write_half(stream, **arrays):
    stream.write(b"half of it")
    stream.flush()
    os.kill(os.getpid(), signal.SIGKILL)

with MapStore.exclusive(sys.argv[1], {}) as store:
    store.write(0, features=np.ones((2, 3, 4)))
    np.savez = write_half
    store.write(1, features=np.ones((2, 3, 4)))
"""


class DamageTest(MapStoreCase):
    def assert_damaged(self, row):
        with self.open() as store, self.assertRaises(StaleStoreError) as caught:
            store.read(row)
        self.assertStartsWith(str(caught.exception), f"{self.file(row)} cannot be read (")
        self.assertIn("remove it", str(caught.exception))

    def test_a_missing_file(self):
        self.fill(0)
        self.assert_damaged(1)

    @parameterized.parameters(0, 1, 60, 200, -1)
    def test_cut_off(self, size):
        self.fill(0)
        content = self.file(0).read_bytes()
        self.file(0).write_bytes(content[:size])
        self.assert_damaged(0)

    @parameterized.parameters(b"not an archive", b"\x80\x04K\x01.", b"\x93NUMPY", bytes(200))
    def test_a_file_of_another_format(self, content):
        self.fill(0)
        self.file(0).write_bytes(content)
        self.assert_damaged(0)

    def test_changed_values_are_detected(self):
        self.fill(0)
        content = bytearray(self.file(0).read_bytes())
        content[content.index(make_maps(0)["features"].tobytes())] ^= 1
        self.file(0).write_bytes(content)
        self.assert_damaged(0)

    def test_any_changed_byte_of_the_directory(self):
        """The directory of an archive holds compression methods and flags, for which zipfile raises its own errors."""
        self.fill(0)
        content = self.file(0).read_bytes()
        directory = content.index(b"PK\1\2")
        for offset, change in itertools.product(range(46), (0x01, 0x80, 0xFF)):
            changed = bytearray(content)
            changed[directory + offset] ^= change
            self.file(0).write_bytes(changed)
            with self.open() as store, self.subTest(offset=offset, change=change):
                try:
                    store.read(0)
                except StaleStoreError as error:
                    self.assertStartsWith(str(error), str(self.file(0)))

    @parameterized.parameters("float16", "int8")
    def test_any_changed_byte(self, dtype):
        """A changed byte anywhere in a file either raises an error that names the file, or changes no map."""
        store, random = MapStore(self.folder, dtype=dtype), np.random.default_rng(0)
        store.write("picture", **make_maps(0))
        expected, file = store.read("picture"), self.folder / "pi" / "picture.npz"
        content, num_errors = file.read_bytes(), 0
        for i, value in zip(random.integers(len(content), size=1000), random.integers(1, 256, 1000), strict=True):
            changed = bytearray(content)
            changed[i] ^= value
            file.write_bytes(changed)
            try:
                actual = store.read("picture")
            except StaleStoreError as error:
                self.assertStartsWith(str(error), str(file))
                num_errors += 1
            else:
                for name in actual.keys() & expected.keys():
                    np.testing.assert_array_equal(actual[name], expected[name])
        self.assertGreater(num_errors, 500)

    def test_a_shape_that_does_not_fit(self):
        """The checksums of the file are right, but the recorded shape is not: no more than this shape is expanded."""
        store, file = MapStore(self.folder, dtype="int8"), self.folder / "pi" / "picture.npz"
        store.write("picture", **make_maps(0))
        content = dict(np.load(file))
        for shape in ((3, 4, 6), (3, 4, 4), (3, 4), (3, 4, -5), (0, 4, 5)):
            np.savez(file, **content | {"features shape": np.array(shape)})
            with self.assertRaisesRegex(StaleStoreError, f"{file} cannot be read"):
                store.read("picture")

    def test_other_images_are_still_read(self):
        self.fill(0, 1)
        self.file(0).write_bytes(b"")
        with self.open() as store:
            self.assert_maps(store, 1)
            store.write(0, **make_maps(0))
            self.assert_maps(store, 0)


class KillTest(MapStoreCase):
    def test_an_interrupted_write_leaves_no_row(self):
        def write_half(stream, **_):
            stream.write(b"half of it")
            raise KeyboardInterrupt

        with self.open() as store:
            with mock.patch.object(maps_module.np, "savez", write_half), self.assertRaises(KeyboardInterrupt):
                store.write(2, **make_maps(2))
            self.assertIn(2, store.missing(range(LENGTH)))
            store.write(2, **make_maps(2))
            self.assert_maps(store, 2)
        self.assertEqual(list(self.folder.glob("*.partial")), [])

    def test_an_interrupted_write_leaves_the_old_row(self):
        self.fill(2)
        with self.open() as store:
            with (
                mock.patch.object(maps_module.np, "savez", side_effect=OSError("disk full")),
                self.assertRaises(OSError),
            ):
                store.write(2, **make_maps(9))
            self.assert_maps(store, 2)

    def test_a_killed_process(self):
        command = [sys.executable, "-c", KILLED, str(self.folder)]
        process = subprocess.run(command, cwd=shared.ROOT, check=False)
        self.assertEqual(process.returncode, -signal.SIGKILL)
        self.assertLen(list(self.folder.glob("0000001.npz.*.partial")), 1)
        with self.open({}) as store:
            self.assertEqual(store.missing(range(LENGTH)), [1, 2, 3, 4])
            np.testing.assert_array_equal(store.read(0)["features"], np.ones((2, 3, 4)))
            store.write(1, **make_maps(1))
            self.assert_maps(store, 1)


if __name__ == "__main__":
    absltest.main()
