import dataclasses
import os
import pathlib
import shutil
from unittest import mock

import numpy as np
from absl.testing import absltest

from cwcf_jax import encoder
from cwcf_jax.images import DatasetError, ObjectFolder
from cwcf_jax.index import Index, changes, make_index_config, whitening
from cwcf_jax.store import StaleStoreError, zarr
from tests.support import indexes, servers, thin


class CreateTest(indexes.IndexCase):
    def test_an_index_inside_the_folder_moves_with_it(self):
        index = self.make(0, 1)
        self.assertEqual(index.folder, self.root / ".cwcf")
        self.assertEqual(index.root, self.root)
        elsewhere = pathlib.Path(self.create_tempdir().full_path, "elsewhere")
        self.root.rename(elsewhere)
        for path in (elsewhere, elsewhere / ".cwcf", str(elsewhere)):
            moved = Index(path)
            self.assertEqual(moved.root, elsewhere)
            self.assert_update(moved.update(), unchanged=2)

    def test_an_index_outside_the_folder(self):
        self.draw(0)
        folder = pathlib.Path(self.create_tempdir().full_path, "deep", "index")
        index = Index.create(self.root, indexes.CONFIG, folder=folder)
        self.assert_update(index.update(), added=1)
        self.assertEqual(Index(folder).root, self.root)
        self.assertEqual([path.name for path in self.root.iterdir()], ["0.png"])

    def test_the_config_is_limited_to_the_network(self):
        index = Index.create(self.root, make_index_config(indexes.WEIGHTS, num_classes=10**6, dim=10**6))
        spec = index.model.network.spec
        self.assertEqual(index.config.num_classes, spec.num_labels)
        self.assertEqual((index.config.dim, index.config.feature_layer), (thin.BLOCKS[-1][0], spec.feature_layer))

    def test_errors(self):
        self.make(0)
        with self.assertRaisesRegex(FileExistsError, ".cwcf is an index already"):
            self.make(0)
        with self.assertRaisesRegex(DatasetError, "missing: no such folder"):
            Index.create(self.root / "missing", indexes.CONFIG)
        with self.assertRaisesRegex(FileNotFoundError, "no index in"):
            Index(self.root / "missing")
        other = pathlib.Path(self.create_tempdir().full_path)
        with self.assertRaises(ValueError):
            Index.create(other, make_index_config(indexes.WEIGHTS, "vgg16_cam"))
        self.assertEqual(list(other.iterdir()), [])

    def test_an_empty_index(self):
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
        self.assertEqual(status.config, index.config)
        self.assertEqual(status.disk, sum(p.stat().st_size for p in index.folder.rglob("*") if p.is_file()))


class AddRemoveTest(indexes.IndexCase):
    def test_removed_pictures_stay_out_until_they_are_added(self):
        index = self.make(0, 1, 2)
        self.assertEqual(index.remove(["1.png", self.root / "2.png", "1.png"]), 2)
        self.assertEqual(self.paths(index), ["0.png"])
        self.assertTrue((self.root / "1.png").exists())
        self.assert_update(Index(self.root).update(), unchanged=1)
        self.assert_update(index.add(["1.png"]), added=1)
        self.assertEqual(self.paths(index), ["0.png", "1.png"])
        self.assert_update(index.update(), unchanged=2)
        index.add([self.root / "2.png"])
        indexes.assert_whole(self, index)

    def test_only_named_pictures_are_added(self):
        index = self.make(0)
        self.draw(1, 2)
        (self.root / "0.png").unlink()
        self.assert_update(index.add(["1.png", self.root / "1.png"]), added=1)
        self.assertEqual(self.paths(index), ["0.png", "1.png"])
        self.assert_update(index.add(["1.png"]), unchanged=1)
        update = index.add(["missing.png"])
        self.assertRegex(update.refused[0], "missing.png: No such file")

    def test_a_picture_without_a_file_is_removed(self):
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
        indexes.draw(outside, 1)
        for change in (index.add, index.remove):
            with self.assertRaisesRegex(ValueError, "a.png is not below .*, the folder of this index"):
                change([outside])

    def test_paths_relative_to_the_working_directory_or_the_root(self):
        index = self.make()
        indexes.draw(self.root / "sub" / "a.png", 1)
        self.addCleanup(os.chdir, pathlib.Path.cwd())
        os.chdir(self.root / "sub")
        for path in ("a.png", "sub/a.png", "../sub/a.png", self.root / "sub" / ".." / "sub" / "a.png"):
            self.assertEqual(index.relative(path), "sub/a.png")


