import contextlib
import os
import pathlib
from unittest import mock

import numpy as np
import tensorstore
from absl.testing import absltest

from cwcf_jax.store import MapStore, StaleStoreError
from tests.support import servers

FINGERPRINT = {"weights": "abc", "resize": "none"}


def maps(seed=0):
    random = np.random.default_rng(seed)
    return {
        "features": random.normal(size=(3, 4, 5)).astype(np.float32),
        "cam_features": np.ones((2, 2, 3), np.float32),
    }


class MapLocationsCase(absltest.TestCase):
    """The base of the tests of maps in a folder and on an object store."""

    def make_location(self):
        self.location = pathlib.Path(self.create_tempdir().full_path, "maps")

    def setUp(self):
        super().setUp()
        self.make_location()
        self.store = MapStore(self.location)

    def assert_holds(self, name, expected):
        actual = MapStore(self.location).read(name)
        self.assertEqual(actual.keys(), expected.keys())
        for key, values in expected.items():
            step = np.abs(values).max(axis=(0, 1)) / 127
            self.assertTrue(np.all(np.abs(actual[key] - values) <= 1.0001 * step), key)


class FolderTest(MapLocationsCase):
    def test_images_are_added_and_removed(self):
        self.assertNotIn("ab12", self.store)
        self.assertEqual(self.store.names(), set())
        self.store.write("ab12", **maps())
        self.store.write("ab123", **maps(1))  # has the first name as a prefix
        self.store.write("cd34", **maps(2))
        self.assertIn("ab12", self.store)
        self.assertNotIn("ab1", self.store)
        self.assertEqual(MapStore(self.location).names(), {"ab12", "ab123", "cd34"})
        self.assert_holds("ab12", maps())
        self.store.write("ab12", **maps(3))
        self.assert_holds("ab12", maps(3))
        self.store.remove("ab12")
        self.store.remove("ab12")
        self.assertEqual(self.store.names(), {"ab123", "cd34"})
        self.assert_holds("ab123", maps(1))
        with self.assertRaisesRegex(StaleStoreError, "ab12.npz cannot be read"):
            self.store.read("ab12")

    def test_another_fingerprint_is_refused(self):
        self.store.claim(FINGERPRINT)
        MapStore(self.location).claim(FINGERPRINT)
        with self.assertRaisesRegex(StaleStoreError, 'weights: "abc" there, "other" now'):
            self.store.claim(FINGERPRINT | {"weights": "other"})
        self.store.write("ab12", **maps())
        self.assertEqual(self.store.names(), {"ab12"})

    def test_a_damaged_image_is_named(self):
        self.store.write("ab12", **maps())
        kvstore = tensorstore.KvStore.open(self.kvstore()).result()
        whole = kvstore.read("ab/ab12.npz").result().value
        message = "ab/ab12.npz cannot be read .*; remove it to have it computed anew"
        for damaged in (b"", whole[:100], whole[:-1]):
            kvstore.write("ab/ab12.npz", damaged).result()
            with self.assertRaisesRegex(StaleStoreError, message):
                MapStore(self.location).read("ab12")

    def kvstore(self):
        return {"driver": "file", "path": f"{self.location}/"}

    def test_partial_files_of_killed_writers_are_removed(self):
        if not isinstance(self.location, pathlib.Path):
            return  # there are no partial objects
        self.store.write("ab12", **maps())
        (self.location / "ab" / "ab34.0123.partial").write_bytes(b"half")
        self.assertEqual(self.store.names(), {"ab12"})
        self.store.sweep()
        self.assertEqual([file.name for file in (self.location / "ab").iterdir()], ["ab12.npz"])


class ObjectsTest(FolderTest):
    """The same tests on an S3 server that environment variables name."""

    def make_location(self):
        stack = contextlib.ExitStack()
        self.addCleanup(stack.close)
        self.bucket = stack.enter_context(servers.s3_bucket())
        stack.enter_context(mock.patch.dict(os.environ, servers.s3_environment(self.bucket)))
        self.path = f"deep/{self.id()}"
        self.location = f"s3://bucket/{self.path}"

    def kvstore(self):
        return self.bucket | {"path": f"{self.path}/"}


if __name__ == "__main__":
    absltest.main()
