import pathlib

from absl.testing import absltest, parameterized
from PIL import Image

from cwcf_jax.datasets import oxford
from cwcf_jax.datasets.oxford import read_dataset, read_labels, read_oxford, read_texts
from cwcf_jax.images.imagesets import BenchmarkQuery, DatasetError
from tests.support import shared


class OxfordCase(parameterized.TestCase):
    """`OxfordCase` writes a benchmark of four pictures of 40 x 20 pixels (c, a, b, d in this order) and two queries."""

    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(self.create_tempdir().full_path) / "bench"
        self.jpg, self.lab, self.listing = self.folder / "jpg", self.folder / "lab", self.folder / "imlist.txt"
        self.jpg.mkdir(parents=True)
        self.lab.mkdir()
        for name in "abcd":
            Image.new("RGB", (40, 20)).save(self.jpg / f"{name}.jpg")
        self.write("imlist.txt", "c\na.jpg\n\nb\nd\n")
        self.write_query("hall_1", "oxc1_a 1 2 30.5 19", good="a\n", ok="b\n", junk="d\nelsewhere\n")
        self.write_query("hall_2", "c.jpg 0 0 40 20", good="", ok="d.jpg\nc\n", junk="\n")

    def write(self, name, text):
        (self.folder / name).write_text(text)

    def write_query(self, name, line, *, good, ok, junk):
        for kind, text in {"query": line, "good": good, "ok": ok, "junk": junk}.items():
            self.write(f"lab/{name}_{kind}.txt", text)

    def assert_refused(self, message):
        with self.assertRaises(DatasetError) as context:
            read_oxford(self.folder)
        self.assertStartsWith(str(context.exception), message)


class OxfordTest(OxfordCase):
    def test_database_and_queries(self):
        actual = read_oxford(self.folder)
        self.assertEqual(actual.name, "bench")
        self.assertEqual(actual.names, ("c", "a", "b", "d"))
        self.assertEqual(actual.paths, tuple(self.jpg / f"{name}.jpg" for name in "cabd"))
        self.assertEqual(
            actual.queries,
            (
                BenchmarkQuery("hall_1", 1, (1.0, 2.0, 30.5, 19.0), frozenset({1, 2}), frozenset({3})),
                BenchmarkQuery("hall_2", 0, (0.0, 0.0, 40.0, 20.0), frozenset({0, 3}), frozenset()),
            ),
        )

    def test_without_a_list_pictures_are_in_order_of_names(self):
        self.listing.unlink()
        (self.jpg / "README").touch()
        actual = read_oxford(self.folder)
        self.assertEqual(actual.names, ("a", "b", "c", "d"))
        self.assertEqual([query.image for query in actual.queries], [0, 2])

    def test_the_list_selects_pictures(self):
        self.write("imlist.txt", "d\nc\nb\na")
        (self.jpg / "more.jpg").touch()
        actual = read_oxford(str(self.folder))
        self.assertEqual(actual.names, ("d", "c", "b", "a"))
        self.assertEqual(actual.queries[0].positives, {2, 3})
        self.assertEqual(actual.queries[0].junk, {0})

    def test_a_picture_in_good_and_ok(self):
        self.write("lab/hall_1_ok.txt", "a\nb")
        self.assertEqual(read_oxford(self.folder).queries[0].positives, {1, 2})

    def test_only_the_prefix_is_stripped(self):
        Image.new("RGB", (40, 20)).save(self.jpg / "x_oxc1_y.jpg")
        self.write("imlist.txt", "a\nb\nc\nd\nx_oxc1_y")
        self.write("lab/hall_1_query.txt", "oxc1_x_oxc1_y 1 1 9 9")
        self.assertEqual(read_oxford(self.folder).queries[0].image, 4)

    @parameterized.parameters("-1 -1 41 21", "39 19 41 21", "0 0 0.5 0.5", "1e0 2 3 4")
    def test_boxes_that_count_from_one(self, box):
        self.write("lab/hall_1_query.txt", f"a {box}")
        self.assertEqual(read_oxford(self.folder).queries[0].box, tuple(float(field) for field in box.split()))

    def test_pictures_with_other_suffixes_are_refused(self):
        Image.new("RGB", (4, 4)).save(self.jpg / "z.PNG")
        if self.listing.exists():
            read_oxford(self.folder)  # the list names the database
            self.listing.unlink()
        with self.assertRaisesRegex(DatasetError, "the Oxford layout has NAME.jpg only; rename or remove z.PNG"):
            read_oxford(self.folder)

    def test_box_refers_to_the_upright_picture(self):
        exif = Image.Exif()
        exif[0x0112] = 6  # stored 40 x 20, shown 20 x 40
        Image.new("RGB", (40, 20)).save(self.jpg / "a.jpg", exif=exif)
        self.write("lab/hall_1_query.txt", "a 0 0 20 40")
        self.assertEqual(read_oxford(self.folder).queries[0].box, (0.0, 0.0, 20.0, 40.0))
        self.write("lab/hall_1_query.txt", "a 0 0 40 20")
        with self.assertRaisesRegex(DatasetError, "leaves its picture of 20 x 40 pixels"):
            read_oxford(self.folder)

    def test_read_dataset_selects_the_layout(self):
        self.assertLen(read_dataset(self.folder).queries, 2)
        plain = read_dataset(str(self.jpg))
        self.assertEqual((plain.names, plain.queries), (("a.jpg", "b.jpg", "c.jpg", "d.jpg"), ()))


