import copy
import json

from absl.testing import absltest, parameterized

from cwcf_jax.datasets.benchmarks.assembly import DatasetAssembly
from cwcf_jax.datasets.benchmarks.specs import DATASETS, PARIS_CORRUPT, ExpectedCounts
from cwcf_jax.images.imagesets import DatasetError
from tests.datasets.benchmarks import layouts
from tests.datasets.benchmarks.layouts import jpeg


class AssemblyCase(parameterized.TestCase):
    NAME, COUNTS = "oxford5k", ExpectedCounts((5,), 2)

    def setUp(self):
        super().setUp()
        self.manual_dir = layouts.folder_of(self) / "manual"
        self.manual_dir.mkdir()

    def assemble(self, counts=None):
        """Returns the pictures of the database, the pictures of the queries, and the metadata."""
        assembly = DatasetAssembly(DATASETS[self.NAME], self.manual_dir, counts or self.COUNTS)
        images = list(assembly.images())
        return images, list(assembly.queries()), assembly.metadata()

    def assert_refused(self, message, counts=None):
        with self.assertRaises(DatasetError) as context:
            self.assemble(counts)
        self.assertStartsWith(str(context.exception), f"{self.manual_dir}/{message}")


class OxfordTest(AssemblyCase):
    def setUp(self):
        super().setUp()
        self.pictures, self.labels = dict(layouts.OXFORD), dict(layouts.OXFORD_LABELS)

    def write(self):
        layouts.write_tar(self.manual_dir / "oxbuild_images.tgz", self.pictures)
        layouts.write_tar(self.manual_dir / "gt_files_170407.tgz", self.labels)

    def assemble(self, counts=None):
        self.write()
        return super().assemble(counts)

    def test_records_in_order_of_the_archive_and_the_database_in_order_of_names(self):
        images, queries, metadata = self.assemble()
        names = ["hall_3", "hall_10", "all_1", "gate_2", "oxford_7"]
        self.assertEqual(images, list(zip(names, layouts.OXFORD.values(), strict=True)))
        self.assertEqual(queries, [])
        self.assertEqual(metadata["names"], names)
        self.assertEqual([names[record] for record in metadata["images"]], sorted(names))
        self.assertEqual(metadata["release"], "original")
        # The database in order: all_1 gate_2 hall_10 hall_3 oxford_7.
        self.assertEqual(
            metadata["queries"][1],
            {
                "name": "hall_1",
                "image": 2,
                "record": None,
                "box": [1.0, 2.0, 30.5, 19.0],
                "positives": [2, 3],
                "junk": [1],
                "hard": None,
            },
        )
        self.assertEqual(json.loads(json.dumps(metadata)), metadata)

    def test_names_sort_as_their_files_do(self):
        self.pictures |= {"hall-2.jpg": jpeg(1), "hall.jpg": jpeg(2)}
        images, _, metadata = self.assemble(ExpectedCounts((7,), 2))
        names = [images[record][0] for record in metadata["images"]]
        self.assertEqual(names, [name.removesuffix(".jpg") for name in sorted(self.pictures)])

    def test_other_files_are_skipped(self):
        self.pictures |= {"README": b"", "sub/": b"", "._hall_3.jpg": b"", "notes.txt": b""}
        del self.pictures["sub/"]
        self.assertLen(self.assemble()[0], 5)

    def test_names_that_occur_twice(self):
        self.pictures["more/hall_3.jpg"] = jpeg(0)
        archive = f"{self.manual_dir}/oxbuild_images.tgz"
        self.assert_refused(f"oxbuild_images.tgz: more/hall_3.jpg: hall_3 occurs twice, first as {archive}: hall_3.jpg")

    def test_counts(self):
        self.assert_refused("oxbuild_images.tgz: 5 pictures of oxford5k instead of 5,063", ExpectedCounts((5063,), 2))
        self.assert_refused("oxbuild_images.tgz: 5 pictures of oxford5k instead of 6 or 7", ExpectedCounts((6, 7), 2))
        self.assert_refused(
            "oxbuild_images.tgz: oxford_7.jpg is one too many: 5 pictures of oxford5k instead of 4",
            ExpectedCounts((4,), 2),
        )
        with self.assertRaisesRegex(DatasetError, "ground truth of Oxford5k: 2 queries of oxford5k instead of 55"):
            self.assemble(ExpectedCounts((5,), 55))
        self.assertLen(self.assemble(ExpectedCounts((5, 9), 2))[0], 5)

    @parameterized.parameters(
        ("oxc1_hall_10 1 2 41.5 19", "the box 1.0 2.0 41.5 19.0 leaves its picture of 40 x 20 pixels"),
        ("oxc1_hall_10 9 2 9 19", "the box 9.0 2.0 9.0 19.0 has no area"),
        ("oxc1_hall_10 9 2 1 19", "the box 9.0 2.0 1.0 19.0 has no area; it is x1 y1 x2 y2, corners in order"),
        ("oxc1_hall_11 1 2 3 4", "hall_11 is not in the database"),
        ("oxc1_hall_10 1 2 3", "expected one line NAME x1 y1 x2 y2"),
        ("oxc1_hall_10 1 2 3 x", "could not convert string to float: 'x'"),
    )
    def test_invalid_queries(self, line, message):
        self.labels["hall_1_query.txt"] = line.encode()
        self.assert_refused(f"gt_files_170407.tgz/hall_1_query.txt:1: {message}")

    def test_invalid_groups(self):
        self.labels["hall_1_ok.txt"] = b"hall_3\n\nhall_4\n"
        self.assert_refused("gt_files_170407.tgz/hall_1_ok.txt:3: hall_4 is a positive but not in the database")
        self.labels["hall_1_ok.txt"] = b"gate_2\n"
        self.assert_refused("gt_files_170407.tgz/hall_1_junk.txt: positive and junk at once: gate_2")
        del self.labels["hall_1_ok.txt"]
        self.assert_refused("gt_files_170407.tgz/hall_1_ok.txt: cannot be read (no such file)")

    def test_a_query_whose_picture_is_damaged(self):
        self.pictures["hall_10.jpg"] = b"no picture"
        self.assert_refused("oxbuild_images.tgz: hall_10.jpg: cannot be read as a picture (")

    def test_releases(self):
        for files, modified, name, expected in (
            (self.pictures, layouts.NEW, "oxbuild_images.tgz", "unknown"),
            (self.pictures, layouts.NEW, "oxbuild_images-v1.tgz", "face-blurred"),
        ):
            self.write()
            (self.manual_dir / "oxbuild_images.tgz").unlink()
            layouts.write_tar(self.manual_dir / name, files, modified)
            self.assertEqual(AssemblyCase.assemble(self)[2]["release"], expected)
            (self.manual_dir / name).unlink()

    def test_missing_archives(self):
        for name in ("oxbuild_images.tgz", "gt_files_170407.tgz"):
            self.write()
            (self.manual_dir / name).unlink()
            with self.assertRaisesRegex(
                DatasetError, "manual: the .* of Oxford5k is missing; get it from https://www.rob"
            ):
                AssemblyCase.assemble(self)


