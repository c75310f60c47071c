"""These tests make thumbnails, which are cached in a fixed amount of memory."""

import io
import pathlib

from absl.testing import absltest
from PIL import Image

from cwcf_jax.images import ImageError
from cwcf_jax.web.thumbnails import Thumbnails


class ThumbnailsTest(absltest.TestCase):
    def setUp(self):
        super().setUp()
        self.file = pathlib.Path(self.create_tempdir().full_path) / "picture.png"
        Image.new("RGB", (40, 20), "red").save(self.file)

    def test_longer_side(self):
        with Image.open(io.BytesIO(Thumbnails().get(self.file, "content", 10))) as image:
            self.assertEqual((image.format, image.size), ("JPEG", (10, 5)))

    def test_cached_by_content_and_side(self):
        thumbnails = Thumbnails()
        jpeg = thumbnails.get(self.file, "content", 10)
        self.file.unlink()
        self.assertEqual(thumbnails.get(self.file, "content", 10), jpeg)
        for content, side in (("content", 20), ("other", 10)):
            with self.assertRaises(ImageError):
                thumbnails.get(self.file, content, side)

    def test_the_cache_is_limited(self):
        thumbnails = Thumbnails(max_bytes=1000)
        jpeg = thumbnails.get(self.file, "content", 10)
        self.assertBetween(len(jpeg), 501, 1000)
        thumbnails.get(self.file, "other", 10)
        self.file.unlink()
        self.assertEqual(thumbnails.get(self.file, "other", 10), jpeg)
        with self.assertRaises(ImageError):
            thumbnails.get(self.file, "content", 10)


if __name__ == "__main__":
    absltest.main()
