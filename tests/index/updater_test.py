import dataclasses
import os
import pathlib
import shutil
from unittest import mock

import numpy as np
from absl.testing import absltest

import cwcf_jax
from cwcf_jax.images import DatasetError, read_image
from cwcf_jax.index import Index, LanceStore, encoding, updater, whitening
from tests.support import indexes, whitenings


class UpdateTest(indexes.IndexCase):
    def test_every_kind_of_change(self):
        index = self.make(0, 1, 2, 3, 4, 5)
        (self.root / "sub").mkdir()
        (self.root / "0.png").rename(self.root / "sub" / "moved.png")
        shutil.copy(self.root / "1.png", self.root / "copy.png")
        (self.root / "2.png").unlink()
        shutil.copy(self.root / "4.png", self.root / "3.png")
        indexes.draw(self.root / "5.png", 50)
        self.draw(6)
        update = index.update()
        self.assert_update(update, added=2, changed=2, moved=1, removed=1, unchanged=2)
        expected = ["1.png", "3.png", "4.png", "5.png", "6.png", "copy.png", "sub/moved.png"]
        self.assertEqual(self.paths(index), expected)
        self.assert_update(index.update(), unchanged=7)
        expected_index = Index.create(self.root, index.config, folder=pathlib.Path(self.create_tempdir().full_path))
        expected_index.update()
        indexes.assert_same(self, index, expected_index)

    def test_swapped_pictures(self):
        index = self.make(0, 1)
        descriptors_before = dict(zip(self.paths(index), index.snapshot().descriptors, strict=True))
        (self.root / "0.png").rename(self.root / "2.png")
        (self.root / "1.png").rename(self.root / "0.png")
        (self.root / "2.png").rename(self.root / "1.png")
        self.assert_update(index.update(), changed=2)
        descriptors = dict(zip(self.paths(index), index.snapshot().descriptors, strict=True))
        np.testing.assert_array_equal(descriptors["0.png"], descriptors_before["1.png"])
        np.testing.assert_array_equal(descriptors["1.png"], descriptors_before["0.png"])

    def test_only_new_content_goes_through_the_network_once(self):
        for name in ("a", "b", "sub/c"):
            indexes.draw(self.root / f"{name}.png", 1)
        self.draw(2)
        index = Index.create(self.root, indexes.CONFIG)
        with mock.patch.object(encoding, "model_maps", wraps=encoding.model_maps) as passes:
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
        version = index.snapshot().version
        with mock.patch("cwcf_jax.index.reader.load_model", side_effect=AssertionError("loaded")):
            self.assert_update(index.update(), unchanged=1)
        self.assertEqual(index.snapshot().version, version)

    def test_unreadable_pictures_are_reported_until_they_are_repaired(self):
        index = self.make(0, 1)
        (self.root / "1.png").write_bytes(b"damaged")
        (self.root / "2.png").write_bytes(b"")
        for unchanged in (1, 1):
            update = index.update()
            self.assertLen(update.refused, 2)
            for name, reason in zip(("1.png", "2.png"), sorted(update.refused), strict=True):
                self.assertStartsWith(reason, f"{self.root / name}: cannot be read as a picture")
            self.assert_update(dataclasses.replace(update, refused=()), unchanged=unchanged)
            self.assertEqual(self.paths(index), ["0.png"])
        self.draw(1, 2)
        self.assert_update(index.update(), added=2, unchanged=1)

    def test_only_damaged_pictures(self):
        (self.root / "a.png").write_bytes(b"damaged")
        index = Index.create(self.root, indexes.CONFIG)
        self.assertLen(index.update().refused, 1)
        self.assertEqual(index.status().pictures, 0)

    def test_listed_pictures(self):
        for seed, name in enumerate(("a.png", "sub/deep/b.png", ".hidden/c.png", "sub/.d.png", "it's 100% ä\n.png")):
            indexes.draw(self.root / name, seed)
        (self.root / "notes.txt").write_text("no picture")
        (self.root / "link.png").symlink_to("a.png")
        (self.root / "broken.png").symlink_to("nowhere.png")
        (self.root / "loop").symlink_to(self.root)
        index = Index.create(self.root, indexes.CONFIG)
        self.assert_update(index.update(), added=4)
        self.assertEqual(self.paths(index), ["a.png", "it's 100% ä\n.png", "link.png", "sub/deep/b.png"])
        self.assertEqual(index.remove(["link.png", self.root / "it's 100% ä\n.png"]), 2)
        self.assertEqual(self.paths(index), ["a.png", "sub/deep/b.png"])

    def test_a_name_that_is_not_utf8(self):
        index = self.make(0)
        indexes.draw(self.root / "sub" / "1.png", 1)
        os.rename(self.root / "sub" / "1.png", os.fsencode(self.root) + b"/\xff.png")  # noqa: PTH104
        update = index.update()
        self.assertEqual(self.paths(index), ["0.png"])
        self.assertLen(update.refused, 1)
        self.assertIn("is not UTF-8", update.refused[0])

    def test_class_vectors_are_written_before_their_entries(self):
        index = self.make(0)
        self.draw(1)
        with (
            mock.patch.object(LanceStore, "put", side_effect=OSError("killed")),
            self.assertRaisesRegex(OSError, "kill"),
        ):
            index.add(["1.png"])
        self.assertEqual((self.paths(index), self.class_rows(index)), (["0.png"], 2))
        self.assert_update(index.update(), added=1, unchanged=1)
        indexes.assert_whole(self, index)

    def test_a_deleted_folder(self):
        self.draw(0)
        index = Index.create(self.root, indexes.CONFIG, folder=self.create_tempdir().full_path)
        index.update()
        shutil.rmtree(self.root)
        with self.assertRaisesRegex(DatasetError, "no such folder"):
            index.update()
        self.assertEqual(self.paths(index), ["0.png"])

    def test_progress_counts_to_the_end(self):
        self.draw(0, 1, 2)
        calls = []
        Index.create(self.root, indexes.CONFIG).update(lambda *call: calls.append(call))
        self.assertEqual(calls[0], ("looking for changes", 0, 3))
        self.assertEqual(calls[-1], ("encoding", 3, 3))
        done = [done for step, done, _ in calls if step == "encoding"]
        self.assertEqual(done, sorted(done))


