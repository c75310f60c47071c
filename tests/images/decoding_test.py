"""This test decodes pictures of every kind to RGB, and refuses files that are no pictures."""

import itertools
import math
import struct
import threading
import warnings
from unittest import mock

import numpy as np
from absl.testing import absltest, parameterized
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cwcf_jax.images import decoding
from cwcf_jax.images.decoding import ImageError, Resize, load_image, read_image
from tests.images.pictures import GREY, GREY_ALPHA, PALETTE, RGB, RGBA, PictureTest, chunk, exif, png, tiff


class ModesTest(PictureTest):
    def test_rgb_is_untouched(self):
        pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
        self.assert_pixels(png(7, 5, 8, RGB, pixels.reshape(5, -1)), pixels)

    def test_one_pixel(self):
        self.assert_pixels(png(1, 1, 8, RGB, [[1, 2, 3]]), [[[1, 2, 3]]])

    def test_grey(self):
        self.assert_pixels(png(3, 1, 8, GREY, [[0, 77, 255]]), [[[0] * 3, [77] * 3, [255] * 3]])

    def test_one_bit(self):
        self.assert_pixels(png(3, 1, 1, GREY, [[0b10100000]]), [[[255] * 3, [0] * 3, [255] * 3]])

    def test_grey_with_alpha(self):
        # 100 at 51/255 = 0.2 over white: 0.2 * 100 + 0.8 * 255 = 224
        rows = [[100, 255, 100, 51, 100, 0]]
        self.assert_pixels(png(3, 1, 8, GREY_ALPHA, rows), [[[100] * 3, [224] * 3, [255] * 3]])

    def test_rgba(self):
        # 0.2 * (200, 100, 0) + 0.8 * 255 = (244, 224, 204); 128/255 of black over white: 255 - 128 = 127
        rows = [[200, 100, 0, 51, 0, 0, 0, 128, 9, 8, 7, 255, 9, 8, 7, 0]]
        expected = [[[244, 224, 204], [127] * 3, [9, 8, 7], [255] * 3]]
        self.assert_pixels(png(4, 1, 8, RGBA, rows), expected)

    def test_palette(self):
        colours = chunk(b"PLTE", bytes([1, 2, 3, 250, 128, 0]))
        self.assert_pixels(png(2, 1, 8, PALETTE, [[1, 0]], extra=colours), [[[250, 128, 0], [1, 2, 3]]])

    def test_palette_with_transparency(self):
        colours = chunk(b"PLTE", bytes([1, 2, 3, 200, 100, 0, 4, 5, 6])) + chunk(b"tRNS", bytes([0, 51]))
        expected = [[[244, 224, 204], [255] * 3, [4, 5, 6]]]
        self.assert_pixels(png(3, 1, 8, PALETTE, [[1, 0, 2]], extra=colours), expected)

    def test_rgb_with_a_transparent_colour(self):
        extra = chunk(b"tRNS", struct.pack(">HHH", 10, 20, 30))
        rows = [[10, 20, 30, 10, 20, 31]]
        self.assert_pixels(png(2, 1, 8, RGB, rows, extra=extra), [[[255] * 3, [10, 20, 31]]])

    def test_grey_with_a_transparent_level(self):
        extra = chunk(b"tRNS", struct.pack(">H", 10))
        self.assert_pixels(png(2, 1, 8, GREY, [[10, 11]], extra=extra), [[[255] * 3, [11] * 3]])

    def test_16_bit_grey_with_a_transparent_level(self):
        extra = chunk(b"tRNS", struct.pack(">H", 257 * 10))
        rows = [struct.pack(">HH", 257 * 10, 257 * 11)]
        self.assert_pixels(png(2, 1, 16, GREY, rows, extra=extra), [[[255] * 3, [11] * 3]])

    def test_16_bit_grey_png(self):
        levels = np.arange(256, dtype=">u2") * 257  # 0 ... 65535
        expected = np.repeat(np.arange(256)[None, :, None], 3, axis=2)
        self.assert_pixels(png(256, 1, 16, GREY, [levels.tobytes()]), expected)

    @parameterized.parameters("<", ">")
    def test_16_bit_grey_tiff(self, order):
        pixels = np.array([[0, 257, 257 * 200, 65535]], np.uint16)
        expected = np.repeat(np.array([[[0], [1], [200], [255]]]), 3, axis=2)
        self.assert_pixels(tiff(pixels, order, 1), expected, name="grey.tiff")

    def test_16_bits_are_rounded_to_8(self):
        # level / 257 to the nearest: .498, .502, 254.498, 254.502.
        pixels = np.array([[128, 129, 65406, 65407]], np.uint16)
        expected = np.repeat(np.array([[[0], [1], [254], [255]]]), 3, axis=2)
        self.assert_pixels(tiff(pixels, "<", 1), expected, name="grey.tiff")

    def test_16_bit_rgb(self):
        rows = [struct.pack(">HHH", 0, 257 * 99, 65535)]
        self.assert_pixels(png(1, 1, 16, RGB, rows), [[[0, 99, 255]]])

    def test_32_bit_grey_within_16(self):
        pixels = np.array([[0, 65535], [257 * 3, 257 * 8]], np.int32)
        expected = np.repeat(np.array([[[0], [255]], [[3], [8]]]), 3, axis=2)
        self.assert_pixels(tiff(pixels, "<", 2), expected, name="grey.tiff")

    @parameterized.parameters(65536, -1)
    def test_32_bit_grey_beyond_16(self, level):
        path = self.save(tiff(np.array([[0, level]], np.int32), "<", 2), "grey.tiff")
        self.assert_refused(path, "beyond 16 bits")

    def test_floating_point(self):
        self.assert_refused(self.save(tiff(np.array([[0.0, 1.0]], np.float32), "<", 3), "f.tiff"), "floating-point")

    @parameterized.parameters(
        ((0, 255, 255, 0), (255, 0, 0)),
        ((255, 0, 0, 0), (0, 255, 255)),
        ((0, 0, 0, 255), (0, 0, 0)),
        ((0,) * 4, (255,) * 3),
    )
    def test_cmyk_jpeg(self, ink, expected):
        actual = read_image(self.save(Image.new("CMYK", (16, 16), ink), "cmyk.jpg", quality=95))
        self.assertEqual(actual.shape, (16, 16, 3))
        np.testing.assert_allclose(actual.astype(int), np.broadcast_to(expected, (16, 16, 3)), atol=3)

    @parameterized.parameters("animated.gif", "animated.png", "animated.webp")
    def test_first_frame_of_an_animation(self, name):
        frames = [Image.new("RGB", (4, 3), colour) for colour in ("red", "lime", "blue")]
        options = {"lossless": True} if name.endswith("webp") else {}
        path = self.save(frames[0], name, save_all=True, append_images=frames[1:], duration=100, **options)
        with Image.open(path) as written:
            self.assertEqual(written.n_frames, 3)
        np.testing.assert_array_equal(read_image(path), np.full((3, 4, 3), [255, 0, 0]))

    def test_a_string_is_a_path(self):
        path = self.save(png(1, 1, 8, RGB, [[1, 2, 3]]))
        np.testing.assert_array_equal(read_image(str(path)), [[[1, 2, 3]]])


