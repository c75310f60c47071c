"""This test lists the pictures below a folder."""

import pathlib

from absl.testing import absltest

from cwcf_jax.images.folders import read_folder
from cwcf_jax.images.imagesets import DatasetError


class FolderTest(absltest.TestCase):
    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(self.create_tempdir().full_path) / ".cache" / "holiday"
        self.folder.mkdir(parents=True)

    def touch(self, *names):
        for name in names:
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"")

    def test_pictures_below_in_order(self):
        self.touch("b/2.png", "b/1.jpeg", "c.webp", "a/deep/er/x.tif", "a.jpg")
        actual = read_folder(self.folder)
        names = ("a/deep/er/x.tif", "a.jpg", "b/1.jpeg", "b/2.png", "c.webp")
        self.assertEqual(actual.names, names)
        self.assertEqual(actual.paths, tuple(self.folder / name for name in names))
        self.assertEqual((actual.name, len(actual), actual.queries), ("holiday", 5, ()))

    def test_hidden_files_and_other_files_are_left_out(self):
        self.touch("ok.JPG", "ok.Png", "notes.txt", "jpg", "x.jpg.part", ".hidden.jpg", ".thumbs/a.jpg", "a/.b/c/d.jpg")
        (self.folder / "folder.jpg").mkdir()
        self.assertEqual(read_folder(self.folder).names, ("ok.JPG", "ok.Png"))

    def test_the_name_is_the_folders_own(self):
        self.touch("a.jpg", "sub/b.jpg")
        self.assertEqual(read_folder(self.folder / "sub" / "..").name, "holiday")
        self.assertEqual(read_folder(str(self.folder)).name, "holiday")

    def test_no_such_folder(self):
        self.touch("a.jpg")
        for path in (self.folder / "none", self.folder / "a.jpg"):
            with self.assertRaisesWithLiteralMatch(DatasetError, f"{path}: no such folder"):
                read_folder(path)

    def test_no_pictures(self):
        self.touch("notes.txt")
        with self.assertRaisesWithLiteralMatch(DatasetError, f"{self.folder}: no pictures in this folder or below"):
            read_folder(self.folder)


if __name__ == "__main__":
    absltest.main()
