"""A whole index encoded by three nodes of a Ray cluster on this machine, some of which are lost."""

import dataclasses
import pathlib
import threading
from unittest import mock

import numpy as np
from absl.testing import absltest

from cwcf_jax.collection import Index, encoding
from tests import collection, packages, servers


class RayCase(collection.IndexCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        packages.package("ray")
        cls.cluster = cls.enterClassContext(servers.ray_cluster(nodes=3))

    def inside(self, index):
        """The same folder's index made by this process."""
        place = pathlib.Path(self.create_tempdir().full_path)
        expected = Index.create(self.root, index.settings, folder=place)
        expected.update()
        return expected


class RayTest(RayCase):
    def test_as_by_this_process(self):
        self.draw(*range(70))
        (self.root / "broken.png").write_bytes(b"no picture")
        index = Index.create(self.root, collection.SETTINGS)
        counts = []
        with mock.patch.object(encoding, "keep_maps", side_effect=AssertionError("not by this process")):
            found = index.update(lambda what, done, total: counts.append((what, done, total)), ray=self.cluster.address)
        self.assertEqual(dataclasses.replace(found, refused=()), dataclasses.replace(collection.NOTHING, added=70))
        self.assertIn("broken.png: cannot be read as a picture", found.refused[0])
        self.assertEqual(counts[-1], ("encoding", 71, 71))
        collection.assert_same(self, index, self.inside(index))
        np.testing.assert_allclose(index.snapshot().descriptors, self.inside(index).snapshot().descriptors, atol=1e-6)

    def test_nodes_that_are_lost_lose_nothing(self):
        self.draw(*range(90))
        index = Index.create(self.root, collection.SETTINGS)
        killed, random = [], np.random.default_rng(0)

        def count(what, done, total):
            if what == "encoding" and len(killed) < 3 and done > 20 * len(killed):
                killed.append(done)
                thread = threading.Timer(random.uniform(0, 0.5), self.cluster.replace_node)
                self.addCleanup(thread.join)
                thread.start()

        found = index.update(count, ray=self.cluster.address)
        self.assertEqual(found, dataclasses.replace(collection.NOTHING, added=90))
        self.assertLen(killed, 3)
        collection.assert_same(self, index, self.inside(index))


if __name__ == "__main__":
    absltest.main()
