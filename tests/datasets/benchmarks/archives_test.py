import os
import pathlib
import tarfile
import zipfile
from unittest import mock

from absl.testing import absltest, parameterized

from cwcf_jax.datasets.benchmarks import archives
from cwcf_jax.datasets.benchmarks.archives import read_archived_texts, read_files
from cwcf_jax.images.imagesets import DatasetError
from tests.datasets.benchmarks import layouts

FILES = {"b/two.jpg": b"2", "a.txt": b"text", "./c/3.jpg": b"", ".hidden/x.jpg": b"", "d/._a.jpg": b"", "e/.DS": b""}


class ReadFilesTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.folder = layouts.folder_of(self)

    @parameterized.parameters("x.tgz", "x.tar.gz", "x.tar", "x.zip")
    def test_archives_are_read_in_stored_order(self, name):
        path = self.folder / name
        (layouts.write_zip if name.endswith("zip") else layouts.write_tar)(path, FILES)
        actual = [(file.name, file.read(), file.location) for file in read_files(path)]
        self.assertEqual([file[:2] for file in actual], [("b/two.jpg", b"2"), ("a.txt", b"text"), ("./c/3.jpg", b"")])
        self.assertEqual(actual[0][2], f"{path}: b/two.jpg")
        self.assertEqual(list(self.folder.iterdir()), [path])  # nothing is extracted

    def test_modification_times(self):
        layouts.write_tar(self.folder / "x.tgz", FILES, layouts.NEW)
        layouts.write_zip(self.folder / "x.zip", FILES, 2011)
        layouts.write_folder(self.folder / "x", FILES, layouts.OLD)
        dates = [{file.modified for file in read_files(self.folder / name)} for name in ("x.tgz", "x.zip", "x")]
        self.assertEqual(dates, [{layouts.NEW}, {1304208000.0}, {layouts.OLD}])  # 2011-05-01 in UTC

    def test_a_folder_is_read_in_order_of_paths(self):
        layouts.write_folder(self.folder, FILES)
        actual = [(file.name, file.read(), file.location) for file in read_files(self.folder)]
        self.assertEqual([file[:2] for file in actual], [("a.txt", b"text"), ("b/two.jpg", b"2"), ("c/3.jpg", b"")])
        self.assertEqual(actual[1][2], f"{self.folder}/b/two.jpg")

    @parameterized.parameters(
        "/etc/passwd", "../up.jpg", "a/../../up.jpg", "C:/x.jpg", "a\\..\\up.jpg", "\\\\host\\x.jpg"
    )
    def test_paths_outside_the_archive_are_refused(self, name):
        path = self.folder / "x.tgz"
        layouts.write_tar(path, {name: b""})
        with self.assertRaises(DatasetError) as context:
            list(read_files(path))
        self.assertEqual(str(context.exception), f"{path}: {name}: an absolute path or '..' in an archive is refused")
        layouts.write_zip(self.folder / "x.zip", {name: b""})
        with self.assertRaisesRegex(DatasetError, "an absolute path or '..' in an archive is refused"):
            list(read_files(self.folder / "x.zip"))

    @parameterized.parameters(tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE)
    def test_links_and_devices_are_refused(self, kind):
        path = self.folder / "x.tgz"
        with tarfile.open(path, "w:gz") as archive:
            member = tarfile.TarInfo("link.jpg")
            member.type, member.linkname = kind, "/etc/passwd"
            archive.addfile(member)
        with self.assertRaisesRegex(DatasetError, "x.tgz: link.jpg: a link or a device in an archive is refused"):
            list(read_files(path))

    def test_a_link_in_a_zip_archive_is_refused(self):
        path = self.folder / "x.zip"
        with zipfile.ZipFile(path, "w") as archive:
            member = zipfile.ZipInfo("link.jpg")
            member.create_system, member.external_attr = 3, 0o120777 << 16
            archive.writestr(member, "/etc/passwd")
        with self.assertRaisesRegex(DatasetError, "x.zip: link.jpg: a link or a device in an archive is refused"):
            list(read_files(path))

    @parameterized.parameters("x.tgz", "x.zip", "x.tar")
    def test_damaged_archive(self, name):
        path = self.folder / name
        path.write_bytes(b"<html>404</html>")
        with self.assertRaisesRegex(DatasetError, f"{path}: cannot be read as an archive"):
            list(read_files(path))

    def test_truncated_archive(self):
        path = self.folder / "x.tgz"
        layouts.write_tar(path, {f"{i}.jpg": os.urandom(2000) for i in range(9)})
        path.write_bytes(path.read_bytes()[:9000])
        with self.assertRaisesRegex(DatasetError, f"{path}: cannot be read as an archive"):
            [file.read() for file in read_files(path)]

    def test_other_errors_are_not_swallowed(self):
        path = self.folder / "x.tgz"
        layouts.write_tar(path, FILES)
        with self.assertRaises(KeyError):
            for file in read_files(path):
                raise KeyError(file.name)

    @parameterized.parameters("x.tgz", "x.zip", "x")
    def test_too_large_file(self, name):
        write = {"x.tgz": layouts.write_tar, "x.zip": layouts.write_zip, "x": layouts.write_folder}[name]
        write(self.folder / name, {"a.jpg": b"12345"})
        with mock.patch.object(archives, "MAX_BYTES", 4), self.assertRaisesRegex(DatasetError, "a.jpg: larger than"):
            [file.read() for file in read_files(self.folder / name)]


class ReadArchivedTextsTest(absltest.TestCase):
    def test_texts_by_file_name(self):
        path = layouts.folder_of(self) / "gt.tgz"
        layouts.write_tar(path, {"gt/b_good.txt": b"x\n\n y \n", "readme": b"", "a_ok.txt": b""})
        texts = read_archived_texts(path)
        self.assertEqual(dict(texts.contents), {"b_good.txt": b"x\n\n y \n", "a_ok.txt": b""})
        self.assertEqual(texts.lines("b_good.txt"), [(1, "x"), (3, "y")])
        with self.assertRaisesRegex(DatasetError, f"{path}/c.txt: cannot be read .no such file"):
            texts.lines("c.txt")

    def test_a_name_that_occurs_twice(self):
        path = layouts.folder_of(self) / "gt.tgz"
        layouts.write_tar(path, {"a/b.txt": b"", "c/b.txt": b""})
        with self.assertRaisesRegex(DatasetError, f"{path}: c/b.txt: there is another b.txt in the same source"):
            read_archived_texts(path)

    def test_no_such_archive(self):
        with self.assertRaisesRegex(DatasetError, "none.tgz: cannot be read as an archive"):
            read_archived_texts(pathlib.Path("none.tgz"))


if __name__ == "__main__":
    absltest.main()
