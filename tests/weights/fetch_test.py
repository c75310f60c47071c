import contextlib
import gc
import hashlib
import io
import pathlib
import signal
import socket
import warnings
from unittest import mock

from absl.testing import absltest, parameterized

from cwcf_jax.weights import catalogue
from cwcf_jax.weights.fetch import FetchError, default_folder, fetch
from tests.support.packages import package
from tests.weights.fetching import CONTENT, ENVIRONMENT, HALF, OTHER, PAGE, FetchCase


class InProcessCase(FetchCase):
    """`InProcessCase` fetches in this process."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        gc.freeze()  # otherwise each collection takes seconds for objects of other tests
        cls.addClassCleanup(gc.unfreeze)

    def setUp(self):
        super().setUp()
        package("pooch")
        self.enter_context(mock.patch.dict("os.environ", ENVIRONMENT, clear=True))
        self.addCleanup(self.collect_garbage)

    def collect_garbage(self):
        """Closes the connections of failed downloads, which pooch leaves open, without warnings."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()

    def fetch(self, **options):
        """Fetches the file and returns the text on stdout and stderr."""
        out, error = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
            entry = catalogue.read_catalogue(self.root / "catalogue.toml")["some"]
            self.assertEqual(fetch(entry, self.folder, verify_command="cwcf weights fetch some", **options), self.final)
        self.assertEqual(self.final.read_bytes(), CONTENT)
        self.assert_folder("weights.h5")
        return out.getvalue(), error.getvalue()

    def assert_refused(self, *parts, files=(), **options):
        with self.assertRaises(FetchError) as context:
            self.fetch(**options)
        for part in parts:
            self.assertIn(part, str(context.exception))
        self.assert_folder(*files)
        return str(context.exception)


class HashTest(InProcessCase):
    @parameterized.parameters("sha256-prefix", "sha1", "md5")
    def test_algorithms(self, algorithm):
        digits = hashlib.new(algorithm.removesuffix("-prefix"), CONTENT, usedforsecurity=False).hexdigest()
        self.write(hash=f"{algorithm}:{digits[:8] if 'prefix' in algorithm else digits}")
        self.assertIn("verified", self.fetch()[0])

    @parameterized.parameters(("sha256", 64), ("sha256-prefix", 8))
    def test_mismatch(self, algorithm, count):
        self.write(hash=f"{algorithm}:{'0' * count}")
        self.assert_refused("0" * count, hashlib.sha256(CONTENT).hexdigest(), "deleted")

    def test_no_hash(self):
        self.write(hash=None, size=None)
        out, error = self.fetch()
        self.assertIn("WARNING", error)
        self.assertIn(f"sha256 {hashlib.sha256(CONTENT).hexdigest()}", out)

    def test_a_file_that_was_saved_by_hand(self):
        self.folder.mkdir(parents=True)
        self.final.write_bytes(CONTENT)
        self.assertIn("exists already", self.fetch()[0])
        for content, part in ((OTHER, "Move it away"), (CONTENT[:-1], f"{len(CONTENT) - 1} bytes"), (PAGE, "web page")):
            self.final.write_bytes(content)
            self.assert_refused(part, files=["weights.h5"])
            self.assertEqual(self.final.read_bytes(), content)
        self.assertEqual(self.server.requests, 0)