class ObjectStoreTest(indexes.IndexCase):
    """Tests an index with maps, class vectors and table in a bucket."""

    def setUp(self):
        super().setUp()
        self.enterContext(servers.s3_client())
        self.store = f"s3://bucket/{self.id()}"
        self.config = dataclasses.replace(indexes.CONFIG, store=self.store)

    def objects(self):
        return {key.decode() for key in zarr.connect(self.store).list().result()}

    def test_same_as_a_local_index(self):
        index = self.make(*range(5), config=self.config)
        local_folder = pathlib.Path(self.create_tempdir().full_path) / "index"
        local = Index.create(self.root, indexes.CONFIG, folder=local_folder)
        local.update()
        indexes.assert_same(self, index, local)
        self.assertEqual(
            {path.name for path in index.folder.rglob("*") if path.is_file()},
            {"index.json", "lock", "table.name", "whitening.npz"},
        )
        (self.root / "0.png").rename(self.root / "moved.png")
        self.draw(1, 7)
        (self.root / "1.png").write_bytes((self.root / "7.png").read_bytes())
        self.assertEqual(Index(self.root).update(), local.update())
        self.assertEqual((index.remove(["2.png"]), local.remove(["2.png"])), (1, 1))
        index.rebuild()
        local.rebuild()
        (self.root / "2.png").unlink()
        self.assert_update(index.update(), unchanged=5)
        indexes.assert_same(self, index, local)
        name = (index.generation() / "table.name").read_text().strip()
        folders = {key.split("/")[0] for key in self.objects()}
        self.assertEqual(folders, {name, "maps", "owner.json"})  # nothing of the earlier generation

    def test_a_store_belongs_to_one_index(self):
        self.make(0, config=self.config)
        folder = pathlib.Path(self.create_tempdir().full_path) / "other"
        with self.assertRaisesRegex(FileExistsError, f"{self.store} is in use by the index .*; name another folder"):
            Index.create(self.root, self.config, folder=folder)
        self.assertEmpty(list(folder.glob("*")))


class PicturesOnAnObjectStoreTest(indexes.IndexCase):
    """Tests indexes of the same pictures in a folder and in a bucket."""

    def setUp(self):
        super().setUp()
        self.client = self.enterContext(servers.s3_client())
        self.address = f"s3://bucket/{self.id()}"
        self.folder = pathlib.Path(self.create_tempdir().full_path) / "index"

    def put(self, *names):
        for name in names:
            self.client.put_object(Bucket="bucket", Key=f"{self.id()}/{name}", Body=(self.root / name).read_bytes())

    def delete(self, name):
        self.client.delete_object(Bucket="bucket", Key=f"{self.id()}/{name}")

    def test_changes_of_the_bucket(self):
        local = self.make(*range(4))
        self.put(*(f"{seed}.png" for seed in range(4)))
        index = Index.create(self.address, indexes.CONFIG, folder=self.folder)
        self.assert_update(index.update(), added=4)
        self.assert_update(index.update(), unchanged=4)
        self.draw(7)
        (self.root / "1.png").write_bytes((self.root / "7.png").read_bytes())
        (self.root / "0.png").rename(self.root / "moved.png")
        (self.root / "broken.png").write_bytes(b"no picture")
        self.put("1.png", "moved.png", "7.png", "broken.png")
        self.delete("0.png")
        update = Index(self.folder).update()
        self.assertEqual(dataclasses.replace(update, refused=()), dataclasses.replace(local.update(), refused=()))
        self.assertRegex(update.refused[0], f"^{self.address}/broken.png: cannot be read as a picture")
        self.assertEqual(self.paths(index), self.paths(local))
        np.testing.assert_allclose(index.snapshot().descriptors, local.snapshot().descriptors, atol=1e-6)
        self.assertEqual(index.status().root, ObjectFolder(self.address))
        hits = index.search(f"{self.address}/2.png", count=1)
        self.assertEqual(hits[0].entry.path, "2.png")

    def test_some_pictures(self):
        self.draw(0, 1)
        self.put("0.png", "1.png")
        index = Index.create(self.address, indexes.CONFIG, folder=self.folder)
        self.assert_update(index.add([f"{self.address}/1.png"]), added=1)
        self.assertEqual(index.remove(["1.png"]), 1)
        self.assert_update(index.update(), added=1)
        self.assertEqual(self.paths(index), ["0.png"])
        (self.root / "0.png").write_bytes((self.root / "1.png").read_bytes())
        self.put("0.png")
        with mock.patch.object(changes, "TIMESTAMP_RESOLUTION_NS", -(10**12)):  # all times count as reliable
            self.assert_update(index.add(["0.png"]), changed=1)
        update = index.add(["nothing.png"])
        self.assertEqual(update.refused, (f"{self.address}/nothing.png: no such object",))

    def test_errors_of_addresses(self):
        self.draw(0)
        self.put("0.png")
        with self.assertRaisesRegex(ValueError, f"the index of {self.address} needs a folder on this machine: --index"):
            Index.create(self.address, indexes.CONFIG)
        with self.assertRaisesRegex(DatasetError, "s3://bucket/elsewhere: no such folder"):
            Index.create("s3://bucket/elsewhere", indexes.CONFIG, folder=self.folder)
        self.assertFalse(self.folder.exists())


