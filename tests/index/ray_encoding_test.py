"""These tests encode an index on a Ray cluster on this machine, and kill some of its nodes."""

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


class RayEncodingTest(indexes.IndexCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        packages.package("ray")
        folder = pathlib.Path(cls.enterClassContext(tempfile.TemporaryDirectory()))
        weights = thin.save(
            folder / "weights.npz", networks.get("squeezenet1_1")
        )  # Ray's processes do not know the thin network
        cls.config = dataclasses.replace(indexes.CONFIG, network="squeezenet1_1", weights=str(weights))
        cls.client = cls.enterClassContext(servers.s3_client())
        cls.cluster = cls.enterClassContext(servers.ray_cluster(nodes=cases(2, 3)))

    def create_locally(self, index):
        """Creates an index of the same pictures by this process, in a local folder."""
        folder = pathlib.Path(self.create_tempdir().full_path)
        expected = Index.create(self.root, dataclasses.replace(index.config, store=""), folder=folder)
        expected.update()
        return expected

    def test_same_as_this_process(self):
        self.draw(*range(70))
        (self.root / "broken.png").write_bytes(b"no picture")
        index = Index.create(self.root, self.config)
        calls = []
        with mock.patch.object(encoding, "write_maps", side_effect=AssertionError("not by this process")):
            update = index.update(lambda *arguments: calls.append(arguments), ray=self.cluster.address)
        self.assertEqual(dataclasses.replace(update, refused=()), dataclasses.replace(indexes.NOTHING, added=70))
        self.assertIn("broken.png: cannot be read as a picture", update.refused[0])
        self.assertEqual(calls[-1], ("encoding", 70, 70))
        (self.root / "broken.png").unlink()
        expected = self.create_locally(index)
        indexes.assert_same(self, index, expected)
        np.testing.assert_allclose(index.snapshot().descriptors, expected.snapshot().descriptors, atol=1e-6)

    @slow
    def test_pictures_in_a_bucket(self):
        self.draw(*range(12))
        address = "s3://bucket/photographs"
        for path in self.root.iterdir():
            self.client.upload_file(str(path), "bucket", f"photographs/{path.name}")
        folder = pathlib.Path(self.create_tempdir().full_path) / "index"
        index = Index.create(address, dataclasses.replace(self.config, store="s3://bucket/index"), folder=folder)
        with mock.patch.object(encoding, "write_maps", side_effect=AssertionError("not by this process")):
            update = index.update(ray=self.cluster.address)
        self.assertEqual(update, dataclasses.replace(indexes.NOTHING, added=12))
        expected = self.create_locally(index).snapshot()
        self.assertEqual(self.paths(index), [entry.path for entry in expected.entries])
        np.testing.assert_allclose(index.snapshot().descriptors, expected.descriptors, atol=1e-6)

    def test_no_cluster(self):
        packages.package("ray").shutdown()  # otherwise this process stays in the cluster of another test
        index = self.make(0)
        self.draw(1)
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))  # no process listens at this port
            address = f"127.0.0.1:{unused.getsockname()[1]}"
            with self.assertRaisesRegex(ConnectionError, f"no Ray cluster answers at {address}"):
                index.update(ray=address)
        self.assert_update(index.update(), added=1, unchanged=1)

    @slow
    def test_killed_nodes(self):
        self.draw(*range(90))
        index = Index.create(self.root, dataclasses.replace(self.config, store="s3://bucket/lost"))
        killed, random = [], np.random.default_rng(0)

        def kill_nodes(step, done, total):
            del total
            if step == "encoding" and len(killed) < 3 and done > 20 * len(killed):
                killed.append(done)
                thread = threading.Timer(random.uniform(0, 0.5), self.cluster.replace_node)
                self.addCleanup(thread.join)
                thread.start()

        update = index.update(kill_nodes, ray=self.cluster.address)
        self.assertEqual(update, dataclasses.replace(indexes.NOTHING, added=90))
        self.assertLen(killed, 3)
        self.assertLess(
            sum(file.stat().st_size for file in index.folder.rglob("*")), 100_000
        )  # all other files are in the store
        indexes.assert_same(self, index, self.create_locally(index))
        self.check_changes(index)

    def check_changes(self, index):
        (self.root / "3.png").rename(self.root / "moved.png")
        (self.root / "4.png").unlink()
        self.draw(100)
        update = index.update(ray=self.cluster.address)
        self.assertEqual(update, dataclasses.replace(indexes.NOTHING, added=1, moved=1, removed=1, unchanged=88))
        indexes.assert_whole(self, index)
        index.rebuild(refit=True, ray=self.cluster.address)  # equals a new index of these pictures
        self.assertEqual(index.update(), dataclasses.replace(indexes.NOTHING, unchanged=90))
        indexes.assert_same(self, Index(self.root), self.create_locally(index))
        searcher = index.searcher(ray=self.cluster.address)
        query = searcher.describe(searcher.prepare_indexed("moved.png"))
        self.assertEqual(searcher.search(query), Searcher(index).search(query))


if __name__ == "__main__":
    absltest.main()
