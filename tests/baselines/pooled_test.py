import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from cwcf_jax.baselines import pooled, rmac
from cwcf_jax.descriptors import WhiteningConfig
from tests.baselines import DIM, extractor, image, maps, region_maxima
from tests.support import oracles

SIZES = ((20, 26), (13, 32), (24, 9), (1, 1))
SHAPE = (24, 32)


def _batch():
    """Returns a batch of images with noise as padding, which must be ignored."""
    images = np.random.default_rng(9).integers(0, 256, (len(SIZES), *SHAPE, 3), np.uint8)
    for i, (height, width) in enumerate(SIZES):
        images[i, :height, :width] = image(i, height, width)
    return images, np.array(SIZES, np.int32)


def _pooled(features):
    """Computes the row of each field from maps without padding, in float64."""
    height, width, _ = features.shape
    y, x = np.mgrid[:height, :width]
    square = (x - (width - 1) / 2) ** 2 + (y - (height - 1) / 2) ** 2
    prior = np.exp(-square / (2 * (min(height, width) / 6) ** 2))
    total = features.sum(axis=2)
    share = np.sqrt(total / np.sqrt((total**2).sum()))
    return {
        "sum": features.sum(axis=(0, 1)),
        "max": features.max(axis=(0, 1)),
        "gem": (features**3).mean(axis=(0, 1)) ** (1 / 3),
        "spoc": (prior[..., None] * features).sum(axis=(0, 1)),
        "crow": oracles.channel_weights(features) * (share[..., None] * features).sum(axis=(0, 1)),
        "rmac": np.pad(region_maxima(features), ((0, 50 - len(region_maxima(features))), (0, 0))),
    }


class MethodsTest(absltest.TestCase):
    def test_dimensions_of_table_2(self):
        dims = {name: method.dim for name, method in pooled.POOLED.items()}
        self.assertEqual(dims, {"SPoC": 256, "uCroW": 256, "CroW": 512, "R-MAC": 512, "MAC": 512, "GeM": 512})

    def test_every_method_has_its_field(self):
        fields = pooled.pooled_fields(extractor())
        self.assertEqual(fields, dict.fromkeys(("sum", "max", "gem", "spoc", "crow"), (DIM,)) | {"rmac": (50, DIM)})
        self.assertEqual({method.field for method in pooled.POOLED.values()}, set(fields))


class PooledRowsTest(parameterized.TestCase):
    def test_padded_batch_against_float64_of_each_image(self):
        images, sizes = _batch()
        actual = pooled.pooled_rows(extractor(), images, sizes)
        for i, (height, width) in enumerate(SIZES):
            expected = _pooled(maps(images[i, :height, :width]))
            self.assertEqual(actual.keys(), expected.keys())
            for name, row in expected.items():
                tolerance = dict(rtol=1e-4, atol=1e-5 * np.abs(row).max())
                np.testing.assert_allclose(actual[name][i], row, err_msg=f"{name} of {SIZES[i]}", **tolerance)

    @parameterized.parameters(0, 2)
    def test_padding_is_ignored(self, i):
        images, sizes = _batch()
        height, width = SIZES[i]
        padded = pooled.pooled_rows(extractor(), images, sizes)
        unpadded = pooled.pooled_rows(extractor(), images[i : i + 1, :height, :width], sizes[i : i + 1])
        for name, rows in unpadded.items():
            np.testing.assert_allclose(padded[name][i], rows[0], rtol=1e-5, atol=1e-4, err_msg=name)

    def test_shapes_are_those_of_the_store(self):
        actual = pooled.pooled_rows(extractor(), *_batch())
        fields = pooled.pooled_fields(extractor())
        self.assertEqual({name: rows.shape for name, rows in actual.items()}, {n: (4, *s) for n, s in fields.items()})
        self.assertEqual({rows.dtype for rows in actual.values()}, {np.dtype(np.float32)})

    def test_constant_images_have_finite_rows(self):
        for grey in (0, 124, 255):
            images = np.full((1, 8, 8, 3), grey, np.uint8)
            all_rows = pooled.pooled_rows(extractor(), images, np.array([[8, 8]], np.int32))
            self.assertTrue(all(np.isfinite(rows).all() for rows in all_rows.values()))


def _regions(seed, images=5, dim=DIM):
    """Returns rows of regions as in a row store; the last image has no regions."""
    generator = np.random.default_rng(seed)
    rows = np.zeros((images, 7, dim), np.float32)
    for i in range(images - 1):
        rows[i, : 3 + i % 4] = generator.random((3 + i % 4, dim))
    return rows


