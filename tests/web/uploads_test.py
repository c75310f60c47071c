"""These tests upload pictures, damaged files and malicious files."""

import io
import struct
import tempfile
import zlib
from unittest import mock

import numpy as np
from absl.testing import absltest, parameterized
from fastapi import HTTPException
from fastapi.testclient import TestClient
from PIL import Image

from cwcf_jax import web
from cwcf_jax.web import uploads
from tests.support import indexes

PICTURE = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)


def encoded(kind, image=None, **options):
    stream = io.BytesIO()
    (image or Image.fromarray(PICTURE)).save(stream, kind, **options)
    return stream.getvalue()


def bomb(width, height):
    """Returns a PNG with fewer pixels than its header says."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


class DecodeTest(parameterized.TestCase):
    @parameterized.parameters("PNG", "BMP", "TIFF")
    def test_pictures(self, kind):
        np.testing.assert_array_equal(uploads.decode(encoded(kind)), PICTURE)

    @parameterized.parameters("JPEG", "WEBP", "GIF", "AVIF", "JPEG2000")
    def test_lossy_pictures(self, kind):
        self.assertEqual(uploads.decode(encoded(kind)).shape, PICTURE.shape)

    def test_images_are_upright(self):
        exif = Image.Exif()
        exif[0x0112] = 6
        self.assertEqual(uploads.decode(encoded("JPEG", exif=exif)).shape, (30, 20, 3))

    @parameterized.parameters(
        b"",
        b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
        b"<html><script>alert(1)</script>",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        b"%PDF-1.7",
        b"\x89PNG\r\n\x1a\n",
        b"GIF89a",
        b"\xff\xd8\xff",
        b"PK\x03\x04",
    )
    def test_no_picture_by_content(self, body):
        with self.assertRaises(HTTPException) as caught:
            uploads.decode(body)
        self.assertEqual(caught.exception.status_code, 415)
        self.assertIn("JPEG, PNG or WebP", caught.exception.detail)

    @parameterized.parameters((20_000, 20_000), (8000, 7000), (2**31 - 1, 2**31 - 1))
    def test_too_many_pixels_are_not_decoded(self, width, height):
        with self.assertRaises(HTTPException) as caught:
            uploads.decode(bomb(width, height))
        self.assertEqual(caught.exception.status_code, 413)
        self.assertIn("50 million pixels", caught.exception.detail)

    @parameterized.parameters(lambda: encoded("JPEG")[:-300], lambda: bomb(300, 300), lambda: encoded("WEBP")[:-40])
    def test_damaged(self, make):
        with self.assertRaises(HTTPException) as caught:
            uploads.decode(make())
        self.assertIn(caught.exception.status_code, (415, 422))

    def test_random_damage(self):
        random = np.random.default_rng(1)
        for kind in ("JPEG", "PNG", "GIF", "TIFF", "WEBP", "BMP"):
            whole = np.frombuffer(encoded(kind), np.uint8)
            for _ in range(40):
                body = whole.copy()
                body[random.integers(0, len(body), 6)] = random.integers(0, 256, 6)
                try:
                    image = uploads.decode(body.tobytes())
                except HTTPException as error:
                    self.assertIn(error.status_code, (413, 415, 422))
                else:
                    self.assertEqual(image.dtype, np.uint8)


class BodyTest(absltest.TestCase):
    def test_a_body_that_is_too_large(self):
        self.enterContext(mock.patch.object(uploads, "MAX_BYTES", 2**20))
        root = self.enterContext(tempfile.TemporaryDirectory())
        client = TestClient(web.create_app(indexes.make(root, range(2))))

        def parts():
            for _ in range(64):
                yield bytes(2**17)

        answer = client.post("/api/uploads", content=parts())
        self.assertEqual(answer.status_code, 413)
        self.assertIn("larger than the 1 MB", answer.json()["detail"])


if __name__ == "__main__":
    absltest.main()
