"""Whatever happens to a folder or to a process that updates its index, the index comes to be as one made afresh."""

import contextlib
import os
import pathlib
import shutil
import subprocess
import sys
from unittest import mock

import numpy as np
from absl.testing import absltest, parameterized

from cwcf_jax.collection import Index, Options, Searcher, updating
from cwcf_jax.store import StoreBusyError
from cwcf_jax.store.folder import lock
from tests import collection, shared

RUNNER = """
import os, signal, sys, time
import cwcf_jax.indexing, cwcf_jax.reranking, cwcf_jax.datasets  # JAX, but no thread is started before the fork

def update(root, warm):
    from cwcf_jax.collection import Index, updating
    updating.SMALL = 4
    Index(warm).update()  # everything is compiled
    index = Index(root)
    index.model
    os.write(1, b"ready\\n")
    getattr(index, os.environ["DO"])()

for line in sys.stdin:  # root, folder to get warm with, seconds until the kill; each run is a process of its own
    root, warm, seconds = line.split("\\t")
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.dup2(writing, 1)
        os.close(reading)
        update(root, warm)
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


class FolderCase(parameterized.TestCase):
    def folder(self):
        return pathlib.Path(self.create_tempdir().full_path)

    def fresh(self, root, settings=collection.SETTINGS):
        index = Index.create(root, settings, folder=self.folder())
        index.update()
        return index


class RandomChangesTest(FolderCase):
    def test_1000_changes_in_any_order(self):
        """Of files and of what the index is told to forget, with updates between."""
        random, root = np.random.default_rng(0), self.folder()
        index, removed, names = collection.make(root, range(5)), set(), iter(range(10**6))
        for step in range(1000):
            files = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.png"))
            one = files[random.integers(len(files))] if files else None
            other = f"{random.choice(['', 'sub/', 'it is/deep/'])}{next(names)}.png"
            (root / other).parent.mkdir(parents=True, exist_ok=True)
            kinds = ["add"] if len(files) < 4 else ["delete"] if len(files) > 36 else ["add", "delete"]
            kind = random.choice([*kinds, *(["change", "move", "copy", "over", "forget", "recall"] if files else [])])
            if kind == "add":
                collection.draw(root / other, int(random.integers(60)))
            elif kind == "change":
                collection.draw(root / one, int(random.integers(60)))
            elif kind == "delete":
                (root / one).unlink()
            elif kind == "move":
                (root / one).rename(root / other)
            elif kind == "copy":
                shutil.copy(root / one, root / other)
            elif kind == "over":
                (root / one).replace(root / files[random.integers(len(files))])
            elif kind == "forget":
                index.update()
                forgotten = {entry.path for entry in index.snapshot().entries}
                if one in forgotten:
                    index.remove([one])
                    removed.add(one)
            elif removed:
                back = sorted(removed)[random.integers(len(removed))]
                removed.discard(back)
                if (root / back).exists():
                    index.add([back])
                else:
                    index.add([back])
            if step % 100 == 99:
                before = index.status().pictures
                found = index.update()
                self.assertEqual(found.refused, ())
                self.assertEqual(index.status().pictures, before + found.added - found.removed)
                there = {path.relative_to(root).as_posix() for path in root.rglob("*.png")}
                self.assertEqual({entry.path for entry in index.snapshot().entries}, there - removed)
        index.add(sorted(path for path in removed if (root / path).exists()))
        collection.assert_same(self, index, self.fresh(root))
        index.rebuild()
        collection.assert_same(self, index, self.fresh(root))


class KillTest(FolderCase):
    @contextlib.contextmanager
    def runner(self, what="update"):
        """A function that lets another process change an index and kills it after so many seconds, or not."""
        cache = {"JAX_COMPILATION_CACHE_DIR": str(self.folder()), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
        environment = {**os.environ, **cache, "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1", "DO": what}
        environment["XLA_FLAGS"] = ""
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        with subprocess.Popen(
            [sys.executable, "-c", RUNNER], cwd=shared.ROOT, text=True, env=environment, **pipes
        ) as process:

            def run(root, seconds=-1.0):
                warm = self.folder()
                shutil.copytree(self.warm, warm, dirs_exist_ok=True)
                print(root, warm, seconds, sep="\t", file=process.stdin, flush=True)
                status, taken = process.stdout.readline().split()
                if seconds < 0:
                    self.assertEqual(int(status), 0)
                return float(taken)

            yield run
            process.stdin.close()

    def setUp(self):
        super().setUp()
        self.enterContext(mock.patch.object(updating, "SMALL", 4))
        self.warm = self.folder()
        collection.make(self.warm, range(2))
        collection.draw(self.warm / "2.png", 2)

    def prepare(self, root):
        """An index whose folder has changed in every way."""
        collection.make(root, range(10))
        for seed in range(20, 40):
            collection.draw(root / f"{seed}.png", seed)
        for seed in range(3):
            collection.draw(root / f"{seed}.png", 50 + seed)
        (root / "3.png").rename(root / "moved.png")
        (root / "4.png").unlink()

    def test_killed_at_20_moments_nothing_is_lost(self):
        template, states = self.folder(), set()
        self.prepare(template)
        expected, random = self.fresh(template), np.random.default_rng(0)
        with self.runner() as run:
            for seconds in (-1.0, *[None] * 10):
                root = self.folder() / "pictures"
                shutil.copytree(template, root)
                if seconds is not None:
                    run(root)  # the first of all compiles
                    root = root.with_name("again")
                    shutil.copytree(template, root)
                    longest = run(root)
                    collection.assert_same(self, Index(root), expected)
                    continue
                for _ in range(2):
                    run(root, random.uniform(0, longest))
                    states.add(self.check_readable(root))
                index = Index(root)
                self.assertEqual(index.update().refused, ())
                collection.assert_same(self, index, expected)
        self.assertGreater(len(states), 6, f"the kills came at too few moments to test anything: {states}")

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

    def test_a_killed_rebuild_leaves_the_generation_before(self):
        template = self.folder()
        collection.make(template, range(12))
        expected, random = self.fresh(template), np.random.default_rng(0)
        with self.runner("rebuild") as run:
            root = template.with_name(template.name + " again")
            shutil.copytree(template, root)
            run(root)
            longest = run(root)
            killed = self.folder() / "pictures"
            shutil.copytree(template, killed)
            for _ in range(4):
                run(killed, random.uniform(0, 0.8 * longest))
                collection.assert_same(self, Index(killed), expected)
        Index(killed).rebuild()
        collection.assert_same(self, Index(killed), expected)


class FullDiskTest(FolderCase):
    def setUp(self):
        super().setUp()
        self.disk = self.folder()
        if subprocess.run(
            ["mount", "-t", "tmpfs", "tmpfs", self.disk], check=False, stderr=subprocess.DEVNULL
        ).returncode:
            self.skipTest("DID NOT RUN: needs the right to mount a file system")
        self.addCleanup(subprocess.run, ["umount", "-l", self.disk], check=True)

    def remount(self, options):
        subprocess.run(["mount", "-o", f"remount,{options}", self.disk], check=True)

    def make(self):
        root = self.folder()
        for seed in range(6):
            collection.draw(root / f"{seed}.png", seed)
        index = Index.create(root, collection.SETTINGS, folder=self.disk / "index")
        index.update()
        for seed in range(6, 12):
            collection.draw(root / f"{seed}.png", seed)
        (root / "0.png").unlink()
        return index

    def find(self, index, path):
        return [hit.entry.path for hit in Index(index.folder).search(index.root / path, options=Options(rerank=3))]

    def test_full_anywhere(self):
        index = self.make()
        used = shutil.disk_usage(self.disk).used
        whole = self.find(index, "3.png")
        failed, messages = 0, set()
        for more in range(0, 4_000_000, 150_000):
            self.remount(f"size={used + more}")
            try:
                index.update()
            except Exception as error:
                messages.add(f"{type(error).__name__}: {error}"[-300:])
                failed += 1
                self.assertEqual(self.find(index, "3.png")[0], "3.png")
                continue
            break
        print(failed, "\n".join(messages), whole)
        self.remount("size=100m")
        index.update()
        collection.assert_same(self, index, self.fresh(index.root))

    def test_read_only(self):
        index = self.make()
        before = self.find(index, "3.png")
        self.remount("ro")
        self.assertEqual(self.find(index, "3.png"), before)
        self.assertEqual(index.status().pictures, 6)
        for change in (index.update, index.rebuild, lambda: index.remove(["1.png"]), lambda: index.add(["1.png"])):
            with self.assertRaisesRegex(OSError, f"Read-only file system: .*{index.folder}"):
                change()
        self.assertEqual(self.find(index, "3.png"), before)
        self.remount("rw")
        index.update()
        collection.assert_same(self, index, self.fresh(index.root))


class TwoProcessesTest(FolderCase):
    def test_one_changes_and_others_read(self):
        root = self.folder()
        index = collection.make(root, range(3))
        searcher = Searcher(Index(root))
        query = searcher.describe(searcher.prepare_indexed("1.png"))
        collection.draw(root / "3.png", 3)
        busy = lock(index.folder)
        for change in (index.update, index.rebuild, lambda: index.remove(["1.png"]), lambda: index.add(["3.png"])):
            with self.assertRaisesRegex(StoreBusyError, f"{index.folder} is in use by another process"):
                change()
        self.assertLen(searcher.search(query, Options("ona", rerank=2)), 3)
        os.close(busy)
        index.update()
        self.assertLen(searcher.search(query, Options("ona", rerank=2)), 4)


if __name__ == "__main__":
    absltest.main()
