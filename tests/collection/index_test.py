import dataclasses
import os
import pathlib
import shutil
from unittest import mock

import numpy as np
from absl.testing import absltest, parameterized

from cwcf_jax.collection import Index, LanceStore, Update, settings_for, updating, whitening
from cwcf_jax.datasets import DatasetError
from cwcf_jax.store import ClassVectorStore, StaleStoreError
from tests import collection

NOTHING = Update(added=0, changed=0, moved=0, removed=0, unchanged=0, refused=())


class IndexCase(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.root = pathlib.Path(self.create_tempdir().full_path)

    def draw(self, *seeds):
        for seed in seeds:
            collection.draw(self.root / f"{seed}.png", seed)

    def make(self, *seeds, settings=collection.SETTINGS):
        return collection.make(self.root, seeds, settings)

    def paths(self, index):
        return [entry.path for entry in index.snapshot().entries]

    def assert_update(self, found, **numbers):
        self.assertEqual(found, dataclasses.replace(NOTHING, **numbers))

    def class_rows(self, index):
        return ClassVectorStore(index.generation() / "vectors").length


class CreateTest(IndexCase):
    def test_inside_the_folder_and_moved_with_it(self):
        index = self.make(0, 1)
        self.assertEqual(index.folder, self.root / ".cwcf")
        self.assertEqual(index.root, self.root)
        elsewhere = pathlib.Path(self.create_tempdir().full_path, "elsewhere")
        self.root.rename(elsewhere)
        for place in (elsewhere, elsewhere / ".cwcf", str(elsewhere)):
            moved = Index(place)
            self.assertEqual(moved.root, elsewhere)
            self.assert_update(moved.update(), unchanged=2)

    def test_apart_from_the_folder(self):
        self.draw(0)
        place = pathlib.Path(self.create_tempdir().full_path, "deep", "index")
        index = Index.create(self.root, collection.SETTINGS, folder=place)
        self.assert_update(index.update(), added=1)
        self.assertEqual(Index(place).root, self.root)
        self.assertEqual([path.name for path in self.root.iterdir()], ["0.png"])

    def test_settings_become_what_they_mean_for_the_network(self):
        index = Index.create(self.root, settings_for(collection.WEIGHTS, num_classes=10**6, dim=10**6))
        spec = index.model.network.spec
        self.assertEqual(index.settings.num_classes, spec.num_classes)
        self.assertEqual((index.settings.dim, index.settings.feature_layer), (160, spec.feature_layer))

    def test_what_cannot_be(self):
        self.make(0)
        with self.assertRaisesRegex(FileExistsError, ".cwcf is an index already"):
            self.make(0)
        with self.assertRaisesRegex(DatasetError, "missing: no such folder"):
            Index.create(self.root / "missing", collection.SETTINGS)
        with self.assertRaisesRegex(FileNotFoundError, "no index in"):
            Index(self.root / "missing")
        other = pathlib.Path(self.create_tempdir().full_path)
        with self.assertRaises(ValueError):
            Index.create(other, settings_for(collection.WEIGHTS, "vgg16_cam"))
        self.assertEqual(list(other.iterdir()), [])

    def test_empty(self):
        index = self.make()
        self.assert_update(index.update())
        for read in (index.snapshot, index.rebuild, lambda: index.remove(["0.png"])):
            with self.assertRaisesRegex(FileNotFoundError, "is an empty index; fill it with cwcf index"):
                read()
        status = index.status()
        self.assertEqual((status.pictures, status.whitening), (0, ""))
        self.draw(0)
        self.assert_update(index.update(), added=1)

    def test_status(self):
        index = self.make(0, 1)
        status = index.status()
        self.assertEqual((status.root, status.pictures, status.whitening), (self.root, 2, "nothing"))
        self.assertEqual(status.settings, index.settings)
        self.assertEqual(status.disk, sum(p.stat().st_size for p in index.folder.rglob("*") if p.is_file()))


class UpdateTest(IndexCase):
    def test_every_kind_of_change(self):
        index = self.make(0, 1, 2, 3, 4, 5)
        (self.root / "sub").mkdir()
        (self.root / "0.png").rename(self.root / "sub" / "moved.png")
        shutil.copy(self.root / "1.png", self.root / "copy.png")
        (self.root / "2.png").unlink()
        shutil.copy(self.root / "4.png", self.root / "3.png")
        collection.draw(self.root / "5.png", 50)
        self.draw(6)
        found = index.update()
        self.assert_update(found, added=2, changed=2, moved=1, removed=1, unchanged=2)
        expected = ["1.png", "3.png", "4.png", "5.png", "6.png", "copy.png", "sub/moved.png"]
        self.assertEqual(self.paths(index), expected)
        self.assert_update(index.update(), unchanged=7)
        other = Index.create(self.root, index.settings, folder=pathlib.Path(self.create_tempdir().full_path))
        other.update()
        collection.assert_same(self, index, other)

    def test_swapped_pictures(self):
        index = self.make(0, 1)
        before = dict(zip(self.paths(index), index.snapshot().descriptors, strict=True))
        (self.root / "0.png").rename(self.root / "2.png")
        (self.root / "1.png").rename(self.root / "0.png")
        (self.root / "2.png").rename(self.root / "1.png")
        self.assert_update(index.update(), changed=2)
        after = dict(zip(self.paths(index), index.snapshot().descriptors, strict=True))
        np.testing.assert_array_equal(after["0.png"], before["1.png"])
        np.testing.assert_array_equal(after["1.png"], before["0.png"])

    def test_only_new_content_goes_through_the_network_and_once(self):
        for name in ("a", "b", "sub/c"):
            collection.draw(self.root / f"{name}.png", 1)
        self.draw(2)
        index = Index.create(self.root, collection.SETTINGS)
        with mock.patch.object(updating.encoding, "_maps", wraps=updating.encoding._maps) as passes:
            self.assert_update(index.update(), added=4)
            self.assertEqual(passes.call_count, 2)
            self.assertEqual(self.class_rows(index), 2)
            (self.root / "a.png").rename(self.root / "d.png")
            os.utime(self.root / "2.png")
            self.assert_update(index.update(), moved=1, unchanged=3)
            index.rebuild()
            self.assertEqual(passes.call_count, 2)

    def test_an_update_without_changes_loads_no_network_and_changes_nothing(self):
        self.draw(0)
        os.utime(self.root / "0.png", (10**9, 10**9))
        self.make()
        index = Index(self.root)
        before = index.snapshot().version
        with mock.patch("cwcf_jax.collection.opened.load_model", side_effect=AssertionError("loaded")):
            self.assert_update(index.update(), unchanged=1)
        self.assertEqual(index.snapshot().version, before)

    def test_what_cannot_be_read_is_reported_until_it_is_mended(self):
        index = self.make(0, 1)
        (self.root / "1.png").write_bytes(b"damaged")
        (self.root / "2.png").write_bytes(b"")
        for unchanged in (1, 1):
            found = index.update()
            self.assertLen(found.refused, 2)
            for name, reason in zip(("1.png", "2.png"), sorted(found.refused), strict=True):
                self.assertStartsWith(reason, f"{self.root / name}: cannot be read as a picture")
            self.assert_update(dataclasses.replace(found, refused=()), unchanged=unchanged)
            self.assertEqual(self.paths(index), ["0.png"])
        self.draw(1, 2)
        self.assert_update(index.update(), added=2, unchanged=1)

    def test_nothing_but_damaged_pictures(self):
        (self.root / "a.png").write_bytes(b"damaged")
        index = Index.create(self.root, collection.SETTINGS)
        self.assertLen(index.update().refused, 1)
        self.assertEqual(index.status().pictures, 0)

    def test_where_pictures_are(self):
        for seed, name in enumerate(("a.png", "sub/deep/b.png", ".hidden/c.png", "sub/.d.png", "it's 100% ä\n.png")):
            collection.draw(self.root / name, seed)
        (self.root / "notes.txt").write_text("no picture")
        (self.root / "link.png").symlink_to("a.png")
        (self.root / "broken.png").symlink_to("nowhere.png")
        (self.root / "loop").symlink_to(self.root)
        index = Index.create(self.root, collection.SETTINGS)
        self.assert_update(index.update(), added=4)
        self.assertEqual(self.paths(index), ["a.png", "it's 100% ä\n.png", "link.png", "sub/deep/b.png"])
        self.assertEqual(index.remove(["link.png", self.root / "it's 100% ä\n.png"]), 2)
        self.assertEqual(self.paths(index), ["a.png", "sub/deep/b.png"])

    def test_a_name_that_is_no_text(self):
        index = self.make(0)
        collection.draw(self.root / "sub" / "1.png", 1)
        os.rename(self.root / "sub" / "1.png", os.fsencode(self.root) + b"/\xff.png")  # noqa: PTH104
        found = index.update()
        self.assertEqual(self.paths(index), ["0.png"])
        self.assertLen(found.refused, 1)
        self.assertIn("is not UTF-8", found.refused[0])

    def test_class_vectors_are_there_before_the_entries_that_name_them(self):
        index = self.make(0)
        self.draw(1)
        with (
            mock.patch.object(LanceStore, "put", side_effect=OSError("killed")),
            self.assertRaisesRegex(OSError, "kill"),
        ):
            index.add(["1.png"])
        self.assertEqual((self.paths(index), self.class_rows(index)), (["0.png"], 2))
        self.assert_update(index.update(), added=1, unchanged=1)
        collection.assert_whole(self, index)

    def test_the_folder_is_gone(self):
        self.draw(0)
        index = Index.create(self.root, collection.SETTINGS, folder=self.create_tempdir().full_path)
        index.update()
        shutil.rmtree(self.root)
        with self.assertRaisesRegex(DatasetError, "no such folder"):
            index.update()
        self.assertEqual(self.paths(index), ["0.png"])

    def test_progress_counts_to_the_end(self):
        self.draw(0, 1, 2)
        calls = []
        Index.create(self.root, collection.SETTINGS).update(lambda *call: calls.append(call))
        self.assertEqual(calls[0], ("looking for changes", 0, 3))
        self.assertEqual(calls[-1], ("encoding", 3, 3))
        done = [done for what, done, _ in calls if what == "encoding"]
        self.assertEqual(done, sorted(done))


class AddRemoveTest(IndexCase):
    def test_what_is_removed_stays_out_until_it_is_added(self):
        index = self.make(0, 1, 2)
        self.assertEqual(index.remove(["1.png", self.root / "2.png", "1.png"]), 2)
        self.assertEqual(self.paths(index), ["0.png"])
        self.assertTrue((self.root / "1.png").exists())
        self.assert_update(Index(self.root).update(), unchanged=1)
        self.assert_update(index.add(["1.png"]), added=1)
        self.assertEqual(self.paths(index), ["0.png", "1.png"])
        self.assert_update(index.update(), unchanged=2)
        index.add([self.root / "2.png"])
        collection.assert_whole(self, index)

    def test_only_what_is_named_is_added(self):
        index = self.make(0)
        self.draw(1, 2)
        (self.root / "0.png").unlink()
        self.assert_update(index.add(["1.png", self.root / "1.png"]), added=1)
        self.assertEqual(self.paths(index), ["0.png", "1.png"])
        self.assert_update(index.add(["1.png"]), unchanged=1)
        found = index.add(["missing.png"])
        self.assertRegex(found.refused[0], "missing.png: No such file")

    def test_a_picture_whose_file_is_gone_is_removed(self):
        index = self.make(0, 1, 2)
        for name in ("1.png", "2.png"):
            (self.root / name).unlink()
        self.assertEqual(index.remove(["1.png", self.root / "2.png"]), 2)

    def test_unknown_pictures(self):
        index = self.make(0, 1)
        with self.assertRaisesRegex(ValueError, "not in the index: 7.png"):
            index.remove(["0.png", "7.png"])
        self.assertLen(self.paths(index), 2)
        outside = pathlib.Path(self.create_tempdir().full_path, "a.png")
        collection.draw(outside, 1)
        for change in (index.add, index.remove):
            with self.assertRaisesRegex(ValueError, "a.png is not below .*, whose index this is"):
                change([outside])

    def test_paths_are_meant_from_here_or_from_the_root(self):
        index = self.make()
        collection.draw(self.root / "sub" / "a.png", 1)
        before = pathlib.Path.cwd()
        self.addCleanup(os.chdir, before)
        os.chdir(self.root / "sub")
        for path in ("a.png", "sub/a.png", "../sub/a.png", self.root / "sub" / ".." / "sub" / "a.png"):
            self.assertEqual(index.relative(path), "sub/a.png")


class RebuildTest(IndexCase):
    def test_orphans_go_and_the_rest_stays(self):
        index = self.make(0, 1, 2, 3)
        for seed in (10, 11):
            collection.draw(self.root / "3.png", seed)
            index.update()
        index.remove(["0.png"])
        shutil.copy(self.root / "1.png", self.root / "copy.png")
        index.update()
        _, entries, descriptors = index.snapshot()
        self.assertEqual(self.class_rows(index), 6)
        before = collection.class_vectors(index, [entry.row for entry in entries])[0]
        index.rebuild()
        _, found, again = index.snapshot()
        self.assertEqual([dataclasses.replace(one, row=0) for one in entries],
                         [dataclasses.replace(one, row=0) for one in found])  # fmt: skip
        np.testing.assert_allclose(again, descriptors, atol=1e-6)
        self.assertEqual(self.class_rows(index), 3)
        after, steps = collection.class_vectors(index, [entry.row for entry in found])
        self.assertLessEqual(np.max(np.abs(after - before) - 1.001 * steps[..., None]), 0)
        self.assert_update(index.update(), unchanged=4)

    def test_earlier_generations_go_at_the_next_update(self):
        index = self.make(0)
        index.rebuild()
        self.assertEqual(index.generation().name, "generation-2")
        index.update()
        self.assertEqual([path.name for path in index.folder.glob("generation-*")], ["generation-2"])

    def test_half_of_the_rows_orphans(self):
        with mock.patch.multiple(updating, SMALL=2, LARGE=4):
            index = self.make(0, 1)
            for seed in range(10, 16):
                collection.draw(self.root / "1.png", seed)
                index.update()
                self.assertEqual(self.class_rows(index), seed - 7)
            self.assertEqual(index.generation().name, "generation-1")
            collection.draw(self.root / "1.png", 16)
            index.update()
        self.assertEqual(index.generation().name, "generation-2")
        self.assertEqual(self.class_rows(index), 2)
        collection.assert_whole(self, index)

    def test_a_whitening_is_fitted_where_there_are_enough_pictures(self):
        with mock.patch.object(whitening, "ENOUGH", 6):
            index = self.make(0, 1, 2, 3, 4)
            self.assertEqual(index.status().whitening, "nothing")
            self.draw(5)
            index.update()
            index.rebuild()
            self.assertEqual(index.status().whitening, "nothing")
            index.rebuild(refit=True)
            self.assertEqual(index.status().whitening, "6 pictures of the folder")
            other = Index.create(self.root, index.settings, folder=self.create_tempdir().full_path)
            other.update()
        self.assertEqual(other.status().whitening, "6 pictures of the folder")
        collection.assert_same(self, index, other)

    def test_one_that_fails_leaves_everything_as_it_was(self):
        index = self.make(0, 1, 2)
        before = index.snapshot()
        for target in ("cwcf_jax.collection.table.LanceStore.put", "cwcf_jax.collection.whitening.save"):
            with mock.patch(target, side_effect=OSError("disk full")), self.assertRaisesRegex(OSError, "disk full"):
                index.rebuild(refit=True)
            self.assertEqual(index.snapshot().entries, before.entries)
        index.rebuild()
        self.assertEqual(self.paths(index), ["0.png", "1.png", "2.png"])


class DamageTest(IndexCase):
    def test_the_header(self):
        index = self.make(0)
        (index.folder / "index.json").write_text("{")
        for read in (lambda: Index(self.root), index.update, index.snapshot):
            with self.assertRaisesRegex(ValueError, "index.json cannot be used .*; remove .* and index again"):
                read()

    def test_the_weights(self):
        weights = pathlib.Path(self.create_tempdir().full_path, "weights.npz")
        shutil.copy(collection.WEIGHTS, weights)
        index = self.make(0, settings=dataclasses.replace(collection.SETTINGS, weights=str(weights)))
        weights.rename(weights.with_name("gone.npz"))
        self.draw(1)
        with self.assertRaisesRegex(FileNotFoundError, "the weights that the index was made with are gone"):
            Index(self.root).update()
        weights.write_bytes(b"others")
        with self.assertRaisesRegex(ValueError, "Put the file back, or make a new index"):
            Index(self.root).update()
        weights.with_name("gone.npz").rename(weights)
        self.assert_update(Index(self.root).update(), added=1, unchanged=1)
        self.assertEqual(self.paths(index), ["0.png", "1.png"])

    def test_the_whitening(self):
        index = self.make(0)
        (index.generation() / whitening.FILE).write_bytes(b"")
        with self.assertRaisesRegex(ValueError, "whitening.npz cannot be used"):
            index.search(self.root / "0.png")

    def test_class_vectors(self):
        index = self.make(0)
        (index.generation() / "vectors" / "store.json").write_text("{")
        self.draw(1)
        with self.assertRaisesRegex(StaleStoreError, "store.json"):
            index.update()

    def test_maps_that_are_lost_are_made_anew(self):
        index = self.make(0, 1)
        shutil.rmtree(index.folder / "maps")
        self.assert_update(index.update(), unchanged=2)
        collection.assert_whole(self, index)


if __name__ == "__main__":
    absltest.main()
