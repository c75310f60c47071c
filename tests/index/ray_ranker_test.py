"""These tests search an index with actors of a Ray cluster on this machine, and kill some of them."""

import dataclasses
import importlib
import os
import pathlib
import signal
import tempfile
import threading
import time

import numpy as np
from absl.testing import absltest, parameterized

from cwcf_jax.index import QueryConfig, Searcher
from tests.support import indexes, packages, servers
from tests.support.slow import slow

COUNT = 150
"""The number of pictures, in three fragments."""

QUERY_CONFIGS = (
    QueryConfig(),
    QueryConfig("ona"),
    QueryConfig(rerank=7),
    QueryConfig("ona", rerank=9, expand=4),
    QueryConfig(expand=COUNT + 5),
    QueryConfig("ona", classes=("church", "dome")),
    QueryConfig.thorough(),
)


def process_id(actor):
    """Returns the process id of an actor; waits until the actor has started."""
    return packages.package("ray").get(actor.__ray_call__.remote(lambda _: os.getpid()))


class RayRankerTest(parameterized.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        packages.package("ray")
        cls.ray_ranker = importlib.import_module("cwcf_jax.index.ray_ranker")
        cls.cluster = cls.enterClassContext(servers.ray_cluster(nodes=4))
        cls.root = pathlib.Path(cls.enterClassContext(tempfile.TemporaryDirectory()))
        for copy in (11, 70, 120):  # pictures with equal scores, in the same and in different fragments
            indexes.draw(cls.root / f"copies/{copy}.png", 5)
        cls.index = indexes.make(cls.root, range(COUNT))
        cls.actors = cls.ray_ranker.start_actors(cls.cluster.address)

    def setUp(self):
        super().setUp()
        self.local_searcher = Searcher(self.index)
        self.searcher = Searcher(
            self.index, open_ranker=lambda paths: self.ray_ranker.RayRanker(paths, self.actors, 120.0)
        )
        self.query = self.local_searcher.describe(self.local_searcher.prepare_indexed("5.png"))

    def assert_same_as_local(self, searcher, query_config):
        expected = self.local_searcher.search(self.query, query_config, count=COUNT + 3)
        self.assert_same_hits(searcher.search(self.query, query_config, count=COUNT + 3), expected, query_config)
        page = searcher.search(self.query, query_config, count=9, first=20)
        self.assert_same_hits(page, expected[20:29], query_config)

    def assert_same_hits(self, hits, expected, query_config):
        """Asserts equal hits; with `QueryConfig.online`, scores from several actors may differ by rounding."""
        if not query_config.online:
            self.assertEqual(hits, expected)
        self.assertEqual([hit.entry for hit in hits], [hit.entry for hit in expected])
        np.testing.assert_allclose([hit.score for hit in hits], [hit.score for hit in expected], atol=1e-6)

    @parameterized.parameters(*QUERY_CONFIGS)
    def test_same_hits_as_one_process(self, query_config):
        self.assertLen(self.searcher.ranker(), COUNT + 3)
        self.assert_same_as_local(self.searcher, query_config)

    def test_copies_are_ordered_by_path(self):
        hits = self.searcher.search(self.query, count=4)
        self.assertEqual([hit.entry.path for hit in hits], ["5.png", *(f"copies/{i}.png" for i in (11, 120, 70))])
        self.assertLen({hit.score for hit in hits}, 1)

    def test_regions_of_a_compact_index(self):
        root = self.create_tempdir().full_path
        index = indexes.make(root, range(70), dataclasses.replace(indexes.CONFIG, compact=True))  # two fragments
        local_searcher = Searcher(index)
        searcher = Searcher(index, open_ranker=lambda paths: self.ray_ranker.RayRanker(paths, self.actors, 120.0))
        query = local_searcher.describe(local_searcher.prepare_indexed("5.png"))
        hits = searcher.search(query, QueryConfig(rerank=40), count=70)
        expected = local_searcher.search(query, QueryConfig(rerank=40), count=70)
        self.assertEqual([(hit.entry, hit.cells) for hit in hits], [(hit.entry, hit.cells) for hit in expected])
        self.assertTrue(any(hit.cells for hit in hits))
        np.testing.assert_allclose([hit.score for hit in hits], [hit.score for hit in expected], atol=1e-6)

    @slow
    def test_a_node_killed_during_queries(self):
        process_ids = set(map(process_id, self.actors))
        self.searcher.ranker()
        for _ in range(3):  # the nodes except the head, since Ray may have started no actor on a node
            killing = threading.Thread(target=self.cluster.replace_node)
            killing.start()
            for _ in range(5):
                for query_config in QUERY_CONFIGS[:2]:
                    self.assert_same_as_local(self.searcher, query_config)
            killing.join()
            self.assert_same_as_local(self.searcher, QueryConfig("ona"))
            if set(map(process_id, self.actors)) != process_ids:
                return
        self.fail("no actor was on a killed node")

    @slow
    def test_an_actor_killed_during_a_query(self):
        self.searcher.ranker()
        for actor in self.actors[:2]:
            pid = process_id(actor)
            os.kill(pid, signal.SIGSTOP)  # so that the actor has the query when it is killed
            threading.Timer(1.0, os.kill, (pid, signal.SIGKILL)).start()
            self.assert_same_as_local(self.searcher, QueryConfig("ona"))

    def test_an_actor_that_does_not_answer_before_the_deadline(self):
        self.assert_same_as_local(self.searcher, QueryConfig())  # the actors have read their fragments and compiled
        searcher = Searcher(self.index, open_ranker=lambda paths: self.ray_ranker.RayRanker(paths, self.actors, 4.0))
        searcher.ranker()
        pid = process_id(self.actors[1])
        os.kill(pid, signal.SIGSTOP)
        try:
            start = time.monotonic()
            with self.assertRaisesRegex(TimeoutError, "1 of 4 actors did not answer within 4 s; search again when"):
                searcher.search(self.query)
            self.assertLess(time.monotonic() - start, 15)
        finally:
            os.kill(pid, signal.SIGCONT)
        self.assert_same_as_local(self.searcher, QueryConfig())

    def test_an_actor_that_restarts_with_a_changed_index(self):
        ranker = self.searcher.ranker()
        self.addCleanup(self.index.update)
        self.addCleanup((self.root / "new.png").unlink)
        indexes.draw(self.root / "new.png", 5)
        self.index.update()
        os.kill(process_id(self.actors[2]), signal.SIGKILL)
        actual = ranker.best(self.query.descriptor, None, 5)  # the other actors have the earlier version
        self.assertEqual(actual.entries[4].path, "new.png")

    def test_changes_are_seen_at_the_next_query(self):
        self.searcher.ranker()
        self.addCleanup(self.index.update)
        self.addCleanup((self.root / "new.png").unlink)
        indexes.draw(self.root / "new.png", 5)
        (self.root / "7.png").rename(self.root / "away")
        self.addCleanup((self.root / "away").rename, self.root / "7.png")
        self.index.update()
        paths = [hit.entry.path for hit in self.searcher.search(self.query, count=COUNT + 9)]
        self.assertLen(paths, COUNT + 3)
        self.assertEqual(paths[4], "new.png")
        self.assertNotIn("7.png", paths)
        with self.assertRaises(KeyError):
            self.searcher.prepare_indexed("7.png")


if __name__ == "__main__":
    absltest.main()