class RebuildTest(indexes.IndexCase):
    def test_a_rebuild_frees_unused_class_vectors(self):
        index = self.make(0, 1, 2, 3)
        for seed in (10, 11):
            indexes.draw(self.root / "3.png", seed)
            index.update()
        index.remove(["0.png"])
        shutil.copy(self.root / "1.png", self.root / "copy.png")
        index.update()
        _, entries, descriptors = index.snapshot()
        self.assertEqual(self.class_rows(index), 6)
        vectors_before = indexes.class_vectors(index, [entry.row for entry in entries])[0]
        index.rebuild()
        _, new_entries, new_descriptors = index.snapshot()
        self.assertEqual([dataclasses.replace(entry, row=0) for entry in entries],
                         [dataclasses.replace(entry, row=0) for entry in new_entries])  # fmt: skip
        np.testing.assert_allclose(new_descriptors, descriptors, atol=1e-6)
        self.assertEqual(self.class_rows(index), 3)
        vectors, steps = indexes.class_vectors(index, [entry.row for entry in new_entries])
        self.assertLessEqual(np.max(np.abs(vectors - vectors_before) - 1.001 * steps[..., None]), 0)
        self.assert_update(index.update(), unchanged=4)

    def test_the_next_update_removes_earlier_generations(self):
        index = self.make(0)
        index.rebuild()
        self.assertEqual(index.generation().name, "generation-2")
        index.update()
        self.assertEqual([path.name for path in index.folder.glob("generation-*")], ["generation-2"])

    def test_an_automatic_rebuild(self):
        with mock.patch.multiple(updater, SMALL_SHARD=2, LARGE_SHARD=4):
            index = self.make(0, 1)
            for seed in range(10, 16):
                indexes.draw(self.root / "1.png", seed)
                index.update()
                self.assertEqual(self.class_rows(index), seed - 7)
            self.assertEqual(index.generation().name, "generation-1")
            indexes.draw(self.root / "1.png", 16)
            index.update()
        self.assertEqual(index.generation().name, "generation-2")
        self.assertEqual(self.class_rows(index), 2)
        indexes.assert_whole(self, index)

    def test_a_whitening_is_fitted_on_enough_pictures(self):
        with mock.patch.object(whitening, "MIN_PICTURES", 6):
            index = self.make(0, 1, 2, 3, 4)
            self.assertEqual(index.status().whitening, "nothing")
            self.draw(5)
            index.update()
            index.rebuild()
            self.assertEqual(index.status().whitening, "nothing")
            index.rebuild(refit=True)
            self.assertEqual(index.status().whitening, "6 pictures of the folder")
            expected_index = Index.create(self.root, index.config, folder=self.create_tempdir().full_path)
            expected_index.update()
        self.assertEqual(expected_index.status().whitening, "6 pictures of the folder")
        indexes.assert_same(self, index, expected_index)

    def test_the_shipped_whitening_is_used_from_the_first_picture_on(self):
        config = dataclasses.replace(indexes.CONFIG, pooling="gem", dim=0)
        model = cwcf_jax.load("thin_cam", indexes.WEIGHTS, pooling="gem")
        fitted = whitenings.ship(self, model)
        shipped = "7 pictures of noise, 3 pictures of more noise"
        with mock.patch.object(whitening, "MIN_PICTURES", 3):
            index = self.make(0, config=config)
            self.assertEqual(index.status().whitening, shipped)
            self.assertEqual(index.config.dim, model.feature_dim)
            descriptor = index.snapshot().descriptors[0]
            image = read_image(self.root / "0.png")[None]
            expected = cwcf_jax.encode(model, image, num_classes=8, whitening=cwcf_jax.shipped_whitening(model))[0]
            np.testing.assert_allclose(descriptor, expected, atol=0.02)  # stored maps are int8
            np.testing.assert_allclose(whitening.read(index.generation()).mean, fitted.mean)
            index.rebuild(refit=True)
            self.assertEqual(index.status().whitening, shipped)  # 1 picture is too few
            self.draw(1, 2)
            index.update()
            self.assertEqual(index.status().whitening, shipped)
            index.rebuild(refit=True)
            self.assertEqual(index.status().whitening, "3 pictures of the folder")
            index.rebuild()
            self.assertEqual(index.status().whitening, "3 pictures of the folder")

    def test_a_shipped_whitening_for_another_pooling_is_not_used(self):
        whitenings.ship(self, cwcf_jax.load("thin_cam", indexes.WEIGHTS, pooling="gem"))
        self.assertEqual(self.make(0).status().whitening, "nothing")

    def test_fewer_dimensions_of_the_shipped_whitening(self):
        model = cwcf_jax.load("thin_cam", indexes.WEIGHTS, pooling="gem")
        whitenings.ship(self, model)
        index = self.make(0, config=dataclasses.replace(indexes.CONFIG, pooling="gem", dim=5))
        np.testing.assert_array_equal(
            whitening.read(index.generation()).projection, cwcf_jax.shipped_whitening(model).projection[:, :5]
        )

    def test_a_failed_rebuild_changes_nothing(self):
        index = self.make(0, 1, 2)
        snapshot = index.snapshot()
        for target in ("cwcf_jax.index.table.LanceStore.put", "cwcf_jax.index.whitening.save"):
            with mock.patch(target, side_effect=OSError("disk full")), self.assertRaisesRegex(OSError, "disk full"):
                index.rebuild(refit=True)
            self.assertEqual(index.snapshot().entries, snapshot.entries)
        index.rebuild()
        self.assertEqual(self.paths(index), ["0.png", "1.png", "2.png"])


if __name__ == "__main__":
    absltest.main()