UPRIGHT = {  # by the EXIF orientation; comments: the side of the scene that row 0 and column 0 of the file show
    1: lambda stored: stored,  # top, left
    2: lambda stored: stored[:, ::-1],  # top, right
    3: lambda stored: stored[::-1, ::-1],  # bottom, right
    4: lambda stored: stored[::-1],  # bottom, left
    5: lambda stored: stored.swapaxes(0, 1),  # left, top
    6: lambda stored: stored.swapaxes(0, 1)[:, ::-1],  # right, top
    7: lambda stored: stored.swapaxes(0, 1)[::-1, ::-1],  # right, bottom
    8: lambda stored: stored.swapaxes(0, 1)[::-1],  # left, bottom
}


class OrientationTest(PictureTest):
    @parameterized.parameters(*itertools.product(UPRIGHT, (GREY, RGB)))
    def test_png(self, orientation, colour):
        channels = 3 if colour == RGB else 1
        stored = np.random.default_rng(1).integers(0, 256, (3, 5, channels), np.uint8)
        content = png(5, 3, 8, colour, stored.reshape(3, -1), extra=chunk(b"eXIf", exif(orientation)))
        self.assert_pixels(
            content, np.broadcast_to(UPRIGHT[orientation](stored), (*UPRIGHT[orientation](stored).shape[:2], 3))
        )

    @parameterized.parameters(*UPRIGHT)
    def test_jpeg(self, orientation):
        stored = np.zeros((32, 48, 3), np.uint8)
        stored[:16, :24], stored[:16, 24:], stored[16:, :24] = 255, (255, 0, 0), (0, 0, 255)
        path = self.save(stored, "turned.jpg", quality=95, subsampling=0, exif=b"Exif\0\0" + exif(orientation))
        actual = read_image(path).astype(int)
        np.testing.assert_allclose(actual, UPRIGHT[orientation](stored), atol=12)
        self.assertEqual(load_image(path, Resize())[1], UPRIGHT[orientation](stored).shape[:2])

    def test_16_bit_grey(self):
        content = png(2, 1, 16, GREY, [struct.pack(">HH", 0, 65535)], extra=chunk(b"eXIf", exif(6)))
        self.assert_pixels(content, [[[0] * 3], [[255] * 3]])

    @parameterized.parameters(0, 9, 65535)
    def test_unknown_orientation_is_upright(self, orientation):
        content = png(2, 1, 8, GREY, [[1, 2]], extra=chunk(b"eXIf", exif(orientation)))
        self.assert_pixels(content, [[[1] * 3, [2] * 3]])

    @parameterized.parameters(b"", b"garbage", b"MM\0\x2a\0\0\0\x08\0\x05", exif(6)[:14], b"II\x2a\0\xff\xff\xff\xff")
    def test_a_malformed_block_does_not_cost_the_picture(self, block):
        self.assert_pixels(png(2, 1, 8, GREY, [[1, 2]], extra=chunk(b"eXIf", block)), [[[1] * 3, [2] * 3]])

    @parameterized.parameters(
        (0x010F, 11, 1, 0),  # Make as a float
        (0x011A, 2, 4, 0),  # XResolution as text
        (0x0213, 4, 1, 70_000),  # YCbCrPositioning beyond its 16 bits
        (0x8825, 8, 1, 2**31),  # GPS directory at a negative offset
    )
    def test_a_malformed_neighbour_does_not_cost_the_picture(self, *entry):
        content = png(2, 1, 8, GREY, [[1, 2]], extra=chunk(b"eXIf", exif(6, entry)))
        self.assert_pixels(content, [[[1] * 3], [[2] * 3]])


