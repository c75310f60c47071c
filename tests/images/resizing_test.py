"""This test resizes and crops pictures."""

from unittest import mock

import numpy as np
from absl.testing import absltest, parameterized
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cwcf_jax.images import decoding
from cwcf_jax.images.decoding import ImageError, Resize, load_image
from tests.images.pictures import GREY, PictureTest, chunk, exif, png


class ResizeTest(PictureTest):
    @settings(deadline=None)
    @given(st.sampled_from(["min", "max", "multiple"]), st.integers(1, 99_999))
    def test_one_side_parses_and_prints(self, kind, side):
        self.assertEqual(Resize.parse(f"{kind}{side}"), Resize(kind, side))
        self.assertEqual(str(Resize(kind, side)), f"{kind}{side}")

    @settings(deadline=None)
    @given(st.integers(1, 99_999), st.integers(1, 99_999))
    def test_squash_parses_and_prints(self, width, height):
        self.assertEqual(Resize.parse(f"squash{width}x{height}"), Resize("squash", width, height))
        self.assertEqual(str(Resize("squash", width, height)), f"squash{width}x{height}")

    @parameterized.parameters("none@0.7", "max640@1.25", "squash8x6@0.333333", "min720@100")
    def test_scales_parse_and_print(self, text):
        self.assertEqual(str(Resize.parse(text)), text)
        self.assertEqual(Resize.parse(text), Resize.parse(text.split("@")[0]).scaled(float(text.split("@")[1])))

    def test_a_scale_of_one_is_none(self):
        self.assertEqual(Resize.parse("min720@1"), Resize("min", 720))
        self.assertEqual(Resize("min", 720).scaled(0.5).scaled(0.5), Resize("min", 720, scale=0.25))

    @parameterized.parameters("0", "0.005", "101")
    def test_scales_that_cannot_be(self, scale):
        with self.assertRaisesRegex(ValueError, f"scaled by 0.01 to 100, not {scale}"):
            Resize.parse(f"none@{scale}")

    def test_none_parses_and_prints(self):
        self.assertEqual(Resize.parse("none"), Resize())
        self.assertEqual(str(Resize()), "none")

    @parameterized.parameters(
        "", "None", "720", "min", "min0", "min-720", "min0720", "min720x480", "min720px", " min720", "min720\n",
        "Min720", "max1e3", "max100000", "squash", "squash1024", "squash1024x", "squash1024x0", "squash0x720",
        "squash1024x720x3", "multiple", "multiple0", "multiple16x16", "multiples16", "none@", "@0.7", "none@-1",
        "none@.7", "none@1e1", "none0.7",
    )  # fmt: skip
    def test_anything_else_is_refused(self, text):
        with self.assertRaisesRegex(ValueError, "none, min720, max1024, squash1024x720 or multiple16"):
            Resize.parse(text)

    @parameterized.parameters(
        ("none", (480, 640), (480, 640)),
        ("min720", (480, 640), (720, 960)),  # 720 / 480 = 1.5
        ("min720", (640, 480), (960, 720)),
        ("min240", (480, 640), (240, 320)),
        ("max1024", (480, 640), (768, 1024)),  # 1024 / 640 = 1.6
        ("max1024", (640, 480), (1024, 768)),
        ("max320", (480, 640), (240, 320)),
        ("max100", (300, 200), (100, 67)),  # 200 / 3 = 66.67
        ("min100", (300, 200), (150, 100)),
        ("max100", (1, 10_000), (1, 100)),  # 0.01 rows become one row
        ("max100", (10_000, 1), (100, 1)),
        ("squash1024x720", (480, 640), (720, 1024)),
        ("squash1024x720", (640, 480), (1024, 720)),
        ("squash720x1024", (480, 640), (720, 1024)),
        ("squash720x1024", (640, 480), (1024, 720)),
        ("squash1024x720", (500, 500), (720, 1024)),  # a square counts as landscape
        ("squash8x8", (480, 640), (8, 8)),
        ("multiple16", (480, 640), (480, 640)),
        ("multiple16", (479, 655), (464, 640)),  # 29 * 16 and 40 * 16: rounded down
        ("multiple16", (31, 47), (16, 32)),
        ("multiple16", (15, 1), (16, 16)),  # at least one step
        ("multiple1", (31, 47), (31, 47)),
        ("none@0.7", (480, 641), (336, 449)),  # 448.7
        ("max640@0.7", (1000, 2000), (224, 448)),
        ("squash1024x720@1.5", (480, 640), (1080, 1536)),
        ("none@0.01", (40, 30), (1, 1)),
    )
    def test_target(self, text, shape, expected):
        self.assertEqual(Resize.parse(text).target(*shape), expected)

    @settings(deadline=None)
    @given(st.integers(1, 4000), st.integers(1, 4000), st.integers(1, 2000), st.sampled_from(["min", "max"]))
    def test_one_side_is_exact_and_the_other_within_half_a_pixel(self, height, width, side, kind):
        new_height, new_width = Resize(kind, side).target(height, width)
        self.assertEqual({"min": min, "max": max}[kind](new_height, new_width), side)
        scale = side / {"min": min, "max": max}[kind](height, width)
        for new, exact in ((new_height, height * scale), (new_width, width * scale)):
            self.assertLessEqual(abs(new - max(exact, 1)), 0.5 + 1e-9)

    @settings(deadline=None)
    @given(st.integers(1, 4000), st.integers(1, 4000), st.integers(1, 64))
    def test_multiples(self, height, width, step):
        for side, actual in zip((height, width), Resize("multiple", step).target(height, width), strict=True):
            self.assertEqual(actual % step, 0)
            self.assertTrue(side - step < actual <= side or actual == step > side)

    @parameterized.parameters(
        "min20", "max20", "min90", "squash30x50", "squash31x17", "multiple16", "none@0.7", "min20@1.5"
    )
    def test_bilinear(self, text):
        image = np.random.default_rng(2).integers(0, 256, (40, 60, 3), np.uint8)
        resize = Resize.parse(text)
        height, width = resize.target(40, 60)
        actual = resize(image)
        self.assertEqual(actual.dtype, np.uint8)
        np.testing.assert_array_equal(
            actual, np.asarray(Image.fromarray(image).resize((width, height), Image.BILINEAR))
        )

    def test_bilinear_by_hand(self):
        # Halving widens the triangle filter to two pixels on each side. The two nearest pixels have weight .75, the
        # next .25, pixels outside none. (.75 * 0 + .75 * 80 + .25 * 160) / 1.75 = 57.1; mirrored 182.9.
        image = np.repeat(np.array([[0, 80, 160, 240]], np.uint8)[:, :, None], 3, axis=2)
        np.testing.assert_array_equal(Resize("max", 2)(image), [[[57] * 3, [183] * 3]])

    def test_none_and_the_same_size_change_nothing(self):
        image = np.random.default_rng(3).integers(0, 256, (6, 8, 3), np.uint8)
        for text in ("none", "min6", "max8", "squash8x6", "multiple2"):
            np.testing.assert_array_equal(Resize.parse(text)(image), image)

    @parameterized.parameters("none", "min16", "squash16x16")
    def test_too_large_a_result(self, text):
        image = np.zeros((16, 16, 3), np.uint8)
        with mock.patch.object(decoding, "MAX_RESIZED_PIXELS", 256):
            self.assertEqual(Resize.parse(text)(image).shape, (16, 16, 3))
        with (
            mock.patch.object(decoding, "MAX_RESIZED_PIXELS", 255),
            self.assertRaisesRegex(ValueError, f"16 x 16 pixels under resize {text} make 16 x 16, more than the 255"),
        ):
            Resize.parse(text)(image)

    def test_a_huge_result_is_refused_before_it_is_made(self):
        with self.assertRaisesRegex(ValueError, "3 x 1 pixels under resize squash99999x88888 make 99999 x 88888"):
            Resize.parse("squash99999x88888")(np.zeros((1, 3, 3), np.uint8))


