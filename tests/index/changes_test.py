import collections
import dataclasses
import hashlib
import os
import pathlib
import time
from unittest import mock

from absl.testing import absltest
from hypothesis import given, settings
from hypothesis import strategies as st

from cwcf_jax.index import TableEntry, changes
from cwcf_jax.index.changes import find_changes, read_file

OLD = 1_700_000_000_000_000_000
PATHS = ("a.png", "b.png", "sub/c.png", "sub/it's ä.png")


def sha256(text):
    return hashlib.sha256(text.encode()).hexdigest()


class ChangesCase(absltest.TestCase):
    def setUp(self):
        super().setUp()
        self.root = pathlib.Path(self.create_tempdir().full_path)

    def write(self, path, text, modified=OLD):
        file = self.root / path
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
        os.utime(file, ns=(modified, modified))

    def entries(self, contents):
        """Returns entries of files that were read long files their last change."""
        return {
            path: TableEntry(path, sha256(text), len(text), OLD, OLD + 10**12, width=1, height=1, row=0)
            for path, text in contents.items()
        }

    def find(self, paths, entries, *, full_listing=True):
        """Returns the changes, and the paths of the files of each kind."""
        actual = find_changes(self.root, paths, entries, full_listing=full_listing)
        kinds = ("touched", "copied", "changed", "added")
        return actual, {kind: [file.path for file in getattr(actual, kind)] for kind in kinds}


class FindChangesTest(ChangesCase):
    def test_every_kind_of_change(self):
        entries = self.entries({"same": "1", "touched": "2", "edited": "3", "old name": "4", "deleted": "5"})
        self.write("same", "1")
        self.write("touched", "2", OLD + 1)
        self.write("edited", "3!")
        self.write("new name", "4")
        self.write("copy", "1")
        self.write("new", "6")
        paths = ("copy", "edited", "new", "new name", "same", "touched")
        actual, kinds = self.find((*paths, "unreadable"), entries)
        self.assertEqual(
            kinds, {"touched": ["touched"], "copied": ["copy", "new name"], "changed": ["edited"], "added": ["new"]}
        )
        self.assertEqual((actual.unchanged, actual.deleted), (1, ("deleted", "old name")))
        self.assertLen(actual.unreadable, 1)
        self.assertStartsWith(actual.unreadable[0], f"{self.root / 'unreadable'}: No such file")

    def test_a_partial_listing_deletes_nothing(self):
        self.write("a.png", "1")
        actual, _ = self.find(["a.png"], self.entries({"a.png": "1", "b.png": "2"}), full_listing=False)
        self.assertEqual((actual.unchanged, actual.deleted), (1, ()))

    def test_unchanged_files_are_not_read(self):
        self.write("a.png", "1")
        with mock.patch.object(changes, "read_file", side_effect=AssertionError("read")):
            actual, _ = self.find(["a.png"], self.entries({"a.png": "1"}))
        self.assertEqual(actual.unchanged, 1)

    def test_a_change_with_the_same_size_and_time_within_the_resolution_is_found(self):
        self.write("a.png", "2")
        entry = self.entries({"a.png": "1"})["a.png"]
        for delay, paths in ((changes.TIMESTAMP_RESOLUTION_NS, ["a.png"]), (changes.TIMESTAMP_RESOLUTION_NS + 1, [])):
            _, kinds = self.find(["a.png"], {"a.png": dataclasses.replace(entry, seen=OLD + delay)})
            self.assertEqual(kinds["changed"], paths)

    def test_swapped_files_are_copies(self):
        self.write("a.png", "two")
        self.write("b.png", "one", OLD + 1)
        _, kinds = self.find(["a.png", "b.png"], self.entries({"a.png": "one", "b.png": "two"}))
        self.assertEqual(kinds["changed"] + kinds["added"], [])
        self.assertIn("b.png", kinds["copied"])

    def test_a_folder_in_place_of_a_file(self):
        (self.root / "a.png").mkdir()
        actual, _ = self.find(["a.png"], self.entries({"a.png": "1"}))
        self.assertRegex(actual.unreadable[0], "a.png: Is a directory")
        self.assertEqual(actual.deleted, ())

    @settings(max_examples=60, deadline=None)
    @given(
        st.dictionaries(st.sampled_from(PATHS), st.sampled_from("1234")),
        st.dictionaries(st.sampled_from(PATHS), st.tuples(st.sampled_from("1234"), st.booleans())),
    )
    def test_kinds_follow_from_contents(self, indexed, files):
        for path in PATHS:
            (self.root / path).unlink(missing_ok=True)
        for path, (text, touched) in files.items():
            self.write(path, text, OLD + 1 if touched or indexed.get(path) != text else OLD)
        actual, kinds = self.find(sorted(files), self.entries(indexed))
        expected = collections.defaultdict(list)
        for path, (text, touched) in sorted(files.items()):
            if indexed.get(path) == text:
                expected["touched" if touched else "unchanged"].append(path)
            elif text in indexed.values():
                expected["copied"].append(path)
            else:
                expected["changed" if path in indexed else "added"].append(path)
        self.assertEqual(actual.unchanged, len(expected.pop("unchanged", [])))
        self.assertEqual({kind: paths for kind, paths in kinds.items() if paths}, expected)
        self.assertEqual(actual.deleted, tuple(sorted(indexed.keys() - files.keys())))


class ReadFileTest(ChangesCase):
    def test_content_and_times(self):
        self.write("sub/a.png", "text")
        start = time.time_ns()
        file = read_file(self.root, "sub/a.png")
        self.assertEqual(file, changes.ListedFile("sub/a.png", sha256("text"), 4, OLD, file.seen))
        self.assertTrue(start <= file.seen <= time.time_ns())


if __name__ == "__main__":
    absltest.main()