class DamageTest(indexes.IndexCase):
    def test_the_header(self):
        index = self.make(0)
        (index.folder / "index.json").write_text("{")
        for read in (lambda: Index(self.root), index.update, index.snapshot):
            with self.assertRaisesRegex(ValueError, "index.json cannot be used .*; remove .* and index again"):
                read()

    def test_the_weights(self):
        weights = pathlib.Path(self.create_tempdir().full_path, "weights.npz")
        shutil.copy(indexes.WEIGHTS, weights)
        index = self.make(0, config=dataclasses.replace(indexes.CONFIG, weights=str(weights)))
        weights.rename(weights.with_name("gone.npz"))
        self.draw(1)
        with self.assertRaisesRegex(FileNotFoundError, "the weights of this index do not exist"):
            Index(self.root).update()
        weights.write_bytes(b"others")
        with self.assertRaisesRegex(ValueError, "Put the file back, or create a new index"):
            Index(self.root).update()
        weights.with_name("gone.npz").rename(weights)
        self.assert_update(Index(self.root).update(), added=1, unchanged=1)
        self.assertEqual(self.paths(index), ["0.png", "1.png"])

    def test_the_whitening(self):
        index = self.make(0)
        (index.generation() / whitening.WHITENING_FILE).write_bytes(b"")
        with self.assertRaisesRegex(ValueError, "whitening.npz cannot be used"):
            index.search(self.root / "0.png")

    def test_class_vectors(self):
        index = self.make(0)
        (index.generation() / "vectors" / "store.json").write_text("{")
        self.draw(1)
        with self.assertRaisesRegex(StaleStoreError, "store.json"):
            index.update()

    def test_another_pooling(self):
        index = self.make(0, 1, config=dataclasses.replace(indexes.CONFIG, pooling="gem"))
        self.assertEqual(index.model.config.pooling, "gem")
        sum_model = encoder.load("thin_cam", indexes.WEIGHTS)
        with self.assertRaisesRegex(ValueError, "was made with pooling=gem, the model has sum"):
            Index(self.root, model=sum_model)
        header = index.folder / "index.json"
        header.write_text(header.read_text().replace('"gem"', '"sum"'))
        self.draw(2)
        with self.assertRaisesRegex(StaleStoreError, 'pooling: "gem" there, null now'):
            Index(self.root).update()

    def test_deleted_maps_are_computed_again(self):
        index = self.make(0, 1)
        shutil.rmtree(index.folder / "maps")
        self.assert_update(index.update(), unchanged=2)
        indexes.assert_whole(self, index)


if __name__ == "__main__":
    absltest.main()
