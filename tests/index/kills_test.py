"""Processes that change an index are killed at any moment: the index comes to be as one made afresh."""

import contextlib
import dataclasses
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
from unittest import mock

import numpy as np
from absl.testing import absltest, parameterized

from cwcf_jax.index import Index, QueryConfig, Searcher, updater
from tests.support import indexes, shared, thin
from tests.support.slow import XLA_FLAGS, cases, slow

KILLS = cases(4, 10)
"""Updates that are killed twice each."""

FOLDER = tempfile.TemporaryDirectory()

RUNNER = """
import gc, os, signal, sys, time
import cwcf_jax.extraction, cwcf_jax.search.reranking, lance_namespace  # slow; no threads before the fork

def change(what, root, warm):
    from cwcf_jax.index import Index, updater
    updater.SMALL_FRAGMENT = 4
    getattr(Index(warm), what)()  # everything is compiled
    index = Index(root)
    index.model
    os.write(1, b"ready\\n")
    getattr(index, what)()

gc.disable()  # which tracing would call for all the time
for line in sys.stdin:  # what, root, folder to get warm with, seconds until the kill; each run is a process of its own
    what, root, warm, seconds = line.split("\\t")
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.dup2(writing, 1)
        os.close(reading)
        change(what, root, warm)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as said:
        assert said.readline() == "ready\\n"
    start = time.monotonic()
    if float(seconds) >= 0:
        time.sleep(float(seconds))
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    print(status, time.monotonic() - start, flush=True)
"""


def tearDownModule():
    FOLDER.cleanup()


def _folder():
    return pathlib.Path(tempfile.mkdtemp(dir=FOLDER.name))


def _copy(folder):
    return pathlib.Path(shutil.copytree(folder, _folder() / "copy"))


@contextlib.contextmanager
def _runner(warm):
    """A function that lets another process change an index, and kills it after so many seconds, or not."""
    names = "JAX_COMPILATION_CACHE_DIR", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "XLA_FLAGS"
    environment = os.environ | dict(zip(names, (str(_folder()), "0", XLA_FLAGS), strict=True))
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    command = [sys.executable, "-c", thin.REGISTERED + RUNNER]
    with subprocess.Popen(command, cwd=shared.ROOT, env=environment, text=True, **pipes) as process:

        def run(what, root, seconds=-1.0):
            print(what, root, _copy(warm), seconds, sep="\t", file=process.stdin, flush=True)
            status, taken = process.stdout.readline().split()
            if seconds < 0 and int(status):
                raise AssertionError(f"{what} failed with status {status}")
            return float(taken)

        yield run
        process.stdin.close()


class KillTest(parameterized.TestCase):
    config = indexes.CONFIG

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.enterClassContext(mock.patch.object(updater, "SMALL_FRAGMENT", 4))
        warm = _folder()
        indexes.make(warm, range(4), cls.config)
        indexes.draw(warm / "4.png", 4)
        cls.run_apart = staticmethod(cls.enterClassContext(_runner(warm)))
        cls.changed, cls.states, cls.kills = _folder(), set(), 0
        indexes.make(cls.changed, range(10), cls.config)
        for seed in range(20, 40):
            indexes.draw(cls.changed / f"{seed}.png", seed)
        for seed in range(3):
            indexes.draw(cls.changed / f"{seed}.png", 50 + seed)
        (cls.changed / "3.png").rename(cls.changed / "moved.png")
        (cls.changed / "4.png").unlink()
        cls.expected = cls.fresh(cls.changed)
        cls.undisturbed = _copy(cls.changed)
        cls.longest = cls.run_apart("update", cls.undisturbed)

    @classmethod
    def tearDownClass(cls):
        super().tearDownClass()
        if len(cls.states) < min(5, cls.kills // 4):  # another process may have had the other tests
            raise AssertionError(f"the kills came at too few moments to test anything: {cls.states}")

    @classmethod
    def fresh(cls, root):
        index = Index.create(root, cls.config, folder=_folder())
        index.update()
        return index

    def check_readable(self, root):
        """Whatever is there can be searched; how much that is."""
        searcher = Searcher(Index(root))
        entries = Index(root).snapshot().entries
        query = searcher.describe(searcher.prepare_indexed("5.png"))
        for aggregation in ["ofa"] if self.config.compact else ["ofa", "ona"]:
            hits = searcher.search(query, QueryConfig(aggregation, rerank=3), count=100)
            self.assertLen(hits, len(entries))
            self.assertEqual(hits[0].entry.path, "5.png")
        return len(entries), len(list((root / ".cwcf" / "maps").glob("*/*.npz")))

    def test_undisturbed(self):
        indexes.assert_same(self, Index(self.undisturbed), self.expected)

    @parameterized.parameters(range(KILLS))
    def test_updates_killed_twice_lose_nothing(self, seed):
        killed, random = _copy(self.changed), np.random.default_rng(seed)
        for _ in range(2):
            self.run_apart("update", killed, random.uniform(0, self.longest))
            self.states.add(self.check_readable(killed))
            type(self).kills += 1
        index = Index(killed)
        self.assertEqual(index.update().refused, ())
        indexes.assert_same(self, index, self.expected)

    def test_a_killed_rebuild_leaves_one_generation_whole(self):
        root = _folder()
        indexes.make(root, range(12), self.config)
        expected, random = self.fresh(root), np.random.default_rng(0)
        longest = self.run_apart("rebuild", _copy(root))
        for _ in range(2):
            self.run_apart("rebuild", root, random.uniform(0, 0.8 * longest))
            indexes.assert_same(self, Index(root), expected)
        Index(root).rebuild()
        indexes.assert_same(self, Index(root), expected)


@slow
class CompactKillTest(KillTest):
    """Where maps are there only until what follows from them is kept."""

    config = dataclasses.replace(indexes.CONFIG, compact=True)


if __name__ == "__main__":
    absltest.main()
