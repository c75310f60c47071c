"""This module makes a small store of pooled rows, for the tests of its rows and of its files."""

import pathlib

import numpy as np
from absl.testing import parameterized

from cwcf_jax.store import PooledStore

LENGTH, CLASSES, DIM = 5, 7, 3
FINGERPRINT = {"weights": "abc123", "preprocessing": {"mean": [1.5, 2.0], "resize": "min720"}, "regions": None}
FIELDS = ("sums", "channel_weights", "class_sums", "logits")


def make_row(seed):
    random = np.random.default_rng(seed)
    shapes = {"sums": (DIM,), "channel_weights": (DIM,), "class_sums": (CLASSES, DIM), "logits": (CLASSES,)}
    return {name: random.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class StoreCase(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.root = pathlib.Path(self.create_tempdir().full_path)
        self.folder = self.root / "deep" / "store"

    def open(self, fingerprint=None, *, length=LENGTH, classes=CLASSES, dim=DIM):
        fingerprint = FINGERPRINT if fingerprint is None else fingerprint
        return PooledStore(self.folder, fingerprint, length=length, classes=classes, dim=dim)

    def fill(self, *indices):
        with self.open() as store:
            for index in indices:
                store.write(index, **make_row(index))

    def assert_row(self, store, index):
        for name, expected in make_row(index).items():
            np.testing.assert_array_equal(getattr(store, name)[index], expected)
