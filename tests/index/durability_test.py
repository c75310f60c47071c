"""Whatever happens to a folder and to the disk, the index comes to be as one made afresh."""

import dataclasses
import json
import os
import pathlib
import shutil
import stat
import subprocess
from unittest import mock

import numpy as np
from absl.testing import absltest, parameterized

from cwcf_jax import files
from cwcf_jax.index import Index, QueryConfig, Searcher
from cwcf_jax.store import StoreBusyError
from tests.support import indexes
from tests.support.slow import slow


class FolderCase(parameterized.TestCase):
    def folder(self):
        return pathlib.Path(self.create_tempdir().full_path)

    def fresh(self, root, config=indexes.CONFIG):
        index = Index.create(root, config, folder=self.folder())
        index.update()
        return index


def change(root, random, number):
    """One random change of a folder."""
    files = sorted(root.rglob("*.png"))
    new = root / random.choice(["", "sub/", "it's/deep/"]) / f"{number}.png"
    kinds = (
        ["draw"] if len(files) < 3 else ["delete"] if len(files) > 36 else ["draw", "delete", "edit", "move", "copy"]
    )
    kind = random.choice(kinds)
    one, other = random.choice(files, 2) if files else (None, None)
    new.parent.mkdir(parents=True, exist_ok=True)
    if kind in ("draw", "edit"):
        indexes.draw(new if kind == "draw" else one, int(random.integers(60)))
    elif kind == "delete":
        one.unlink()
    elif kind == "move":
        one.replace(random.choice([new, other]))
    else:
        shutil.copy(one, new)


class RandomChangesTest(FolderCase):
    def test_200_changes_in_any_order(self):
        self.check_changes(200)

    @slow
    def test_1000_changes_in_any_order(self):
        self.check_changes(1000)

    @slow
    def test_1000_changes_of_a_compact_index(self):
        self.check_changes(1000, dataclasses.replace(indexes.CONFIG, compact=True))

    def check_changes(self, count, config=indexes.CONFIG):
        random, root = np.random.default_rng(0), self.folder()
        index, removed = indexes.make(root, range(5), config), set()
        for number in range(count):
            change(root, random, number)
            if number % 60:
                continue
            before = index.status().pictures
            found = index.update()
            paths = {entry.path for entry in index.snapshot().entries}
            self.assertEqual((len(paths), found.refused), (before + found.added - found.removed, ()))
            there = {path.relative_to(root).as_posix() for path in root.rglob("*.png")}
            self.assertEqual(paths, there - removed)
            out = set(random.choice(sorted(paths), 2).tolist())
            self.assertEqual(index.remove(sorted(out)), len(out))
            removed |= out
            back = str(random.choice(sorted(removed)))
            index.add([back])
            removed.discard(back)
        index.add(sorted(path for path in removed if (root / path).exists()))
        index.update()
        indexes.assert_same(self, index, self.fresh(root, config))
        index.rebuild()
        indexes.assert_same(self, index, self.fresh(root, config))


class FullDiskTest(FolderCase):
    config = dataclasses.replace(indexes.CONFIG, own_classes=0)  # class vectors that fill a disk

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
            indexes.draw(root / f"{seed}.png", seed)
        index = Index.create(root, self.config, folder=self.disk / "index")
        index.update()
        for seed in range(6, 12):
            indexes.draw(root / f"{seed}.png", seed)
        (root / "0.png").unlink()
        return index

    def find(self, index, path):
        return [hit.entry.path for hit in Index(index.folder).search(index.root / path, options=QueryConfig(rerank=3))]

    def test_full_anywhere(self):
        """Maps, class vectors and the table run out of space in turn, and say so alike."""
        index = self.make()
        used, causes = shutil.disk_usage(self.disk).used, []
        while len(causes) < 40:
            self.remount(f"size={used + 20_000 * len(causes)}")
            try:
                index.update()
                break
            except OSError as error:
                self.assertRegex(str(error), "No space left on device")
                causes.append(type(error.__cause__))
            self.assertEqual(self.find(index, "3.png")[0], "3.png")
        self.assertContainsSubset({type(None), RuntimeError, ValueError}, causes)
        self.assertEqual(index.update().unchanged, 11)
        indexes.assert_same(self, index, self.fresh(index.root, self.config))

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
        indexes.assert_same(self, index, self.fresh(index.root, self.config))


class PowerCutTest(FolderCase):
    """Whatever moment the power is cut at, the header names a generation that is on the disk.

    The disk of this test keeps no more than it promised: content after fsync of the file, names after fsync of the
    folder. A rename, however, may be there as soon as it was called.
    """

    def setUp(self):
        super().setUp()
        self.content, self.names, self.generations = {}, {}, set()
        real = os.fsync, os.replace

        def fsync(number):
            real[0](number)
            status = os.fstat(number)
            if stat.S_ISDIR(status.st_mode):
                self.names[status.st_ino] = {path.name for path in pathlib.Path(f"/proc/self/fd/{number}").iterdir()}
            else:
                self.content[status.st_ino] = status.st_size

        def replace(source, target):
            real[1](source, target)
            if pathlib.Path(target).name == "index.json":
                self.check(pathlib.Path(target).parent)

        self.enter_context(mock.patch.multiple(os, fsync=fsync, replace=replace))

    def on_disk(self, file):
        named = file.name in self.names.get(file.parent.stat().st_ino, ())
        status = file.stat()
        return named and (file.is_dir() or self.content.get(status.st_ino) == status.st_size)

    def check(self, folder):
        header = json.loads((folder / "index.json").read_text())
        self.assertIn((folder / "index.json").stat().st_ino, self.content)
        if number := header["generation"]:
            generation = folder / f"generation-{number}"
            self.assertTrue(self.on_disk(generation))
            for name in ("whitening.npz", "table.name", "vectors"):
                self.assertTrue(self.on_disk(generation / name), name)
            self.generations.add(number)

    def test_a_header_names_what_is_there(self):
        index = indexes.make(self.folder(), range(4))
        index.rebuild(refit=True)
        self.assertEqual(self.generations, {1, 2})
        self.assertTrue(self.on_disk(index.folder / "index.json"))


class TwoProcessesTest(FolderCase):
    def test_one_changes_and_others_read(self):
        root = self.folder()
        index = indexes.make(root, range(3))
        searcher = Searcher(Index(root))
        query = searcher.describe(searcher.prepare_indexed("1.png"))
        indexes.draw(root / "3.png", 3)
        changes = index.update, index.rebuild, lambda: index.remove(["1.png"]), lambda: index.add(["3.png"])
        with files.lock(index.folder / files.LOCK, index.folder, StoreBusyError):
            for change in changes:
                with self.assertRaisesRegex(StoreBusyError, f"{index.folder} is in use by another process"):
                    change()
            self.assertLen(searcher.search(query, QueryConfig("ona", rerank=2)), 3)
        index.update()
        self.assertLen(searcher.search(query, QueryConfig("ona", rerank=2)), 4)


if __name__ == "__main__":
    absltest.main()
