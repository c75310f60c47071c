"""This module writes picture files byte by byte, with properties that Pillow cannot write."""

import pathlib
import struct
import zlib

import numpy as np
from absl.testing import parameterized
from PIL import Image

from cwcf_jax.images.decoding import ImageError, read_image

GREY, RGB, PALETTE, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, depth, colour, rows, *, extra=b""):
    """Returns a PNG file with the bytes of ``rows``, and with ``extra`` chunks before the pixels."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(b"".join(b"\0" + bytes(row) for row in rows)))
    return b"\x89PNG\r\n\x1a\n" + header + extra + pixels + chunk(b"IEND", b"")


def exif(orientation, *others):
    """Returns an EXIF block: a TIFF directory with the orientation and with other entries (tag, type, count, value)."""
    entries = sorted([(0x0112, 3, 1, orientation << 16), *others])
    directory = b"".join(struct.pack(">HHII", *entry) for entry in entries)
    return b"MM\0\x2a\0\0\0\x08" + struct.pack(">H", len(entries)) + directory + bytes(32)


def tiff(pixels, order, sample_format):
    """Returns a grey TIFF file of one strip; ``sample_format`` is 1 for unsigned, 2 for signed, 3 for float."""
    data = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
    height, width = pixels.shape
    bits = 8 * pixels.dtype.itemsize
    tags = [(256, width), (257, height), (258, bits), (259, 1), (262, 1), (273, 8), (277, 1), (278, height)]
    tags += [(279, len(data)), (339, sample_format)]
    start = 8 + len(data)
    entries = b"".join(struct.pack(order + "HHII", tag, 4, 1, value) for tag, value in tags)
    mark = b"II" if order == "<" else b"MM"
    header = mark + struct.pack(order + "HI", 42, start)
    return header + data + struct.pack(order + "H", len(tags)) + entries + struct.pack(order + "I", 0)


class PictureTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(self.create_tempdir().full_path)

    def save(self, content, name="picture.png", **options):
        """Saves bytes, an array or a Pillow image in a file and returns the file's path."""
        path = self.folder / name
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            (Image.fromarray(content) if isinstance(content, np.ndarray) else content).save(path, **options)
        return path

    def assert_pixels(self, content, expected, **save):
        actual = read_image(self.save(content, **save))
        self.assertEqual(actual.dtype, np.uint8)
        np.testing.assert_array_equal(actual, np.asarray(expected))

    def assert_refused(self, path, *parts):
        with self.assertRaises(ImageError) as caught:
            read_image(path)
        message = str(caught.exception)
        self.assertStartsWith(message, f"{path}: ")
        for part in parts:
            self.assertIn(part, message)