class ParisTest(AssemblyCase):
    NAME, COUNTS = "paris6k", ExpectedCounts((4,), 1)

    def test_the_corrupt_files_are_left_out_by_name(self):
        first, second = dict(list(layouts.PARIS.items())[:2]), dict(list(layouts.PARIS.items())[2:])
        layouts.write_tar(self.manual_dir / "paris_1.tgz", first)
        layouts.write_tar(self.manual_dir / "paris_2.tgz", second | layouts.CORRUPT)
        layouts.write_tar(self.manual_dir / "paris_120310.tgz", layouts.PARIS_LABELS)
        images, _, metadata = self.assemble()
        self.assertNotIn("paris_louvre_000136", metadata["names"])
        self.assertEqual(images[0][0], "paris_defense_000000")
        (query,) = metadata["queries"]
        self.assertEqual((query["positives"], query["junk"], query["box"]), ([0], [1], [1.0, 1.0, 9.0, 9.0]))

    def test_there_are_twenty_corrupt_files(self):
        self.assertLen(PARIS_CORRUPT, 20)  # 6412 - 6392


class RevisitedTest(AssemblyCase):
    NAME, COUNTS = "roxford5k", ExpectedCounts((3,), 2)

    def setUp(self):
        super().setUp()
        self.pictures, self.lists = dict(layouts.OXFORD), copy.deepcopy(layouts.REVISITED)

    def assemble(self, counts=None):
        layouts.write_tar(self.manual_dir / "oxbuild_images.tgz", self.pictures)
        layouts.write_pickle(self.manual_dir / "gnd_roxford5k.pkl", self.lists)
        return super().assemble(counts)

    def test_queries_are_not_in_the_database(self):
        images, queries, metadata = self.assemble()
        self.assertEqual([name for name, _ in images], ["hall_3", "gate_2", "oxford_7"])
        self.assertEqual(queries, [(name, layouts.OXFORD[f"{name}.jpg"]) for name in ("hall_10", "all_1")])
        self.assertEqual(metadata["images"], [2, 0, 1])  # the order of imlist
        first, second = metadata["queries"]
        self.assertEqual((first["name"], first["image"], first["record"]), ("hall_10", None, 0))
        self.assertEqual((first["positives"], first["hard"], first["junk"]), ([1, 2], [2], []))
        self.assertEqual((second["record"], second["positives"], second["hard"]), (1, [0, 2], [0, 2]))

    def test_a_query_that_is_in_the_database(self):
        self.lists["qimlist"][1] = "gate_2"
        _, queries, metadata = self.assemble()
        self.assertEqual([name for name, _ in queries], ["hall_10"])
        self.assertEqual([(query["image"], query["record"]) for query in metadata["queries"]], [(None, 0), (2, None)])

    def test_pictures_that_are_missing(self):
        del self.pictures["hall_3.jpg"]
        self.assert_refused(f"gnd_roxford5k.pkl: imlist[1]: there is no hall_3 in {self.manual_dir}/oxbuild_images.tgz")
        self.pictures["hall_3.jpg"] = jpeg(1)
        del self.pictures["all_1.jpg"]
        self.assert_refused(f"gnd_roxford5k.pkl: gnd[1]: there is no all_1 in {self.manual_dir}/oxbuild_images.tgz")

    def test_counts_are_checked_before_the_archive_is_read(self):
        self.pictures = {}
        for counts, message in (
            (((4,), 2), "3 pictures of roxford5k instead of 4"),
            (((3,), 70), "2 queries .* instead of 70"),
        ):
            with self.assertRaisesRegex(DatasetError, message):
                self.assemble(ExpectedCounts(*counts))

    def test_a_box_that_leaves_its_picture(self):
        self.lists["gnd"][1]["bbx"] = [0, 0, 40, 22]
        self.assert_refused("gnd_roxford5k.pkl: gnd[1]['bbx']: the box 0.0 0.0 40.0 22.0 leaves its picture of 40 x 20")