class LoadImageTest(PictureTest):
    def test_resized_and_the_original_size(self):
        pixels = np.random.default_rng(4).integers(0, 256, (20, 30, 3), np.uint8)
        actual, original = load_image(self.save(pixels), Resize("max", 15))
        np.testing.assert_array_equal(actual, Resize("max", 15)(pixels))
        self.assertEqual(actual.shape, (10, 15, 3))
        self.assertEqual(original, (20, 30))

    def test_orientation_comes_before_the_resize(self):
        content = png(4, 2, 8, GREY, [[10, 20, 30, 40]] * 2, extra=chunk(b"eXIf", exif(6)))
        actual, original = load_image(self.save(content), Resize("squash", 8, 2))
        self.assertEqual(original, (4, 2))
        self.assertEqual(actual.shape, (8, 2, 3))

    @parameterized.parameters(
        # Boxes of a picture of 20 rows and 30 columns; first and last row, first and last column of the crop.
        ((0, 0, 30, 20), (0, 20, 0, 30)),
        ((3, 4, 17, 9), (4, 9, 3, 17)),
        ((3.9, 4.9, 17.9, 9.9), (4, 9, 3, 17)),  # each side is rounded down
        ((-5, -0.5, 10, 99), (0, 20, 0, 10)),
        ((7, 8, 7, 8), (8, 9, 7, 8)),  # at least one pixel
        ((7, 8, 3, 2), (8, 9, 7, 8)),
        ((40, 50, 60, 70), (19, 20, 29, 30)),
        ((-9, -9, -2, -2), (0, 1, 0, 1)),
    )
    def test_crop(self, box, expected):
        pixels = np.random.default_rng(4).integers(0, 256, (20, 30, 3), np.uint8)
        top, bottom, left, right = expected
        actual, original = load_image(self.save(pixels), Resize(), tuple(map(float, box)))
        np.testing.assert_array_equal(actual, pixels[top:bottom, left:right])
        self.assertEqual(original, (bottom - top, right - left))

    def test_crop_comes_before_the_resize_and_after_the_orientation(self):
        pixels = np.random.default_rng(4).integers(0, 256, (50, 70, 3), np.uint8)
        actual, original = load_image(self.save(pixels), Resize("multiple", 16), (3.0, 4.0, 60.0, 40.0))
        np.testing.assert_array_equal(actual, Resize("squash", 48, 32)(pixels[4:40, 3:60]))
        self.assertEqual(original, (36, 57))
        content = png(4, 2, 8, GREY, [[10, 20, 30, 40], [50, 60, 70, 80]], extra=chunk(b"eXIf", exif(6)))
        actual, original = load_image(self.save(content), Resize(), (0.0, 1.0, 2.0, 3.0))  # 4 rows, 2 columns
        self.assertEqual(original, (2, 2))
        np.testing.assert_array_equal(actual[..., 0], [[60, 20], [70, 30]])

    def test_too_large_names_the_file(self):
        path = self.save(png(3, 1, 8, GREY, [[1, 2, 3]]))
        with self.assertRaises(ImageError) as caught:
            load_image(path, Resize("min", 10_000))
        self.assertStartsWith(str(caught.exception), f"{path}: 3 x 1 pixels under resize min10000 make 30000 x 10000")

    def test_unreadable_names_the_file(self):
        with self.assertRaisesRegex(ImageError, "none.png: no such file"):
            load_image(self.folder / "none.png", Resize())


if __name__ == "__main__":
    absltest.main()
