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

    def known(self, contents):
        """Entries of files that were read long after they were written."""
        return {
            path: TableEntry(path, sha256(text), len(text), OLD, OLD + 10**12, width=1, height=1, row=0)
            for path, text in contents.items()
        }

    def find(self, paths, known, *, whole=True):
        found = find_changes(self.root, paths, known, whole=whole)
        kinds = ("touched", "copied", "changed", "added")
        return found, {kind: [file.path for file in getattr(found, kind)] for kind in kinds}


class FindChangesTest(ChangesCase):
    def test_one_of_each_kind(self):
        known = self.known({"same": "1", "touched": "2", "edited": "3", "old name": "4", "deleted": "5"})
        self.write("same", "1")
        self.write("touched", "2", OLD + 1)
        self.write("edited", "3!")
        self.write("new name", "4")
        self.write("copy", "1")
        self.write("new", "6")
        paths = ("copy", "edited", "new", "new name", "same", "touched")
        found, kinds = self.find((*paths, "unreadable"), known)
        self.assertEqual(
            kinds, {"touched": ["touched"], "copied": ["copy", "new name"], "changed": ["edited"], "added": ["new"]}
        )
        self.assertEqual((found.unchanged, found.gone), (1, ("deleted", "old name")))
        self.assertLen(found.unreadable, 1)
        self.assertStartsWith(found.unreadable[0], f"{self.root / 'unreadable'}: No such file")

    def test_nothing_is_gone_when_not_everything_was_looked_at(self):
        self.write("a.png", "1")
        found, _ = self.find(["a.png"], self.known({"a.png": "1", "b.png": "2"}), whole=False)
        self.assertEqual((found.unchanged, found.gone), (1, ()))

    def test_what_is_unchanged_is_not_read(self):
        self.write("a.png", "1")
        with mock.patch.object(changes, "read_file", side_effect=AssertionError("read")):
            found, _ = self.find(["a.png"], self.known({"a.png": "1"}))
        self.assertEqual(found.unchanged, 1)

    def test_a_change_that_kept_size_and_time_is_seen_where_the_clock_could_not(self):
        self.write("a.png", "2")
        before = self.known({"a.png": "1"})["a.png"]
        for late, kinds in ((changes.TIMESTAMP_RESOLUTION_NS, ["a.png"]), (changes.TIMESTAMP_RESOLUTION_NS + 1, [])):
            _, found = self.find(["a.png"], {"a.png": dataclasses.replace(before, seen=OLD + late)})
            self.assertEqual(found["changed"], kinds)

    def test_swapped_files_are_copies(self):
        self.write("a.png", "two")
        self.write("b.png", "one", OLD + 1)
        _, kinds = self.find(["a.png", "b.png"], self.known({"a.png": "one", "b.png": "two"}))
        self.assertEqual(kinds["changed"] + kinds["added"], [])
        self.assertIn("b.png", kinds["copied"])

    def test_a_folder_where_a_file_was(self):
        (self.root / "a.png").mkdir()
        found, _ = self.find(["a.png"], self.known({"a.png": "1"}))
        self.assertRegex(found.unreadable[0], "a.png: Is a directory")
        self.assertEqual(found.gone, ())

    @settings(max_examples=60, deadline=None)
    @given(
        st.dictionaries(st.sampled_from(PATHS), st.sampled_from("1234")),
        st.dictionaries(st.sampled_from(PATHS), st.tuples(st.sampled_from("1234"), st.booleans())),
    )
    def test_every_path_is_of_the_kind_that_its_content_says(self, before, after):
        for path in PATHS:
            (self.root / path).unlink(missing_ok=True)
        for path, (text, again) in after.items():
            self.write(path, text, OLD + 1 if again or before.get(path) != text else OLD)
        found, kinds = self.find(sorted(after), self.known(before))
        expected = collections.defaultdict(list)
        for path, (text, again) in sorted(after.items()):
            if before.get(path) == text:
                expected["touched" if again else "unchanged"].append(path)
            elif text in before.values():
                expected["copied"].append(path)
            else:
                expected["changed" if path in before else "added"].append(path)
        self.assertEqual(found.unchanged, len(expected.pop("unchanged", [])))
        self.assertEqual({kind: paths for kind, paths in kinds.items() if paths}, expected)
        self.assertEqual(found.gone, tuple(sorted(before.keys() - after.keys())))


class ReadFileTest(ChangesCase):
    def test_what_is_read(self):
        self.write("sub/a.png", "text")
        start = time.time_ns()
        file = read_file(self.root, "sub/a.png")
        self.assertEqual(file, changes.ListedFile("sub/a.png", sha256("text"), 4, OLD, file.seen))
        self.assertTrue(start <= file.seen <= time.time_ns())


if __name__ == "__main__":
    absltest.main()