class RefusalTest(PictureTest):
    def test_missing(self):
        self.assert_refused(self.folder / "none.jpg", "no such file")

    def test_directory(self):
        self.assert_refused(self.folder, "cannot be read as a picture")

    @parameterized.parameters(b"", b"a shopping list\n", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM")
    def test_no_picture(self, content):
        self.assert_refused(self.save(content, "text.jpg"), "cannot be read as a picture")

    @parameterized.parameters(0.2, 0.5, 0.8, 0.95)
    def test_truncated_jpeg(self, share):
        pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
        path = self.save(pixels, "cut.jpg")
        content = path.read_bytes()
        path.write_bytes(content[: int(share * len(content))])
        self.assert_refused(path, "cannot be read as a picture")

    def test_truncated_png(self):
        content = png(64, 64, 8, GREY, np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8))
        self.assert_refused(self.save(content[: len(content) // 2]), "cannot be read as a picture")

    def test_the_limit_itself_is_decoded(self):
        path = self.save(png(10, 10, 8, GREY, [[5] * 10] * 10))
        with mock.patch.object(decoding, "MAX_PIXELS", 100):
            self.assertEqual(read_image(path).shape, (10, 10, 3))

    def test_beyond_the_limit_is_not_decoded(self):
        path = self.save(png(10, 10, 8, GREY, []))  # truncated, which decoding would report
        with mock.patch.object(decoding, "MAX_PIXELS", 99):
            self.assert_refused(path, "10 x 10 pixels", "99")

    @parameterized.parameters((100_000, 100_000), (2**14, 2**14 + 1), (2**28 + 1, 1))
    def test_enormous(self, width, height):
        self.assert_refused(self.save(png(width, height, 8, RGB, [])), f"more than the {decoding.MAX_PIXELS}")

    def test_pillows_own_limit_does_not_come_first(self):
        side = math.isqrt(decoding.MAX_PIXELS)  # Pillow's: 178,956,970 pixels
        with self.assertWarns(Image.DecompressionBombWarning), self.assertRaisesRegex(ImageError, "truncated"):
            read_image(self.save(png(side, side, 1, GREY, [])))

    def test_threads_leave_the_warning_filters_alone(self):
        """Overlaps two reads, of which the first to start is also the first to end."""
        path = self.save(png(1, 1, 8, GREY, [[1]]))
        opened = {"first": threading.Event(), "second": threading.Event()}
        release = {"first": threading.Event(), "second": threading.Event()}
        real_open = Image.open

        def waiting_open(*args):
            name = threading.current_thread().name
            opened[name].set()
            release[name].wait(2)
            return real_open(*args)

        filters_before = list(warnings.filters)
        with warnings.catch_warnings(), mock.patch.object(Image, "open", waiting_open):
            threads = {name: threading.Thread(target=read_image, args=(path,), name=name) for name in opened}
            for name in ("first", "second"):
                threads[name].start()
                opened[name].wait(2)
            for name in ("first", "second"):
                release[name].set()
                threads[name].join(10)
            filters_after = list(warnings.filters)
        self.assertEqual(filters_before, filters_after)


class FuzzTest(PictureTest):
    """This test checks that files of any bytes give an array or raise ImageError."""

    def check(self, content, name):
        path = self.save(content, name)
        with mock.patch.object(decoding, "MAX_PIXELS", 2**20):
            try:
                actual = read_image(path)
            except ImageError as error:
                self.assertStartsWith(str(error), f"{path}: ")
            else:
                self.assertEqual((actual.dtype, actual.ndim, actual.shape[2]), (np.uint8, 3, 3))

    @settings(deadline=None, max_examples=60)
    @given(
        st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM", b"II*\0"]),
        st.binary(max_size=99),
    )
    def test_random_bytes(self, start, rest):
        self.check(start + rest, "random.jpg")

    @settings(deadline=None, max_examples=100)
    @given(
        st.sampled_from(["png", "jpg", "gif", "webp", "tiff", "bmp"]),
        st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=8),
        st.integers(0, 40),
    )
    def test_mutations(self, suffix, changes, cut):
        pixels = np.add.outer(np.arange(16) * 9, np.arange(16) * 5).astype(np.uint8)
        content = bytearray(self.save(np.stack([pixels] * 3, axis=2), f"valid.{suffix}").read_bytes())
        for position, value in changes:
            content[position % len(content)] = value
        self.check(bytes(content[: len(content) - cut]), f"mutated.{suffix}")


if __name__ == "__main__":
    absltest.main()
