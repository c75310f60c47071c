"""This module makes four small pictures with queries, and a tiny network."""

import functools
import pathlib

import numpy as np
from absl.testing import parameterized
from PIL import Image

import cwcf_jax
from cwcf_jax.extraction import (
    fill_store,
    fingerprint_files,
    open_store,
)
from cwcf_jax.images import BenchmarkQuery, ImageSet
from tests.training import tiny


@functools.cache
def tiny_model(**options):
    network = tiny.network(num_labels=10)
    return cwcf_jax.load(network, network.initialize(0), **options)


class TinyCase(parameterized.TestCase):
    """A `TinyCase` has four small pictures as images, a fifth picture outside the dataset, and a tiny network."""

    SHAPES = ((70, 90), (90, 70), (64, 80), (75, 75), (60, 100))
    BOXES = ((10.5, 20.0, 61.0, 58.9), (0.0, 0.0, 41.0, 90.0), (33.0, 7.0, 75.0, 60.0))

    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(self.create_tempdir().full_path)
        random = np.random.default_rng(0)
        self.pictures = [random.integers(0, 256, (*shape, 3), np.uint8) for shape in self.SHAPES]
        paths = [self.folder / f"{i}.png" for i in range(5)]
        for picture, path in zip(self.pictures, paths, strict=True):
            Image.fromarray(picture).save(path)
        no_junk = frozenset()
        self.queries = (
            BenchmarkQuery("a", 0, self.BOXES[0], frozenset({1}), no_junk),
            BenchmarkQuery("b", 1, self.BOXES[1], frozenset({0}), no_junk),
            BenchmarkQuery("elsewhere", None, self.BOXES[2], frozenset({3}), no_junk, picture=paths[4]),
        )
        self.query_pictures = [self.pictures[0], self.pictures[1], self.pictures[4]]
        names = tuple(path.name for path in paths[:4])
        self.images = ImageSet("toy", names, tuple(paths[:4]), self.queries)
        self.finished = 0

    def progress(self, count):
        self.finished += count

    def fill(self, extraction, *, model=None, images=None, name="store", weights="w", queries=True):
        model, images = model or tiny_model(), images or self.images
        files = fingerprint_files(images)
        store = open_store(self.folder / name, model, images, extraction, weights=weights, files=files, queries=queries)
        self.addCleanup(store.close)
        return store, fill_store(store, model, images, extraction, queries=queries, progress=self.progress)

    def assert_row(self, store, row, expected):
        """Asserts that a row equals ``expected``, the `encoder.PooledFeatures` of one image."""
        for name in ("sums", "channel_weights", "class_sums"):
            actual, value = getattr(store, name)[row], np.asarray(getattr(expected, name)[0])
            np.testing.assert_allclose(actual, value, rtol=1e-4, atol=1e-4 * np.abs(value).max())
