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


class HereCase(FetchCase):
    """Fetches in this process."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        gc.freeze()  # what other tests left would be looked at by every collection, for seconds
        cls.addClassCleanup(gc.unfreeze)

    def setUp(self):
        super().setUp()
        package("pooch")
        self.enter_context(mock.patch.dict("os.environ", ENVIRONMENT, clear=True))
        self.addCleanup(self.collect)

    def collect(self):
        """pooch leaves the connection of a failed download to the garbage collector, which warns of it."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()

    def fetch(self, **options):
        """What was printed to stdout and stderr."""
        out, error = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
            entry = catalogue.read(self.root / "catalogue.toml")["some"]
            self.assertEqual(fetch(entry, self.folder, again="cwcf weights fetch some", **options), self.final)
        self.assertEqual(self.final.read_bytes(), CONTENT)
        self.assert_folder("weights.h5")
        return out.getvalue(), error.getvalue()

    def refused(self, *parts, left=(), **options):
        with self.assertRaises(FetchError) as caught:
            self.fetch(**options)
        for part in parts:
            self.assertIn(part, str(caught.exception))
        self.assert_folder(*left)
        return str(caught.exception)


class HashTest(HereCase):
    @parameterized.parameters("sha256-prefix", "sha1", "md5")
    def test_kinds(self, kind):
        digits = hashlib.new(kind.removesuffix("-prefix"), CONTENT, usedforsecurity=False).hexdigest()
        self.write(hash=f"{kind}:{digits[:8] if 'prefix' in kind else digits}")
        self.assertIn("verified", self.fetch()[0])

    @parameterized.parameters(("sha256", 64), ("sha256-prefix", 8))
    def test_mismatch(self, kind, count):
        self.write(hash=f"{kind}:{'0' * count}")
        self.refused("0" * count, hashlib.sha256(CONTENT).hexdigest(), "deleted")

    def test_none(self):
        self.write(hash=None, size=None)
        out, error = self.fetch()
        self.assertIn("WARNING", error)
        self.assertIn(f"sha256 {hashlib.sha256(CONTENT).hexdigest()}", out)

    def test_a_file_put_there_by_hand(self):
        self.folder.mkdir(parents=True)
        self.final.write_bytes(CONTENT)
        self.assertIn("already there", self.fetch()[0])
        for content, part in ((OTHER, "Move it away"), (CONTENT[:-1], f"{len(CONTENT) - 1} bytes"), (PAGE, "web page")):
            self.final.write_bytes(content)
            self.refused(part, left=["weights.h5"])
            self.assertEqual(self.final.read_bytes(), content)
        self.assertEqual(self.server.requests, 0)


class DownloadTest(HereCase):
    def test_fetches_then_only_verifies(self):
        out, error = self.fetch()
        self.assertIn(f"saved {self.final}", out)
        self.assertEqual(error, "")  # no progress bar where there is no terminal
        self.assertIn("already there", self.fetch()[0])
        self.assertEqual(self.server.requests, 1)

    def test_unknown_length(self):
        self.server.length = False
        self.write(size=None)
        self.fetch()

    def test_redirects(self):
        self.server.answers, self.server.location = [302], self.url + "?signed"
        self.fetch()

    @parameterized.parameters("file:///etc/hostname", "ftp://127.0.0.1/weights.h5")
    def test_redirects_elsewhere(self, location):
        self.server.answers, self.server.location = [302], location
        self.refused("cannot fetch", location)

    def test_nobody_there(self):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))  # bound, but not listening
            self.url = f"http://127.0.0.1:{taken.getsockname()[1]}/weights.h5"
            self.write()
            self.refused(
                f"cannot fetch {self.url}",
                "1.2 MB",
                f"sha256 {hashlib.sha256(CONTENT).hexdigest()}",
                str(self.final),
                "verify it   cwcf weights fetch some",
                f"cwcf weights convert {self.final} --network=vgg16 --output={self.folder / 'some'}",
            )

    def test_no_such_host(self):
        self.write(url="https://no-such-host.invalid/weights.h5")
        self.refused("cannot fetch https://no-such-host.invalid/weights.h5", str(self.final))

    @parameterized.parameters(404, 500)
    def test_answers_that_are_no_file(self, status):
        self.server.answers = [status]
        self.refused(str(status), "by hand")
        self.assertEqual(self.server.requests, 1)

    def test_a_server_that_stalls(self):
        self.server.hang_after = 100
        self.refused("timed out", timeout=0.2)

    def test_a_connection_that_breaks(self):
        self.server.stop_after = HALF
        self.refused("cannot fetch")
        self.server.stop_after = None
        self.fetch()

    @parameterized.parameters("text/html; charset=utf-8", "application/octet-stream")
    def test_a_web_page(self, kind):
        self.server.content, self.server.kind = PAGE, kind
        self.write(hash=None, size=None)
        self.refused("web page")

    def test_another_size(self):
        self.write(size=len(CONTENT) + 1)
        self.refused(f"{len(CONTENT)} bytes, not {len(CONTENT) + 1}")

    def test_full_disk(self):
        self.write(size=10**15)
        self.refused("are needed")

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

    def test_control_c_leaves_nothing(self):
        # A suite in the background of a shell ignores Control-C, and so would every process that it starts.
        self.addCleanup(signal.signal, signal.SIGINT, signal.signal(signal.SIGINT, signal.default_int_handler))
        self.server.hang_after = HALF
        process = self.start()
        self.assertTrue(self.server.asked.wait(30))
        process.send_signal(signal.SIGINT)
        _, error = self.finish(process, code=130)
        self.assertIn("the same command starts again", error)
        self.assert_folder()

    def test_the_lock_dies_with_its_process(self):
        self.server.hang_after = HALF
        first = self.start()
        self.assertTrue(self.server.asked.wait(30))
        second = self.start()
        self.assertIn("in use by another process", second.stderr.readline())
        self.server.hang_after = None
        first.kill()
        first.communicate()
        self.finish(second)
        self.assertEqual(self.final.read_bytes(), CONTENT)
        self.assert_folder("weights.h5")

    def test_three_at_once_fetch_once(self):
        processes = [self.start() for _ in range(3)]
        outputs = [self.finish(process)[0] for process in processes]
        self.assertEqual(sum("saved" in out for out in outputs), 1)
        self.assertEqual(self.final.read_bytes(), CONTENT)
        self.assertEqual(self.server.requests, 1)


class FolderTest(absltest.TestCase):
    def test_downloads_go_to_the_cache(self):
        with mock.patch.dict("os.environ", XDG_CACHE_HOME="/caches"):
            self.assertEqual(default_folder(), pathlib.Path("/caches/cwcf/weights"))
        with mock.patch.dict("os.environ", {"HOME": "/home/me"}, clear=True):
            self.assertEqual(default_folder(), pathlib.Path("/home/me/.cache/cwcf/weights"))


if __name__ == "__main__":
    absltest.main()