class OxfordErrorsTest(OxfordCase):
    def test_listed_twice(self):
        self.write("imlist.txt", "c\na\n\nb\na.jpg\n")
        self.assert_refused(f"{self.listing}:5: a is listed twice")

    def test_missing_picture(self):
        (self.jpg / "b.jpg").unlink()
        self.assert_refused(f"{self.listing}:4: {self.jpg}/b.jpg does not exist")

    @parameterized.parameters("jpg", "lab")
    def test_missing_folder(self, name):
        (self.folder / name).rename(self.folder / "other")
        self.assert_refused(f"{self.folder / name}: no such folder")

    def test_empty_list(self):
        self.write("imlist.txt", "\n \n")
        self.assert_refused(f"{self.folder}: no pictures in its database")

    def test_no_queries(self):
        for path in self.lab.glob("*_query.txt"):
            path.unlink()
        self.assert_refused(f"{self.lab}: no *_query.txt")

    @parameterized.parameters("", "a 1 2 3", "a 1 2 3 4 5", "a 1 2 3 4\nb 1 2 3 4", "a,1,2,3,4")
    def test_malformed_query(self, text):
        self.write("lab/hall_2_query.txt", text)
        self.assert_refused(f"{self.lab}/hall_2_query.txt:1: expected one line NAME x1 y1 x2 y2")

    def test_box_without_numbers(self):
        self.write("lab/hall_1_query.txt", "a 1 2 three 4")
        self.assert_refused(f"{self.lab}/hall_1_query.txt:1: could not convert string to float: 'three'")

    @parameterized.parameters(
        "5 5 5 9", "5 5 9 5", "9 5 5 9", "5 9 9 5", "nan 1 2 3", "1 nan 2 3", "1 1 nan 3", "1 1 2 nan"
    )
    def test_box_without_area(self, box):
        self.write("lab/hall_1_query.txt", f"a {box}")
        numbers = " ".join(str(float(field)) for field in box.split())
        self.assert_refused(f"{self.lab}/hall_1_query.txt:1: the box {numbers} has no area")

    @parameterized.parameters(
        "-1.5 0 9 9", "0 -1.5 9 9", "0 0 41.5 9", "0 0 9 21.5", "0 0 20 40", "0 0 inf 9", "-inf 0 9 9"
    )
    def test_box_that_leaves_its_picture(self, box):
        self.write("lab/hall_1_query.txt", f"a {box}")
        numbers = " ".join(str(float(field)) for field in box.split())
        self.assert_refused(f"{self.lab}/hall_1_query.txt:1: the box {numbers} leaves its picture of 40 x 20 pixels")

    def test_ground_truth_alone_is_checked_without_pictures(self):
        for line, message in (("a 5 5 5 9", "the box 5.0 5.0 5.0 9.0 has no area"), ("a 1 2 3", "expected one line")):
            self.write("lab/hall_1_query.txt", line)
            with self.assertRaisesRegex(DatasetError, f"{self.lab}/hall_1_query.txt:1: {message}"):
                read_labels(read_texts(self.lab))

    def test_query_not_in_the_database(self):
        self.write("lab/hall_1_query.txt", "oxc1_e 1 2 3 4")
        self.assert_refused(f"{self.lab}/hall_1_query.txt:1: e is not in the database")

    def test_query_picture_unreadable(self):
        (self.jpg / "a.jpg").write_text("no picture")
        self.assert_refused(f"{self.lab}/hall_1_query.txt:1: {self.jpg}/a.jpg: cannot be read as a picture")

    @parameterized.parameters("good", "ok")
    def test_positive_not_in_the_database(self, kind):
        self.write(f"lab/hall_1_{kind}.txt", "\nd\ne\n")
        self.write("lab/hall_1_junk.txt", "")
        self.assert_refused(f"{self.lab}/hall_1_{kind}.txt:3: e is a positive but not in the database")

    def test_positive_and_junk(self):
        self.write("lab/hall_1_junk.txt", "b\nd\na.jpg")
        self.assert_refused(f"{self.lab}/hall_1_junk.txt: positive and junk at once: a, b")

    @parameterized.parameters("good", "ok", "junk")
    def test_listed_twice_in_a_group(self, kind):
        self.write(f"lab/hall_1_{kind}.txt", "a\nb\nb.jpg\nc")
        self.assert_refused(f"{self.lab}/hall_1_{kind}.txt: listed twice: b")

    def test_no_positives(self):
        self.write("lab/hall_2_ok.txt", "")
        self.assert_refused(f"{self.lab}/hall_2_good.txt: the query has no positives")

    @parameterized.parameters("good", "ok", "junk")
    def test_missing_group(self, kind):
        (self.lab / f"hall_2_{kind}.txt").unlink()
        self.assert_refused(f"{self.lab}/hall_2_{kind}.txt: cannot be read (")

    @parameterized.parameters("imlist.txt", "lab/hall_1_query.txt", "lab/hall_1_good.txt", "lab/hall_1_junk.txt")
    def test_not_utf8(self, name):
        (self.folder / name).write_bytes("Müller".encode("latin-1"))
        self.assert_refused(f"{self.folder / name}: cannot be read (")

    def test_dataset_error_is_a_value_error(self):
        self.assertTrue(issubclass(oxford.DatasetError, ValueError))


