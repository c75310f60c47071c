import copy

import numpy as np
import scipy.io
from absl.testing import absltest, parameterized

from cwcf_jax.datasets.benchmarks.lists import ListedQuery, read_instre, read_names, read_revisited
from cwcf_jax.images.imagesets import DatasetError
from tests.datasets.benchmarks import layouts


class RevisitedTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.path = layouts.folder_of(self) / "gnd_roxford5k.pkl"
        self.content = copy.deepcopy(layouts.REVISITED)

    def read(self):
        layouts.write_pickle(self.path, self.content)
        return read_revisited(self.path)

    def assert_refused(self, message):
        with self.assertRaises(DatasetError) as context:
            self.read()
        self.assertEqual(str(context.exception), f"{self.path}: {message}")

    def test_content(self):
        actual = self.read()
        self.assertEqual(actual.images, ("oxford_7", "hall_3", "gate_2"))
        no_junk = frozenset()
        first = ListedQuery(
            "hall_10", (1.5, 2.0, 30.0, 19.0), frozenset({1, 2}), frozenset({2}), no_junk, actual.location(0)
        )
        self.assertEqual(actual.queries[0].location, f"{self.path}: gnd[0]")
        self.assertEqual(actual.queries[0], ListedQuery(*list(vars(first).values())[:-1], f"{self.path}: gnd[0]"))
        second = actual.queries[1]
        self.assertEqual((second.positives, second.hard, second.junk), ({0, 2}, {0, 2}, {1}))
        self.assertEqual(actual.location(2), f"{self.path}: imlist[2]")

    def test_arrays_instead_of_lists(self):
        expected = self.read().queries
        for entry in self.content["gnd"]:
            entry |= {key: np.asarray(value, np.float64 if key == "bbx" else int) for key, value in entry.items()}
        self.content["imlist"] = np.array(self.content["imlist"])
        self.assertEqual(self.read().queries, expected)

    def test_names_that_occur_twice(self):
        self.content["imlist"] = ["a", "b", "a"]
        self.assert_refused("imlist[2]: a is listed twice")
        self.content["imlist"], self.content["qimlist"] = ["a", "b", "c"], ["q", "q"]
        self.assert_refused("qimlist[1]: q is listed twice")

    @parameterized.parameters(
        ({"easy": [3]}, "gnd[1]['easy']: 3 is not the index of one of 3 images, from 0"),
        ({"hard": [-1]}, "gnd[1]['hard']: -1 is not the index of one of 3 images, from 0"),
        ({"junk": [1, 1]}, "gnd[1]['junk']: 1 is listed twice"),
        ({"junk": [0.5]}, "gnd[1]['junk']: 0.5 is not the index of an image"),
        ({"junk": ["a"]}, "gnd[1]['junk']: 'a' is not the index of an image"),
        ({"junk": [2]}, "gnd[1]: positive and junk at once: gate_2"),
        ({"easy": [1]}, "gnd[1]: positive and junk at once: hall_3"),
        ({"easy": [2, 0]}, "gnd[1]: easy and hard at once: oxford_7, gate_2"),
        ({"easy": [], "hard": []}, "gnd[1]: the query has no positives"),
        ({"bbx": [1, 2, 3]}, "gnd[1]['bbx']: not four numbers x1 y1 x2 y2"),
        ({"bbx": [1, 2, 3, float("nan")]}, "gnd[1]['bbx']: not four numbers x1 y1 x2 y2"),
        (
            {"bbx": [1, 2, 1, 4]},
            "gnd[1]['bbx']: the box 1.0 2.0 1.0 4.0 has no area; it is x1 y1 x2 y2, corners in order",
        ),
        (
            {"bbx": [9, 2, 1, 4]},
            "gnd[1]['bbx']: the box 9.0 2.0 1.0 4.0 has no area; it is x1 y1 x2 y2, corners in order",
        ),
    )
    def test_invalid_entries(self, change, message):
        self.content["gnd"][1] |= change
        self.assert_refused(message)

    def test_invalid_structure(self):
        del self.content["gnd"][1]["bbx"]
        self.assert_refused("gnd[1]: needs easy, hard and bbx, has easy, hard, junk")
        self.content["gnd"].pop()
        self.assert_refused("gnd needs one entry for each of the 2 names of qimlist")
        self.content["imlist"] = ["a", 3]
        self.assert_refused("imlist is not a list of names")
        del self.content["imlist"]
        self.assert_refused("not a benchmark with imlist, qimlist and gnd")
        self.content = [1]
        self.assert_refused("not a benchmark with imlist, qimlist and gnd")


class InstreTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.folder = layouts.folder_of(self)

    @parameterized.parameters("mat", "pkl")
    def test_content(self, kind):
        path = self.folder / f"gnd_instre.{kind}"
        (layouts.write_mat if kind == "mat" else layouts.write_pickle)(path, layouts.INSTRE_LISTS)
        actual = read_instre(path)
        self.assertEqual(actual.images, tuple(layouts.INSTRE_LISTS["imlist"]))
        self.assertEqual([query.picture for query in actual.queries], layouts.INSTRE_LISTS["qimlist"])
        first, second = actual.queries
        self.assertEqual((first.box, first.positives, first.hard, first.junk), ((1, 1, 39, 19), {1}, None, frozenset()))
        self.assertEqual((second.box, second.positives), ((2, 3, 20, 18), {0}))

    def test_a_single_query_and_many_positives(self):
        path = self.folder / "gnd_instre.mat"
        content = {"imlist": ["a.jpg", "b.jpg"], "qimlist": ["q.jpg"], "gnd": [{"ok": [0, 1], "bbx": [1, 2, 3, 4]}]}
        layouts.write_mat(path, content)
        actual = read_instre(path)
        self.assertEqual((actual.queries[0].positives, actual.queries[0].picture), ({0, 1}, "q.jpg"))

    def test_matlab_indices_count_from_one(self):
        path = self.folder / "gnd_instre.mat"
        layouts.write_mat(path, layouts.INSTRE_LISTS | {"gnd": [{"ok": [-1], "bbx": [1, 1, 2, 2]}] * 2})
        with self.assertRaisesRegex(DatasetError, r"gnd\[0\]\['ok'\]: 0 is not the index of one of 2 images, from 1"):
            read_instre(path)

    def test_damaged_file(self):
        path = self.folder / "gnd_instre.mat"
        path.write_bytes(b"<html>404</html>" * 99)
        with self.assertRaisesRegex(DatasetError, f"{path}: cannot be read as a MATLAB file"):
            read_instre(path)
        scipy.io.savemat(path, {"imlist": [1, 2]})
        with self.assertRaisesRegex(DatasetError, f"{path}: not a benchmark with imlist, qimlist and gnd"):
            read_instre(path)


class NamesTest(parameterized.TestCase):
    def test_lines(self):
        path = layouts.folder_of(self) / "list.txt"
        path.write_text("c1/a.jpg\n\n c0/b.jpg \n")
        actual = read_names(path)
        self.assertEqual((actual.images, actual.queries), (("c1/a.jpg", "c0/b.jpg"), ()))
        self.assertEqual(actual.location(1), f"{path}:3")

    @parameterized.parameters(
        (b"a\nb\n\na\n", ":4: a is listed twice"),
        (b"\n", ": no pictures are listed"),
        ("Müller".encode("latin-1"), ": cannot be read (.*)"),
        (None, ": cannot be read (.*)"),
    )
    def test_invalid_lists(self, content, message):
        path = layouts.folder_of(self) / "list.txt"
        if content is not None:
            path.write_bytes(content)
        with self.assertRaisesRegex(DatasetError, f"^{path}{message}$"):
            read_names(path)


if __name__ == "__main__":
    absltest.main()