class ListedTest(AssemblyCase):
    NAME, COUNTS = "revisitop1m", ExpectedCounts((4,))

    def test_r1m_is_in_the_order_of_its_list(self):
        for number, files in enumerate(layouts.MILLION, start=1):
            layouts.write_tar(self.manual_dir / f"revisitop1m.{number}.tar.gz", files)
        (self.manual_dir / "revisitop1m.txt").write_text(layouts.MILLION_LIST)
        images, _, metadata = self.assemble()
        names = [images[record][0] for record in metadata["images"]]
        self.assertEqual(names, layouts.MILLION_LIST.split())
        self.assertEqual((metadata["release"], metadata["queries"]), ("", []))
        (self.manual_dir / "revisitop1m.2.tar.gz").unlink()
        self.assert_refused("revisitop1m.txt:1: there is no c1/c1b.jpg in ")


class FlickrTest(AssemblyCase):
    NAME, COUNTS = "flickr100k", ExpectedCounts((3,))

    def test_names_with_their_tag(self):
        layouts.write_folder(self.manual_dir, layouts.FLICKR)
        layouts.write_zip(self.manual_dir / "oxc1_100k.zip", layouts.FLICKR)
        expected = ["oxford/oxford_1", "oxford/oxford_2", "paris/paris_0"]
        for source in ("archive", "folder"):
            images, _, metadata = self.assemble()
            self.assertEqual([images[record][0] for record in metadata["images"]], expected, source)
            (self.manual_dir / "oxc1_100k.zip").unlink(missing_ok=True)


if __name__ == "__main__":
    absltest.main()