class DescribeTest(parameterized.TestCase):
    def test_unit_vectors_are_the_nonzero_rows(self):
        rows = _regions(0)
        expected = [oracles.l2(row) for image in rows for row in image if row.any()]
        self.assertLen(expected, 3 + 4 + 5 + 6)
        np.testing.assert_allclose(pooled.unit_vectors(rows), expected, atol=1e-6)
        flat = rows[:, 0]
        np.testing.assert_allclose(pooled.unit_vectors(flat), [oracles.l2(row) for row in flat[:4]], atol=1e-6)

    @parameterized.parameters(True, False)
    def test_regions(self, whitened):
        rows, training = _regions(1), np.random.default_rng(2).random((60, DIM)) + 0.1
        whitening = WhiteningConfig(dim=4).fit(training, "toy") if whitened else None
        actual = np.asarray(pooled.describe(rows, whitening), np.float64)
        fitted = oracles.whitening(training, 4) if whitened else ()
        expected = [oracles.descriptor([row for row in regions if row.any()], *fitted) for regions in rows[:-1]]
        expected = np.stack([*expected, np.zeros_like(expected[0])])
        # The signs of directions are arbitrary; inner products of descriptors do not depend on the signs.
        np.testing.assert_allclose(actual @ actual.T, expected @ expected.T, atol=1e-5)
        np.testing.assert_allclose(np.abs(actual), np.abs(expected), atol=1e-4)
        self.assertFalse(actual[-1].any())

    def test_zero_rows_are_ignored(self):
        rows = _regions(3, images=2)[:1, :3]
        whitening = WhiteningConfig().fit(np.random.default_rng(2).random((60, DIM)), "toy")
        padded = np.concatenate([np.zeros_like(rows), rows, np.zeros((1, 40, DIM), np.float32)], axis=1)
        actual = pooled.describe(padded, whitening)
        np.testing.assert_allclose(actual, pooled.describe(rows, whitening), atol=1e-6)

    def test_single_vectors(self):
        rows, training = _regions(4)[:, 0], np.random.default_rng(2).random((60, DIM))
        whitening = WhiteningConfig(dim=3).fit(training, "toy")
        mean, projection = oracles.whitening(training, 3)
        expected = [oracles.l2((oracles.l2(row) - mean) @ projection) if row.any() else np.zeros(3) for row in rows]
        np.testing.assert_allclose(np.abs(pooled.describe(rows, whitening)), np.abs(expected), atol=1e-4)
        np.testing.assert_allclose(pooled.describe(rows, None)[0], oracles.l2(rows[0]), atol=1e-6)

    def test_more_images_than_one_batch(self):
        rows = np.random.default_rng(5).random((67, 3, DIM)).astype(np.float32)
        expected = [oracles.descriptor(regions) for regions in rows]
        np.testing.assert_allclose(pooled.describe(rows, None), expected, atol=1e-6)

    def test_rmac_of_an_image(self):
        """R-MAC from pixels to the descriptor agrees with float64."""
        pixels = image(7, 21, 30)
        rows = pooled.pooled_rows(extractor(), pixels[None], np.array([[21, 30]], np.int32))["rmac"]
        self.assertLess(np.any(rows[0] != 0, axis=1).sum(), rmac.MAX_REGIONS)
        expected = oracles.descriptor(region_maxima(maps(pixels)))
        np.testing.assert_allclose(pooled.describe(rows, None)[0], expected, atol=1e-5)


class PooledSearchTest(absltest.TestCase):
    def _search(self, query, images):
        """Returns a search of descriptors at these angles, in degrees, on the unit circle."""
        angles = np.radians(np.array([query, *images], np.float64))
        points = jnp.asarray(np.stack([np.cos(angles), np.sin(angles)], axis=1), jnp.float32)
        return pooled.PooledSearch(points[:1], points[1:])

    def test_by_cosine(self):
        self.assertEqual(self._search(0, [50, -10, 20, 170]).ranking(0).tolist(), [1, 2, 0, 3])

    def test_expansion_adds_the_best_images_to_the_query(self):
        # The query at 0 and the image at 20 sum to 10, which is nearer to -35 than to 60. The image alone is nearer 60.
        search = self._search(0, [20, 60, -35])
        self.assertEqual(search.ranking(0, expansion=1).tolist(), [0, 2, 1])
        # The sum of 0, 20 and -35 points to about -5: 20 is nearer than -35, and 60 is last.
        self.assertEqual(search.ranking(0, expansion=2).tolist(), [0, 2, 1])
        search = self._search(0, [20, 75, -40])
        self.assertEqual(search.ranking(0, expansion=3).tolist(), [0, 2, 1])


if __name__ == "__main__":
    absltest.main()
