import json
import os
import pathlib
import signal
import subprocess
import sys
from unittest import mock

from absl.testing import absltest, parameterized

from cwcf_jax import files
from tests.support import shared

LOCK_PROGRAM = """
import pathlib, sys, time
from cwcf_jax import files

file = pathlib.Path(sys.argv[1])
with files.lock(file, file, RuntimeError):
    print("locked", flush=True)
    sys.stdin.read()  # waits until stdin is closed
"""


class BusyError(Exception):
    pass


class OtherError(Exception):
    pass


class FileCase(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(self.create_tempdir().full_path)
        self.file = self.folder / "results.json"

    def names(self):
        return sorted(path.name for path in self.folder.iterdir())


class ReplacingTest(FileCase):
    def test_replaces_the_file_and_leaves_no_other_files(self):
        files.write_json(self.file, {"title": "old"})
        files.write_json(self.file, {"title": "dôme", "rows": [1.5, None]})
        self.assertEqual(json.loads(self.file.read_text("utf-8")), {"title": "dôme", "rows": [1.5, None]})
        self.assertEqual(self.names(), ["results.json"])

    def test_content_that_json_cannot_hold_leaves_the_old_file(self):
        files.write_json(self.file, {"title": "old"})
        with self.assertRaises(TypeError):
            files.write_json(self.file, {"title": "new", "path": self.file})
        self.assertEqual(json.loads(self.file.read_text()), {"title": "old"})

    @parameterized.parameters("fsync", "replace")
    def test_a_write_that_fails_leaves_the_old_file_alone(self, step):
        files.write_text(self.file, "old")
        with mock.patch.object(os, step, side_effect=OSError("disk full")), self.assertRaisesRegex(OSError, "full"):
            files.write_text(self.file, "new")
        self.assertEqual((self.file.read_text(), self.names()), ("old", ["results.json"]))

    @parameterized.parameters(False, True)
    def test_an_error_in_the_block_leaves_the_old_file_alone(self, shared_with_others):
        files.write_text(self.file, "old")
        with self.assertRaises(ZeroDivisionError), files.replacing(self.file, shared=shared_with_others) as partial:
            partial.write_text("half")
            raise ZeroDivisionError
        self.assertEqual((self.file.read_text(), self.names()), ("old", ["results.json"]))

    def test_two_writers_of_one_shared_file(self):
        with files.replacing(self.file, shared=True) as first, files.replacing(self.file, shared=True) as second:
            first.write_text("first")
            second.write_text("second")
            self.assertNotEqual(first, second)
        self.assertEqual((self.file.read_text(), self.names()), ("first", ["results.json"]))

    @parameterized.parameters((True, ["content", "rename", "names"]), (False, ["content", "rename"]))
    def test_the_content_is_synced_before_the_rename_and_the_name_after_it(self, durable, expected):
        steps, os_fsync, os_replace = [], os.fsync, os.replace

        def fsync(descriptor):
            path = pathlib.Path(f"/proc/self/fd/{descriptor}").readlink()
            steps.append("names" if path == self.folder.resolve() else "content")
            self.assertTrue(path.is_dir() or path.read_text() == "new")
            os_fsync(descriptor)

        def replace(source, target):
            steps.append("rename")
            os_replace(source, target)

        with (
            mock.patch.multiple(os, fsync=fsync, replace=replace),
            files.replacing(self.file, durable=durable) as partial,
        ):
            partial.write_text("new")
        self.assertEqual(steps, expected)

    def test_a_new_folder_is_synced(self):
        with mock.patch.object(os, "fsync", wraps=os.fsync) as fsync:
            files.make_folder(self.folder / "new")
        self.assertTrue((self.folder / "new").is_dir())
        fsync.assert_called_once()
        with self.assertRaises(FileExistsError):
            files.make_folder(self.folder / "new")


class LockTest(FileCase):
    def start(self):
        command = [sys.executable, "-c", LOCK_PROGRAM, str(self.file)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        process = subprocess.Popen(command, cwd=shared.ROOT, text=True, **pipes)
        for cleanup in (
            process.stdout.close,
            process.stdin.close,
            process.wait,
            process.kill,
        ):  # cleanups run in reverse order
            self.addCleanup(cleanup)
        self.assertEqual(process.stdout.readline(), "locked\n")
        return process

    def lock(self, **options):
        return files.lock(self.file, "my album", BusyError, **options)

    def test_the_error_names_the_owner_until_the_owner_dies(self):
        process = self.start()
        message = rf"^my album is in use by another process \(process {process.pid} on .+\); wait for it or"
        for _ in range(2):  # the first refusal must not change the name in the lock file
            with self.assertRaisesRegex(BusyError, message), self.lock():
                pass
        process.send_signal(signal.SIGKILL)
        process.wait()
        with self.lock():
            pass

    def test_waiting(self):
        process, messages = self.start(), []

        def end_process(message):
            messages.append(message)
            process.stdin.close()

        with self.lock(before_waiting=end_process):
            process.wait()
            self.assertLen(messages, 1)
            with self.assertRaises(BusyError), self.lock():
                pass
        with self.lock(before_waiting=messages.append):
            self.assertLen(messages, 1)

    def test_a_second_caller_in_the_same_process_is_refused(self):
        with self.assertRaises(ZeroDivisionError), self.lock():
            with self.assertRaisesRegex(BusyError, f"process {os.getpid()} "), self.lock():
                pass
            raise ZeroDivisionError
        with self.lock():
            pass

    def test_a_full_disk_is_no_reason_to_refuse(self):
        full_disk = mock.patch.object(os, "pwrite", side_effect=OSError("disk full"))
        with full_disk, self.lock(), self.assertRaisesRegex(BusyError, "by another process; wait"), self.lock():
            pass


class ClaimTest(FileCase):
    def claim(self, expected, **options):
        files.claim(self.file, expected, OtherError, **options)

    def test_the_first_claim_writes_the_header(self):
        self.claim({"weights": "abc", "sizes": (1, 2)})
        self.claim({"sizes": [1, 2], "weights": "abc"})
        self.assertEqual(json.loads(self.file.read_text()), {"weights": "abc", "sizes": [1, 2]})

    def test_every_difference_is_named(self):
        self.claim({"weights": "abc", "sizes": (1, 2), "same": None})
        with self.assertRaises(OtherError) as caught:
            self.claim({"weights": "x" * 200, "resize": "max9", "same": None}, advice="Think again.")
        self.assertEqual(
            str(caught.exception),
            f"{self.folder} was made under other conditions and is left alone:\n"
            '  resize: null there, "max9" now\n'
            "  sizes: [1, 2] there, null now\n"
            f'  weights: "abc" there, "{"x" * 76}... now\n'
            "Think again.",
        )

    def test_a_folder_with_other_files_is_refused(self):
        (self.folder / "thesis.tex").write_text("years of work")
        with self.assertRaisesRegex(OtherError, "holds thesis.tex, but no results.json; name a new or an empty folder"):
            self.claim({})
        self.assertEqual(self.names(), ["thesis.tex"])

    def test_files_of_a_killed_process_are_accepted(self):
        for name in ("lock", "results.json.partial"):
            (self.folder / name).write_text("{")
        self.claim({"weights": "abc"})
        self.claim({"weights": "abc"})

    @parameterized.parameters("{", "", "[]", "3", "null", b"\xff\xfe")
    def test_a_damaged_header_is_refused(self, content):
        self.file.write_bytes(content if isinstance(content, bytes) else content.encode())
        with self.assertRaisesRegex(OtherError, f"{self.file} cannot be read .*; remove {self.folder} to make it anew"):
            self.claim({})


if __name__ == "__main__":
    absltest.main()