class SharedDataTest(parameterized.TestCase):
    def test_oxford_dev(self):
        actual = read_dataset(shared.require("data/oxford_dev"))
        self.assertEqual((actual.name, len(actual), len(actual.queries)), ("oxford_dev", 495, 30))
        self.assertEqual(actual.names[:2], ("all_souls_000007", "all_souls_000075"))
        first = actual.queries[0]
        self.assertEqual((first.name, actual.names[first.image]), ("ashmolean_1", "ashmolean_000058"))
        self.assertEqual(first.box, (117.3, 10.7, 554.7, 149.3))
        for query in actual.queries:
            self.assertIn(query.image, query.positives)
            self.assertEmpty(query.positives & query.junk)

    @parameterized.parameters(("oxford", "all_souls_000013", 78), ("paris", "paris_defense_000605", 117))
    def test_official_ground_truth(self, name, picture, positives):
        actual = read_labels(read_texts(shared.require(f"data/official_groundtruth/{name}")))
        self.assertLen({label.name for label in actual}, 55)
        self.assertEqual(actual[0].picture, picture)
        self.assertLen(actual[0].groups["good"] + actual[0].groups["ok"], positives)
        for label in actual:
            self.assertStartsWith(label.location, str(shared.SHARED))
            self.assertBetween(max(label.box), 0, 1024)
            self.assertFalse(label.picture.startswith("oxc1_"))
            self.assertEqual(len(label.groups["good"]) > 0, name == "oxford")  # Paris has all positives under ok

    def test_plain_folder(self):
        actual = read_dataset(shared.require("data/boofcv_triplets"))
        self.assertLen(actual, 8 * 3 + 148)


if __name__ == "__main__":
    absltest.main()
