"""Processes that change an index are killed at any moment: the index comes to be as one made afresh."""

import contextlib
import os
import pathlib
import shutil
import subprocess
import sys
from unittest import mock

import numpy as np
from absl.testing import absltest

from cwcf_jax.collection import Index, Options, Searcher, updating
from tests import collection, shared

RUNNER = """
import os, signal, sys, time
import cwcf_jax.indexing, cwcf_jax.reranking, lance_namespace  # what takes long and starts no threads before the fork

def change(what, root, warm):
    from cwcf_jax.collection import Index, updating
    updating.SMALL = 4
    getattr(Index(warm), what)()  # everything is compiled
    index = Index(root)
    index.model
    os.write(1, b"ready\\n")
    getattr(index, what)()

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


class KillTest(absltest.TestCase):
    def setUp(self):
        super().setUp()
        self.enterContext(mock.patch.object(updating, "SMALL", 4))
        self.warm = self.folder()
        collection.make(self.warm, range(4))
        collection.draw(self.warm / "4.png", 4)

    def folder(self):
        return pathlib.Path(self.create_tempdir().full_path)

    def copy(self, folder):
        return pathlib.Path(shutil.copytree(folder, self.folder() / "copy"))

    def fresh(self, root):
        index = Index.create(root, collection.SETTINGS, folder=self.folder())
        index.update()
        return index

    @contextlib.contextmanager
    def runner(self):
        """A function that lets another process change an index, and kills it after so many seconds, or not."""
        names = "JAX_COMPILATION_CACHE_DIR", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "XLA_FLAGS"
        environment = os.environ | dict(zip(names, (str(self.folder()), "0", ""), strict=True))
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        command = [sys.executable, "-c", RUNNER]
        with subprocess.Popen(command, cwd=shared.ROOT, env=environment, text=True, **pipes) as process:

            def run(what, root, seconds=-1.0):
                print(what, root, self.copy(self.warm), seconds, sep="\t", file=process.stdin, flush=True)
                status, taken = process.stdout.readline().split()
                if seconds < 0:
                    self.assertEqual(int(status), 0)
                return float(taken)

            yield run
            process.stdin.close()

    def prepare(self):
        """An index whose folder has changed in every way since."""
        root = self.folder()
        collection.make(root, range(10))
        for seed in range(20, 40):
            collection.draw(root / f"{seed}.png", seed)
        for seed in range(3):
            collection.draw(root / f"{seed}.png", 50 + seed)
        (root / "3.png").rename(root / "moved.png")
        (root / "4.png").unlink()
        return root

    def check_readable(self, root):
        """Whatever is there can be searched; how much that is."""
        searcher = Searcher(Index(root))
        entries = searcher.held().snapshot.entries
        query = searcher.describe(searcher.prepare_indexed("5.png"))
        for aggregation in "ofa", "ona":
            hits = searcher.search(query, Options(aggregation, rerank=3), count=100)
            self.assertLen(hits, len(entries))
            self.assertEqual(hits[0].entry.path, "5.png")
        return len(entries), len(list((root / ".cwcf" / "maps").glob("*/*.npz")))

    def test_killed_at_20_moments_nothing_is_lost(self):
        changed, states, random = self.prepare(), set(), np.random.default_rng(0)
        expected = self.fresh(changed)
        with self.runner() as run:
            undisturbed = self.copy(changed)
            longest = run("update", undisturbed)
            collection.assert_same(self, Index(undisturbed), expected)
            for _ in range(10):
                killed = self.copy(changed)
                for _ in range(2):
                    run("update", killed, random.uniform(0, longest))
                    states.add(self.check_readable(killed))
                index = Index(killed)
                self.assertEqual(index.update().refused, ())
                collection.assert_same(self, index, expected)
            self.assertGreater(len(states), 4, f"the kills came at too few moments to test anything: {states}")
            self.check_rebuild(run)

    def check_rebuild(self, run):
        """A killed rebuild leaves the generation before, and the next one is none the worse."""
        root = self.folder()
        collection.make(root, range(12))
        expected, random = self.fresh(root), np.random.default_rng(0)
        longest = run("rebuild", self.copy(root))
        for _ in range(3):
            run("rebuild", root, random.uniform(0, 0.8 * longest))
            self.assertEqual(Index(root).generation().name, "generation-1")
            collection.assert_same(self, Index(root), expected)
        Index(root).rebuild()
        collection.assert_same(self, Index(root), expected)


if __name__ == "__main__":
    absltest.main()
