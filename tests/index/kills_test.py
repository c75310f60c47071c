"""After kills of updates and rebuilds at any moment, an index equals a newly created one."""

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
"""The number of updates that are killed twice."""

FOLDER = tempfile.TemporaryDirectory()

RUNNER = """
import gc, os, signal, sys, time
import cwcf_jax.extraction, cwcf_jax.search.reranking, lance_namespace  # slow imports, without threads

def change(method, root, warm_root):
    from cwcf_jax.index import Index, updater
    updater.SMALL_SHARD = 4
    getattr(Index(warm_root), method)()  # compiles all functions
    index = Index(root)
    index.model
    os.write(1, b"ready\\n")
    getattr(index, method)()

gc.disable()  # tracing would start it all the time
for line in sys.stdin:  # method, folder, folder for compilation, seconds until the kill
    method, root, warm_root, seconds = line.split("\\t")
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.dup2(writing, 1)
        os.close(reading)
        change(method, root, warm_root)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as output:
        assert output.readline() == "ready\\n"
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
def _runner(warm_root):
    """Yields a function that lets another process change an index, and may kill this process after some seconds."""
    names = "JAX_COMPILATION_CACHE_DIR", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "XLA_FLAGS"
    environment = os.environ | dict(zip(names, (str(_folder()), "0", XLA_FLAGS), strict=True))
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    command = [sys.executable, "-c", thin.REGISTERED + RUNNER]
    with subprocess.Popen(command, cwd=shared.ROOT, env=environment, text=True, **pipes) as process:

        def run(method, root, seconds=-1.0):
            print(method, root, _copy(warm_root), seconds, sep="\t", file=process.stdin, flush=True)
            status, duration = process.stdout.readline().split()
            if seconds < 0 and int(status):
                raise AssertionError(f"{method} failed with status {status}")
            return float(duration)

        yield run
        process.stdin.close()


class KillTest(parameterized.TestCase):
    config = indexes.CONFIG

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.enterClassContext(mock.patch.object(updater, "SMALL_SHARD", 4))
        warm_root = _folder()
        indexes.make(warm_root, range(4), cls.config)
        indexes.draw(warm_root / "4.png", 4)
        cls.run_elsewhere = staticmethod(cls.enterClassContext(_runner(warm_root)))
        cls.changed, cls.states, cls.kills = _folder(), set(), 0
        indexes.make(cls.changed, range(10), cls.config)
        for seed in range(20, 40):
            indexes.draw(cls.changed / f"{seed}.png", seed)
        for seed in range(3):
            indexes.draw(cls.changed / f"{seed}.png", 50 + seed)
        (cls.changed / "3.png").rename(cls.changed / "moved.png")
        (cls.changed / "4.png").unlink()
        cls.expected = cls.create(cls.changed)
        cls.undisturbed = _copy(cls.changed)
        cls.longest = cls.run_elsewhere("update", cls.undisturbed)

    @classmethod
    def tearDownClass(cls):
        super().tearDownClass()
        if len(cls.states) < min(5, cls.kills // 4):  # the tests may be split over processes
            raise AssertionError(f"the kills left too few different states: {cls.states}")

    @classmethod
    def create(cls, root):
        index = Index.create(root, cls.config, folder=_folder())
        index.update()
        return index

    def check_readable(self, root):
        """Searches an index; returns the numbers of its pictures and of its maps."""
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
            self.run_elsewhere("update", killed, random.uniform(0, self.longest))
            self.states.add(self.check_readable(killed))
            type(self).kills += 1
        index = Index(killed)
        self.assertEqual(index.update().refused, ())
        indexes.assert_same(self, index, self.expected)

    def test_a_killed_rebuild_leaves_one_generation_whole(self):
        root = _folder()
        indexes.make(root, range(12), self.config)
        expected, random = self.create(root), np.random.default_rng(0)
        longest = self.run_elsewhere("rebuild", _copy(root))
        for _ in range(2):
            self.run_elsewhere("rebuild", root, random.uniform(0, 0.8 * longest))
            indexes.assert_same(self, Index(root), expected)
        Index(root).rebuild()
        indexes.assert_same(self, Index(root), expected)


@slow
class CompactKillTest(KillTest):
    """Tests compact indexes, which store maps only during an update."""

    config = dataclasses.replace(indexes.CONFIG, compact=True)


if __name__ == "__main__":
    absltest.main()
