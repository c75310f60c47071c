"""A whole index encoded by three nodes of a Ray cluster on this machine, some of which are lost."""

import dataclasses
import pathlib
import socket
import tempfile
import threading
from unittest import mock

import numpy as np
from absl.testing import absltest

from cwcf_jax import networks
from cwcf_jax.index import Index, Searcher, encoding
from tests.support import indexes, packages, servers, thin
from tests.support.slow import cases, slow


class RayWorkersTest(indexes.IndexCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        packages.package("ray")
        folder = pathlib.Path(cls.enterClassContext(tempfile.TemporaryDirectory()))
        known = thin.save(folder / "weights.npz", networks.get("squeezenet1_1"))  # Ray's workers register no network
        cls.config = dataclasses.replace(indexes.CONFIG, network="squeezenet1_1", weights=str(known))
        cls.client = cls.enterClassContext(servers.s3_client())
        cls.cluster = cls.enterClassContext(servers.ray_cluster(nodes=cases(2, 3)))

    def inside(self, index):
        """The same folder's index made by this process, in a folder."""
        place = pathlib.Path(self.create_tempdir().full_path)
        expected = Index.create(self.root, dataclasses.replace(index.config, store=""), folder=place)
        expected.update()
        return expected

    def test_as_by_this_process(self):
        self.draw(*range(70))
        (self.root / "broken.png").write_bytes(b"no picture")
        index = Index.create(self.root, self.config)
        counts = []
        with mock.patch.object(encoding, "write_maps", side_effect=AssertionError("not by this process")):
            found = index.update(lambda what, done, total: counts.append((what, done, total)), ray=self.cluster.address)
        self.assertEqual(dataclasses.replace(found, refused=()), dataclasses.replace(indexes.NOTHING, added=70))
        self.assertIn("broken.png: cannot be read as a picture", found.refused[0])
        self.assertEqual(counts[-1], ("encoding", 70, 70))
        (self.root / "broken.png").unlink()
        expected = self.inside(index)
        indexes.assert_same(self, index, expected)
        np.testing.assert_allclose(index.snapshot().descriptors, expected.snapshot().descriptors, atol=1e-6)

    @slow
    def test_pictures_in_a_bucket(self):
        self.draw(*range(12))
        address = "s3://bucket/photographs"
        for path in self.root.iterdir():
            self.client.upload_file(str(path), "bucket", f"photographs/{path.name}")
        place = pathlib.Path(self.create_tempdir().full_path) / "index"
        index = Index.create(address, dataclasses.replace(self.config, store="s3://bucket/index"), folder=place)
        with mock.patch.object(encoding, "write_maps", side_effect=AssertionError("not by this process")):
            found = index.update(ray=self.cluster.address)
        self.assertEqual(found, dataclasses.replace(indexes.NOTHING, added=12))
        expected = self.inside(index).snapshot()
        self.assertEqual(self.paths(index), [entry.path for entry in expected.entries])
        np.testing.assert_allclose(index.snapshot().descriptors, expected.descriptors, atol=1e-6)

    def test_no_cluster_is_said_and_nothing_lost(self):
        packages.package("ray").shutdown()  # this process is in one, and would stay there
        index = self.make(0)
        self.draw(1)
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))  # nobody listens
            address = f"127.0.0.1:{taken.getsockname()[1]}"
            with self.assertRaisesRegex(ConnectionError, f"no Ray cluster answers at {address}"):
                index.update(ray=address)
        self.assert_update(index.update(), added=1, unchanged=1)

    @slow
    def test_nodes_that_are_lost_lose_nothing(self):
        self.draw(*range(90))
        index = Index.create(self.root, dataclasses.replace(self.config, store="s3://bucket/lost"))
        killed, random = [], np.random.default_rng(0)

        def count(what, done, total):
            del total
            if what == "encoding" and len(killed) < 3 and done > 20 * len(killed):
                killed.append(done)
                thread = threading.Timer(random.uniform(0, 0.5), self.cluster.replace_node)
                self.addCleanup(thread.join)
                thread.start()

        found = index.update(count, ray=self.cluster.address)
        self.assertEqual(found, dataclasses.replace(indexes.NOTHING, added=90))
        self.assertLen(killed, 3)
        self.assertLess(sum(file.stat().st_size for file in index.folder.rglob("*")), 100_000)  # the store has the rest
        indexes.assert_same(self, index, self.inside(index))
        self.check_changes(index)

    def check_changes(self, index):
        (self.root / "3.png").rename(self.root / "moved.png")
        (self.root / "4.png").unlink()
        self.draw(100)
        found = index.update(ray=self.cluster.address)
        self.assertEqual(found, dataclasses.replace(indexes.NOTHING, added=1, moved=1, removed=1, unchanged=88))
        indexes.assert_whole(self, index)
        index.rebuild(refit=True, ray=self.cluster.address)  # as an index that begins with these pictures
        self.assertEqual(index.update(), dataclasses.replace(indexes.NOTHING, unchanged=90))
        indexes.assert_same(self, Index(self.root), self.inside(index))
        searcher = index.searcher(ray=self.cluster.address)
        query = searcher.describe(searcher.prepare_indexed("moved.png"))
        self.assertEqual(searcher.search(query), Searcher(index).search(query))


if __name__ == "__main__":
    absltest.main()