class DownloadTest(InProcessCase):
    def test_second_fetch_only_verifies(self):
        out, error = self.fetch()
        self.assertIn(f"saved {self.final}", out)
        self.assertEqual(error, "")  # no progress bar without a terminal
        self.assertIn("exists already", self.fetch()[0])
        self.assertEqual(self.server.requests, 1)

    def test_unknown_length(self):
        self.server.sends_length = False
        self.write(size=None)
        self.fetch()

    def test_redirects(self):
        self.server.answers, self.server.location = [302], self.url + "?signed"
        self.fetch()

    @parameterized.parameters("file:///etc/hostname", "ftp://127.0.0.1/weights.h5")
    def test_redirects_to_other_schemes(self, location):
        self.server.answers, self.server.location = [302], location
        self.assert_refused("cannot fetch", location)

    def test_refused_connection(self):
        with socket.socket() as bound:
            bound.bind(("127.0.0.1", 0))  # not listening
            self.url = f"http://127.0.0.1:{bound.getsockname()[1]}/weights.h5"
            self.write()
            self.assert_refused(
                f"cannot fetch {self.url}",
                "1.2 MB",
                f"sha256 {hashlib.sha256(CONTENT).hexdigest()}",
                str(self.final),
                "verify it   cwcf weights fetch some",
                f"cwcf weights convert {self.final} --network=vgg16 --output={self.folder / 'some'}",
            )

    def test_unknown_host(self):
        self.write(url="https://no-such-host.invalid/weights.h5")
        self.assert_refused("cannot fetch https://no-such-host.invalid/weights.h5", str(self.final))

    @parameterized.parameters(404, 500)
    def test_http_errors(self, status):
        self.server.answers = [status]
        self.assert_refused(str(status), "by hand")
        self.assertEqual(self.server.requests, 1)

    def test_stalled_server(self):
        self.server.hang_after = 100
        self.assert_refused("timed out", timeout=0.2)

    def test_broken_connection(self):
        self.server.stop_after = HALF
        self.assert_refused("cannot fetch")
        self.server.stop_after = None
        self.fetch()

    @parameterized.parameters("text/html; charset=utf-8", "application/octet-stream")
    def test_web_page(self, content_type):
        self.server.content, self.server.content_type = PAGE, content_type
        self.write(hash=None, size=None)
        self.assert_refused("web page")

    def test_wrong_size(self):
        self.write(size=len(CONTENT) + 1)
        self.assert_refused(f"{len(CONTENT)} bytes, not {len(CONTENT) + 1}")

    def test_full_disk(self):
        self.write(size=10**15)
        self.assert_refused("are needed")

    def test_without_pooch(self):
        with mock.patch.dict("sys.modules", pooch=None), self.assertRaisesRegex(ImportError, r"cwcf-jax\[weights\]"):
            self.fetch()


class ProcessTest(FetchCase):
    def test_command_line(self):
        out, _ = self.finish(self.start("list", f"--catalogue={self.root / 'catalogue.toml'}"))
        header, *rows = out.splitlines()
        self.assertEqual(header.split(), ["name", "network", "here", "size", "licence", "file"])
        self.assertIn(["some", "vgg16", "-", "1.2", "MB", "BSD", "weights.h5"], [row.split() for row in rows])
        out, _ = self.finish(self.start())
        convert = f"{self.final} --network=vgg16 --output={self.folder / 'some'}"
        self.assertEqual(out.splitlines()[-1], f"next: cwcf weights convert {convert}")
        _, error = self.finish(self.start("fetch", "other"), code=1)
        self.assertIn("googlenet_bvlc", error)
        self.finish(self.start("fetch"), code=2)
        (self.root / "catalogue.toml").write_text("[some]\n")
        self.assertIn("lacks network", self.finish(self.start(), code=1)[1])

    def test_control_c_leaves_no_files(self):
        # Tests in the background of a shell ignore Control-C, and their child processes would ignore it as well.
        self.addCleanup(signal.signal, signal.SIGINT, signal.signal(signal.SIGINT, signal.default_int_handler))
        self.server.hang_after = HALF
        process = self.start()
        self.assertTrue(self.server.requested.wait(30))
        process.send_signal(signal.SIGINT)
        _, error = self.finish(process, code=130)
        self.assertIn("the same command starts again", error)
        self.assert_folder()

    def test_the_lock_ends_with_its_process(self):
        self.server.hang_after = HALF
        first = self.start()
        self.assertTrue(self.server.requested.wait(30))
        second = self.start()
        self.assertIn("in use by another process", second.stderr.readline())
        self.server.hang_after = None
        first.kill()
        first.communicate()
        self.finish(second)
        self.assertEqual(self.final.read_bytes(), CONTENT)
        self.assert_folder("weights.h5")

    def test_three_processes_download_once(self):
        processes = [self.start() for _ in range(3)]
        outputs = [self.finish(process)[0] for process in processes]
        self.assertEqual(sum("saved" in out for out in outputs), 1)
        self.assertEqual(self.final.read_bytes(), CONTENT)
        self.assertEqual(self.server.requests, 1)


class DefaultFolderTest(absltest.TestCase):
    def test_downloads_go_to_the_cache(self):
        with mock.patch.dict("os.environ", XDG_CACHE_HOME="/caches"):
            self.assertEqual(default_folder(), pathlib.Path("/caches/cwcf/weights"))
        with mock.patch.dict("os.environ", {"HOME": "/home/me"}, clear=True):
            self.assertEqual(default_folder(), pathlib.Path("/home/me/.cache/cwcf/weights"))


if __name__ == "__main__":
    absltest.main()
