"""After any change of the folder and any failure of the disk, an index equals a newly created one."""

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

    def create(self, root, config=indexes.CONFIG):
        index = Index.create(root, config, folder=self.folder())
        index.update()
        return index


def change(root, random, number):
    """Makes a random change in a folder."""
    files = sorted(root.rglob("*.png"))
    new = root / random.choice(["", "sub/", "it's/deep/"]) / f"{number}.png"
    kinds = (
        ["draw"] if len(files) < 3 else ["delete"] if len(files) > 36 else ["draw", "delete", "edit", "move", "copy"]
    )
    kind = random.choice(kinds)
    file, other_file = random.choice(files, 2) if files else (None, None)
    new.parent.mkdir(parents=True, exist_ok=True)
    if kind in ("draw", "edit"):
        indexes.draw(new if kind == "draw" else file, int(random.integers(60)))
    elif kind == "delete":
        file.unlink()
    elif kind == "move":
        file.replace(random.choice([new, other_file]))
    else:
        shutil.copy(file, new)


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
            pictures = index.status().pictures
            update = index.update()
            paths = {entry.path for entry in index.snapshot().entries}
            self.assertEqual((len(paths), update.refused), (pictures + update.added - update.removed, ()))
            files = {path.relative_to(root).as_posix() for path in root.rglob("*.png")}
            self.assertEqual(paths, files - removed)
            chosen = set(random.choice(sorted(paths), 2).tolist())
            self.assertEqual(index.remove(sorted(chosen)), len(chosen))
            removed |= chosen
            added = str(random.choice(sorted(removed)))
            index.add([added])
            removed.discard(added)
        index.add(sorted(path for path in removed if (root / path).exists()))
        index.update()
        indexes.assert_same(self, index, self.create(root, config))
        index.rebuild()
        indexes.assert_same(self, index, self.create(root, config))


class FullDiskTest(FolderCase):
    config = dataclasses.replace(indexes.CONFIG, own_classes=0)  # many class vectors, to fill the disk

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

    def search(self, index, path):
        return [hit.entry.path for hit in Index(index.folder).search(index.root / path, options=QueryConfig(rerank=3))]

    def test_full_disk(self):
        """Lets maps, class vectors and the table run out of space in turn; all raise the same error."""
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
            self.assertEqual(self.search(index, "3.png")[0], "3.png")
        self.assertContainsSubset({type(None), RuntimeError, ValueError}, causes)
        self.assertEqual(index.update().unchanged, 11)
        indexes.assert_same(self, index, self.create(index.root, self.config))

    def test_read_only(self):
        index = self.make()
        hits = self.search(index, "3.png")
        self.remount("ro")
        self.assertEqual(self.search(index, "3.png"), hits)
        self.assertEqual(index.status().pictures, 6)
        for change in (index.update, index.rebuild, lambda: index.remove(["1.png"]), lambda: index.add(["1.png"])):
            with self.assertRaisesRegex(OSError, f"Read-only file system: .*{index.folder}"):
                change()
        self.assertEqual(self.search(index, "3.png"), hits)
        self.remount("rw")
        index.update()
        indexes.assert_same(self, index, self.create(index.root, self.config))


class PowerCutTest(FolderCase):
    """The header names a generation on the disk, at whatever moment the power is cut.

    The disk of this test has the content of a file after fsync of the file, and the names in a folder after fsync of
    the folder. A rename may be on the disk earlier.
    """

    def setUp(self):
        super().setUp()
        self.content, self.names, self.generations = {}, {}, set()
        os_fsync, os_replace = os.fsync, os.replace

        def fsync(descriptor):
            os_fsync(descriptor)
            status = os.fstat(descriptor)
            if stat.S_ISDIR(status.st_mode):
                self.names[status.st_ino] = {
                    path.name for path in pathlib.Path(f"/proc/self/fd/{descriptor}").iterdir()
                }
            else:
                self.content[status.st_ino] = status.st_size

        def replace(source, target):
            os_replace(source, target)
            if pathlib.Path(target).name == "index.json":
                self.check_header(pathlib.Path(target).parent)

        self.enter_context(mock.patch.multiple(os, fsync=fsync, replace=replace))

    def on_disk(self, file):
        has_name = file.name in self.names.get(file.parent.stat().st_ino, ())
        status = file.stat()
        return has_name and (file.is_dir() or self.content.get(status.st_ino) == status.st_size)

    def check_header(self, folder):
        header = json.loads((folder / "index.json").read_text())
        self.assertIn((folder / "index.json").stat().st_ino, self.content)
        if number := header["generation"]:
            generation = folder / f"generation-{number}"
            self.assertTrue(self.on_disk(generation))
            for name in ("whitening.npz", "table.name", "vectors"):
                self.assertTrue(self.on_disk(generation / name), name)
            self.generations.add(number)

    def test_a_header_names_an_existing_generation(self):
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
