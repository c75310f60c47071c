"""These tests compare stores fill on a Ray cluster of two nodes on this machine with stores of this process."""

import contextlib
import dataclasses
import pathlib

import numpy as np
from absl.testing import absltest

import cwcf_jax
from cwcf_jax.extraction import ExtractionConfig, Filler, open_store
from cwcf_jax.images import BenchmarkQuery, ImageSet, Resize
from cwcf_jax.search import reranking
from cwcf_jax.store import MapStore
from tests.support import indexes, packages, servers

EXTRACTION = ExtractionConfig(Resize("max", 72))


class RayFillerTest(absltest.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        packages.package("ray")
        from cwcf_jax.extraction.ray_filling import RayFiller

        cluster = cls.enterClassContext(servers.ray_cluster(nodes=2))
        cls.cluster = cluster
        cls.model = cwcf_jax.load("thin_cam", indexes.WEIGHTS)
        cls.filler = RayFiller(cluster.address, cls.model)
        cls.addClassCleanup(cls.filler.close)

    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(self.create_tempdir().full_path)
        paths = [self.folder / f"{i}.png" for i in range(9)]
        for seed, path in enumerate(paths):
            indexes.draw(path, seed)
        queries = [
            BenchmarkQuery("inside", 1, (5.0, 5.0, 60.0, 38.0), frozenset({2}), frozenset()),
            BenchmarkQuery("outside", None, (0.0, 0.0, 50.0, 30.0), frozenset({3}), frozenset(), picture=paths[8]),
        ]
        self.images = ImageSet("drawn", tuple(path.name for path in paths[:8]), tuple(paths[:8]), tuple(queries))

    def fill(self, filler, name, *, queries=False):
        self.finished = 0
        store = open_store(
            self.folder / name, self.model, self.images, EXTRACTION, weights="w", files="f", queries=queries
        )
        self.addCleanup(store.close)
        return store, filler.fill_store(store, self.images, EXTRACTION, queries=queries, progress=self.count)

    def count(self, more):
        self.finished += more

    def test_rows_of_images_and_queries(self):
        for queries, length in (False, 8), (True, 2):
            remote, left_out = self.fill(self.filler, f"remote {queries}", queries=queries)
            self.assertEqual((left_out, self.finished), ([], length))
            local, _ = self.fill(Filler(self.model), f"local {queries}", queries=queries)
            self.assertTrue(remote.done.all())
            for name, expected in local.arrays.items():
                np.testing.assert_allclose(remote.arrays[name], expected, rtol=1e-6, atol=1e-6)

    def test_missing_rows_and_unreadable_pictures(self):
        content = self.images.paths[3].read_bytes()
        self.images.paths[3].write_bytes(content[:60])
        store, left_out = self.fill(self.filler, "store")
        self.assertLen(left_out, 1)
        self.assertIn(f"{self.images.paths[3]}: cannot be read as a picture", left_out[0])
        self.assertEqual((store.missing().tolist(), self.finished), ([3], 8))
        for path in self.images.paths:
            path.unlink()
        self.images.paths[3].write_bytes(content)
        self.finished = 0
        left_out = self.filler.fill_store(store, self.images, EXTRACTION, queries=False, progress=self.count)
        self.assertEqual((left_out, self.finished, store.missing().tolist()), ([], 8, []))

    def test_maps(self):
        stores = [MapStore(self.folder / name, dtype="float16") for name in ("remote", "local")]
        rows = np.array([6, 1, 4])
        for store, filler in zip(stores, (self.filler, Filler(self.model)), strict=True):
            left_out = filler.fill_maps(store, self.images, EXTRACTION, rows, progress=self.ignore)
            self.assertEqual((left_out, store.missing(range(8))), ([], [0, 2, 3, 5, 7]))
        (_, remote), (_, local) = (next(iter(reranking.map_batches(store.read, [4]))) for store in stores)
        for actual, expected in zip(remote, local, strict=True):
            np.testing.assert_allclose(actual, expected, atol=1e-5)

    def ignore(self, more):
        del more

    def test_relative_paths(self):
        """The actors have other working directories than this process."""
        self.images = dataclasses.replace(self.images, paths=tuple(map(pathlib.Path, self.images.names)))
        with contextlib.chdir(self.folder):
            _, left_out = self.fill(self.filler, "relative")
        self.assertEqual(left_out, [])


if __name__ == "__main__":
    absltest.main()
