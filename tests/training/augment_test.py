import numpy as np
from absl.testing import absltest, parameterized

from cwcf_jax.training.augment import AugmentationConfig, augment, center_crop

RAMP = (np.indices((40, 60, 3)).sum(axis=0) * 2).astype(np.uint8)


def varied(seed, image=RAMP, **changes):
    return augment(image, np.random.default_rng(seed), AugmentationConfig(16, **changes))


class AugmentTest(parameterized.TestCase):
    def test_is_a_function_of_the_generator(self):
        np.testing.assert_array_equal(varied(3), varied(3))
        self.assertGreater(len({varied(seed).tobytes() for seed in range(8)}), 7)

    @parameterized.parameters((1, 1), (1, 50), (50, 1), (7, 9), (200, 300))
    def test_any_picture_becomes_a_square_of_bytes(self, height, width):
        image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
        for seed in range(5):
            for result in (varied(seed, image), center_crop(image, 16)):
                self.assertEqual((result.shape, result.dtype), ((16, 16, 3), np.uint8))

    def test_crops_have_the_area_and_aspect_asked_for(self):
        # The grey value of the ramp rises by 1 per pixel, so that its range in the result tells the size of the crop.
        grey_row = np.arange(240, dtype=np.uint8)[None, :, None]
        ramp = np.broadcast_to(grey_row, (240, 240, 3))
        areas, aspects = [], []
        for seed in range(200):
            rows = varied(seed, ramp.transpose(1, 0, 2), scale=(0.25, 0.5), flip=False, jitter=0.0)[..., 0].astype(
                float
            )
            columns = varied(seed, ramp, scale=(0.25, 0.5), flip=False, jitter=0.0)[..., 0].astype(float)
            height, width = np.ptp(rows) / 15 * 16, np.ptp(columns) / 15 * 16
            areas.append(height * width / 240**2)
            aspects.append(width / height)
        self.assertBetween(min(areas), 0.24, 0.28)
        self.assertBetween(max(areas), 0.47, 0.52)
        self.assertBetween(min(aspects), 0.73, 0.8)
        self.assertBetween(max(aspects), 1.25, 1.37)

    def test_flips_half_of_the_pictures(self):
        ramp = np.broadcast_to(np.arange(64, dtype=np.uint8)[None, :, None], (64, 64, 3))
        falling = [int(a[0, 0, 0]) > int(a[0, -1, 0]) for a in (varied(s, ramp, jitter=0.0) for s in range(200))]
        self.assertBetween(sum(falling), 75, 125)
        unflipped = [varied(s, ramp, jitter=0.0, flip=False) for s in range(20)]
        self.assertTrue(all(a[0, 0, 0] < a[0, -1, 0] for a in unflipped))

    def test_colours_change_as_documented(self):
        # A flat grey picture has neither contrast nor saturation: only brightness can change it.
        values = [int(varied(s, np.full((8, 8, 3), 100, np.uint8), jitter=0.2)[0, 0, 0]) for s in range(200)]
        self.assertBetween(min(values), 80, 84)
        self.assertBetween(max(values), 116, 120)
        self.assertEqual(int(varied(0, np.full((8, 8, 3), 100, np.uint8), jitter=0.0)[0, 0, 0]), 100)

    def test_center_crop_is_the_middle(self):
        image = np.zeros((100, 200, 3), np.uint8)
        image[:, 53:147] = 255  # the crop has columns 56.25 to 143.75; the filter reaches 1.75 further
        image[:4] = 0  # the crop begins at row 6.25
        self.assertEqual(center_crop(image, 25).min(), 255)
        image[:10] = 0
        self.assertLess(center_crop(image, 25)[0].max(), 255)
        self.assertEqual(center_crop(image, 25)[3:].min(), 255)


if __name__ == "__main__":
    absltest.main()
