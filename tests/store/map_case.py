"""This module holds what tests of map stores share: maps drawn at random, and a store in a temporary folder."""

import pathlib

import numpy as np
from absl.testing import parameterized

from cwcf_jax.store import MapStore

LENGTH = 5
FINGERPRINT = {"weights": "abc", "preprocessing": {"resize": "min720"}}


def make_maps(seed, shape=(3, 4)):
    """Draws float16 maps of two layers with different shapes."""
    random = np.random.default_rng(seed)
    shapes = {"features": (*shape, 5), "cam_features": (shape[0] - 1, shape[1] - 2, 2)}
    return {name: random.normal(size=size).astype(np.float16) for name, size in shapes.items()}


class MapStoreCase(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(self.create_tempdir().full_path) / "deep" / "maps"

    def open(self, fingerprint=FINGERPRINT, **options):
        return MapStore.exclusive(self.folder, fingerprint, **options)

    def fill(self, *rows):
        with self.open() as store:
            for row in rows:
                store.write(row, **make_maps(row))

    def file(self, row):
        return self.folder / f"{row:07d}.npz"

    def assert_maps(self, store, row, seed=None):
        actual, expected = store.read(row), make_maps(row if seed is None else seed)
        self.assertEqual(actual.keys(), expected.keys())
        for name, values in expected.items():
            self.assertEqual(actual[name].dtype, np.float16)
            np.testing.assert_array_equal(actual[name], values)
