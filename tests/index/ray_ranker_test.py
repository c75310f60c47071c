"""An index searched by actors of a Ray cluster on this machine, one of which is lost."""

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
"""Pictures, three fragments."""

OPTIONS = (
    QueryConfig(),
    QueryConfig("ona"),
    QueryConfig(rerank=7),
    QueryConfig("ona", rerank=9, expand=4),
    QueryConfig(expand=COUNT + 5),
    QueryConfig("ona", classes=("church", "dome")),
    QueryConfig.thorough(),
)


def process(actor):
    """Its number, once it is there."""
    return packages.package("ray").get(actor.__ray_call__.remote(lambda _: os.getpid()))


class RaySearchTest(parameterized.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        packages.package("ray")
        cls.ray_ranker = importlib.import_module("cwcf_jax.index.ray_ranker")
        cls.cluster = cls.enterClassContext(servers.ray_cluster(nodes=4))
        cls.root = pathlib.Path(cls.enterClassContext(tempfile.TemporaryDirectory()))
        for copy in (11, 70, 120):  # ties, in fragments and between them
            indexes.draw(cls.root / f"copies/{copy}.png", 5)
        cls.index = indexes.make(cls.root, range(COUNT))
        cls.actors = cls.ray_ranker.start_actors(cls.cluster.address)

    def setUp(self):
        super().setUp()
        self.alone = Searcher(self.index)
        self.searcher = Searcher(
            self.index, open_ranker=lambda paths: self.ray_ranker.RayRanker(paths, self.actors, 120.0)
        )
        self.query = self.alone.describe(self.alone.prepare_indexed("5.png"))

    def assert_as_alone(self, searcher, options):
        expected = self.alone.search(self.query, options, count=COUNT + 3)
        self.assert_same(searcher.search(self.query, options, count=COUNT + 3), expected, options)
        self.assert_same(searcher.search(self.query, options, count=9, first=20), expected[20:29], options)

    def assert_same(self, hits, expected, options):
        """To the bit; where OnA's vectors of a short list come from several shards, to their last bit."""
        if not options.online:
            self.assertEqual(hits, expected)
        self.assertEqual([hit.entry for hit in hits], [hit.entry for hit in expected])
        np.testing.assert_allclose([hit.score for hit in hits], [hit.score for hit in expected], atol=1e-6)

    @parameterized.parameters(*OPTIONS)
    def test_finds_what_one_process_does(self, options):
        self.assertLen(self.searcher.ranker(), COUNT + 3)
        self.assert_as_alone(self.searcher, options)

    def test_copies_tie_and_come_in_the_order_of_their_paths(self):
        hits = self.searcher.search(self.query, count=4)
        self.assertEqual([hit.entry.path for hit in hits], ["5.png", *(f"copies/{i}.png" for i in (11, 120, 70))])
        self.assertLen({hit.score for hit in hits}, 1)

    def test_regions_that_a_compact_index_keeps(self):
        root = self.create_tempdir().full_path
        index = indexes.make(root, range(70), dataclasses.replace(indexes.CONFIG, compact=True))  # two fragments
        alone = Searcher(index)
        searcher = Searcher(index, open_ranker=lambda paths: self.ray_ranker.RayRanker(paths, self.actors, 120.0))
        query, options = alone.describe(alone.prepare_indexed("5.png")), QueryConfig(rerank=40)
        hits, expected = (one.search(query, options, count=70) for one in (searcher, alone))
        self.assertEqual([(hit.entry, hit.cells) for hit in hits], [(hit.entry, hit.cells) for hit in expected])
        self.assertTrue(any(hit.cells for hit in hits))
        np.testing.assert_allclose([hit.score for hit in hits], [hit.score for hit in expected], atol=1e-6)

    @slow
    def test_a_node_lost_during_queries_delays_them(self):
        before = set(map(process, self.actors))
        self.searcher.ranker()
        for _ in range(3):  # nodes besides the head: Ray may have put no actor on one of them
            killing = threading.Thread(target=self.cluster.replace_node)
            killing.start()
            for _ in range(5):
                for options in OPTIONS[:2]:
                    self.assert_as_alone(self.searcher, options)
            killing.join()
            self.assert_as_alone(self.searcher, QueryConfig("ona"))
            if set(map(process, self.actors)) != before:
                return
        self.fail("no actor was on any of the nodes that were killed")

    @slow
    def test_a_shard_killed_during_a_query(self):
        self.searcher.ranker()
        for actor in self.actors[:2]:
            number = process(actor)
            os.kill(number, signal.SIGSTOP)  # the query is on its way when it dies
            threading.Timer(1.0, os.kill, (number, signal.SIGKILL)).start()
            self.assert_as_alone(self.searcher, QueryConfig("ona"))

    def test_a_shard_that_does_not_answer_is_an_error_at_the_deadline(self):
        self.assert_as_alone(
            self.searcher, QueryConfig()
        )  # they have read their fragments, and compiled what they need
        searcher = Searcher(self.index, open_ranker=lambda paths: self.ray_ranker.RayRanker(paths, self.actors, 4.0))
        searcher.ranker()
        number = process(self.actors[1])
        os.kill(number, signal.SIGSTOP)
        try:
            start = time.monotonic()
            with self.assertRaisesRegex(TimeoutError, "1 of 4 shards did not answer within 4 s; ask again once"):
                searcher.search(self.query)
            self.assertLess(time.monotonic() - start, 15)
        finally:
            os.kill(number, signal.SIGCONT)
        self.assert_as_alone(self.searcher, QueryConfig())

    def test_an_actor_that_comes_back_to_a_changed_index(self):
        held = self.searcher.ranker()
        self.addCleanup(self.index.update)
        self.addCleanup((self.root / "new.png").unlink)
        indexes.draw(self.root / "new.png", 5)
        self.index.update()
        os.kill(process(self.actors[2]), signal.SIGKILL)
        found = held.best(self.query.descriptor, None, 5)  # the others would still answer as before
        self.assertEqual(found.entries[4].path, "new.png")

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
