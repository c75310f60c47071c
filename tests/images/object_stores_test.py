"""This test lists and reads pictures through a real S3 API of a local server."""

import io
import os
import pathlib
import time
from unittest import mock

import numpy as np
from absl.testing import absltest
from PIL import Image

from cwcf_jax.images import DatasetError, ImageError, ObjectFile, ObjectFolder, list_pictures, read_image, read_size
from tests.support import packages, servers


class ObjectsCase(absltest.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        packages.package("pyarrow")
        cls.client = cls.enterClassContext(servers.s3_client())

    def put(self, key, body):
        self.client.put_object(Bucket="bucket", Key=key, Body=body)


def png(seed, size=(7, 5)):
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return pixels, stream.getvalue()


class ObjectFolderTest(ObjectsCase):
    def test_pictures_in_the_order_of_paths(self):
        for key in ("b.png", "a/z.JPG", "a/y.txt", "a.png", ".hidden/c.png", "a/.d.png"):
            self.put(f"listed/{key}", b"content")
        self.put("listed-not/e.png", b"content")
        actual = list_pictures(ObjectFolder("s3://bucket/listed/"))
        expected = [pathlib.PurePosixPath(name) for name in ("a/z.JPG", "a.png", "b.png")]
        self.assertEqual(actual, sorted(expected))

    def test_states_are_those_of_the_listing(self):
        start_ns = time.time_ns()
        self.put("states/a.png", b"12345")
        folder = ObjectFolder("s3://bucket/states")
        first_state = (folder / "a.png").stat()
        self.assertEqual(first_state.st_size, 5)
        self.assertLess(abs(first_state.st_mtime_ns - start_ns), 60 * 10**9)
        listed = folder.listed()
        self.put("states/a.png", b"1234567")
        self.assertEqual((listed / "a.png").stat(), first_state)
        self.assertEqual((folder / "a.png").stat().st_size, 7)

    def test_whole_buckets(self):
        self.put("f.png", b"content")
        self.assertIn(pathlib.PurePosixPath("f.png"), list_pictures(ObjectFolder("s3://bucket")))

    def test_missing_folders_and_unknown_schemes(self):
        for address in "s3://bucket/nothing", "s3://no-bucket/folder":
            with self.assertRaisesRegex(DatasetError, f"^{address}: no such folder"):
                list_pictures(ObjectFolder(address))
        with self.assertRaisesRegex(ValueError, "^ftp://host is no address of an object store: "):
            list_pictures(ObjectFolder("ftp://host/folder"))

    def test_a_server_without_answer(self):
        with mock.patch.dict(os.environ, AWS_ENDPOINT_URL="http://127.0.0.1:9"):
            start_s = time.monotonic()
            with self.assertRaisesRegex(DatasetError, "^s3://bucket/folder: cannot be read .* connect"):
                list_pictures(ObjectFolder("s3://bucket/folder"))
            self.assertLess(time.monotonic() - start_s, 30)

    def test_paths(self):
        folder = ObjectFolder("s3://bucket/some/folder/")
        self.assertEqual((str(folder), folder.name), ("s3://bucket/some/folder", "folder"))
        self.assertEqual(folder, ObjectFolder("s3://bucket/some/folder"))
        self.assertEqual(str(folder / "a/b.png"), "s3://bucket/some/folder/a/b.png")
        for path in "a/b.png", "s3://bucket/some/folder/a/b.png":
            self.assertEqual(folder.relative(path), "a/b.png")
        with self.assertRaisesRegex(ValueError, "s3://bucket/b.png is not below s3://bucket/some/folder"):
            folder.relative("s3://bucket/b.png")


class ObjectFileTest(ObjectsCase):
    def test_pixels(self):
        pixels, body = png(0)
        self.put("pixels/a.png", body)
        file = ObjectFolder("s3://bucket/pixels") / "a.png"
        np.testing.assert_array_equal(read_image(file), pixels)
        np.testing.assert_array_equal(read_image("s3://bucket/pixels/a.png"), pixels)
        self.assertEqual(read_size(file), (5, 7))
        with self.assertRaisesRegex(ValueError, "'rb', not 'wb'"):
            file.open("wb")

    def test_missing_objects_and_broken_pictures(self):
        self.put("broken/a.png", png(0)[1][:30])
        with self.assertRaisesRegex(ImageError, "^s3://bucket/broken/a.png: cannot be read as a picture"):
            read_image(ObjectFile("s3://bucket/broken/a.png"))
        missing = ObjectFile("s3://bucket/broken/gone.png")
        with self.assertRaisesRegex(ImageError, "^s3://bucket/broken/gone.png: no such file"):
            read_image(missing)
        with self.assertRaisesRegex(FileNotFoundError, "no such object: 's3://bucket/broken/gone.png'"):
            missing.stat()


if __name__ == "__main__":
    absltest.main()
