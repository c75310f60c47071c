"""This module makes small class-vector stores for the tests of reading and writing."""

import pathlib

import numpy as np
from absl.testing import parameterized

from cwcf_jax.store import ClassVectorWriter, StoreConfig

FINGERPRINT = {"weights": "abc", "protocol": "paper", "whitening": "123"}
CLASSES = (1, 4, 5, 9)
DIM, SHARD_IMAGES = 6, 8


def make(count, *, dtype="int8", seed=0):
    random = np.random.default_rng(seed)
    shape = count, len(CLASSES), DIM
    if dtype == "float16":
        return (random.normal(size=shape).astype(np.float16),)
    return random.integers(-127, 128, shape, dtype=np.int8), random.random(shape[:2], dtype=np.float32)


def contents(folder):
    files = (path for path in folder.rglob("*") if path.is_file() and not path.name.endswith("lock"))
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def read_all(store, positions):
    """Reads all shards; returns values [images, n, dim], and scales [images, n] if the store has scales."""
    values, scales = [], []
    for images, block in store.read(positions):
        count = images.stop - images.start
        values.append(np.asarray(block.values)[block.positions, :count].swapaxes(0, 1))
        if block.scales is not None:
            scales.append(np.asarray(block.scales)[block.positions, :count].T)
    return (np.concatenate(values), np.concatenate(scales)) if scales else (np.concatenate(values),)


class StoreCase(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(self.create_tempdir().full_path) / "deep" / "store"

    def open(self, fingerprint=FINGERPRINT, **changes):
        layout = {"classes": CLASSES, "dim": DIM, "dtype": "int8", "fragment": SHARD_IMAGES} | changes
        return ClassVectorWriter(self.folder, fingerprint, StoreConfig(**layout))

    def fill(self, count, **changes):
        vectors = make(count, dtype=changes.get("dtype", "int8"))
        with self.open(**changes) as writer:
            writer.append(*vectors)
        return vectors
