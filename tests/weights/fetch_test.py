import contextlib
import hashlib
import http.server
import json
import os
import pathlib
import select
import signal
import socket
import subprocess
import sys
import threading
import time

import numpy as np
from absl.testing import absltest, parameterized

from tests import shared

CONTENT, OTHER = (np.random.default_rng(seed).bytes(1_200_000) for seed in (0, 1))
HALF = len(CONTENT) // 2
PAGE = b"<!DOCTYPE html><html><title>Virus scan warning</title></html>"
# A proxy would not see this machine's loopback.
ENVIRONMENT = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}


class Server(http.server.ThreadingHTTPServer):
    """Serves ``content`` under every path; what it does wrong is in its attributes."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.kind, self.etag = CONTENT, "application/octet-stream", '"one"'
        self.ranges, self.if_range, self.length = True, True, True
        self.stop_after = []  # for each of the next requests: bytes until the connection is cut
        self.hang_after = None  # bytes after which the answer stalls
        self.answers = []  # for each of the next requests: a status instead of the file
        self.location = None
        self.requests = []  # (Range, If-Range)
        self.sent = 0


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *arguments):
        pass

    def do_GET(self):
        server = self.server
        asked = self.headers.get("Range"), self.headers.get("If-Range")
        server.requests.append(asked)
        if server.answers and (status := server.answers.pop(0)):
            self.send_response(status)
            if server.location:
                self.send_header("Location", server.location)
            self.end_headers()
            return
        start = int(asked[0][len("bytes=") : -1]) if asked[0] and server.ranges else 0
        if asked[1] not in (None, server.etag) and server.if_range:
            start = 0
        size = len(server.content)
        if start >= size:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{size}")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        if server.length:
            self.send_header("Content-Length", str(size - start))
        if server.etag:
            self.send_header("ETag", server.etag)
        self.send_header("Content-Type", server.kind)
        self.end_headers()
        self.send_body(start, server.stop_after.pop(0) if server.stop_after else None)

    def send_body(self, start, stop):
        body = self.server.content[start:]
        stop = len(body) if stop is None else stop
        hang = self.server.hang_after
        with contextlib.suppress(ConnectionError):
            self.wfile.write(body[: stop if hang is None else hang])
            self.server.sent += min(stop, len(body)) if hang is None else hang
            if hang is not None:
                self.rfile.read(1)  # until the other side goes away


class FetchCase(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.root = pathlib.Path(self.create_tempdir().full_path)
        self.folder = self.root / "deep" / "downloads"
        self.final = self.folder / "weights.h5"
        self.part = self.folder / "weights.h5.part"
        self.server = Server()
        thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        self.addCleanup(self.server.server_close)
        self.addCleanup(self.server.shutdown)
        self.url = f"http://127.0.0.1:{self.server.server_port}/weights.h5"
        self.write()
        # A suite in the background of a shell ignores Control-C, and so would every process that it starts.
        self.addCleanup(signal.signal, signal.SIGINT, signal.signal(signal.SIGINT, signal.default_int_handler))

    def write(self, **changed):
        digits = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"
        fields = {"network": "vgg16", "layout": "keras", "file": "weights.h5", "url": self.url, "hash": digits}
        fields |= {"size": len(CONTENT), "licence": "BSD", "paper": "none", "note": "There may be no hash."} | changed
        lines = [f"{key} = {json.dumps(value)}" for key, value in fields.items() if value is not None]
        lines.append('preprocessing = {channels = "BGR", mean = [1, 2, 3], scale = [1, 1, 1]}')
        (self.root / "manifest.toml").write_text("\n".join(["[some]", *lines]) + "\n")

    def command(self, *arguments):
        options = (f"--folder={self.folder}", f"--manifest={self.root / 'manifest.toml'}", "--retry_wait=0.01")
        return [sys.executable, "-m", "weights.fetch", *options, *arguments]

    def start(self, *arguments):
        process = subprocess.Popen(
            self.command(*arguments or ("some",)),
            cwd=shared.ROOT,
            env=ENVIRONMENT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.addCleanup(process.__exit__, None, None, None)  # closes the pipes, waits
        self.addCleanup(process.kill)
        return process

    def finish(self, process, code=0):
        out, error = process.communicate(timeout=30)
        self.assertEqual(process.returncode, code, out + error)
        self.assertNotIn("Traceback", error)
        return out, error

    def fetch(self, *arguments, code=0):
        return self.finish(self.start(*arguments), code)

    def assert_fetched(self, out):
        self.assertEqual(self.final.read_bytes(), CONTENT)
        self.assertEqual([path.name for path in self.folder.iterdir()], ["weights.h5"])
        convert = f"--source={self.final} --network=vgg16 --output={self.folder / 'some'}"
        self.assertEqual(out.splitlines()[-1], f"next: python -m weights.convert {convert}")

    def assert_no_file(self, *left):
        self.assertEqual(sorted(path.name for path in self.folder.iterdir()), sorted(left))

    def wait_for_part(self, size):
        deadline = time.monotonic() + 20
        while not (self.part.exists() and self.part.stat().st_size == size):
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.01)

    def killed_midway(self, how=signal.SIGKILL):
        self.server.hang_after = HALF
        process = self.start()
        self.wait_for_part(HALF)
        process.send_signal(how)
        output = process.communicate(timeout=20)
        self.server.hang_after = None
        self.assertFalse(self.final.exists())
        return process.returncode, *output


class DownloadTest(FetchCase):
    def test_fetches_then_only_verifies(self):
        out, error = self.fetch()
        self.assert_fetched(out)
        self.assertEqual(error, "")  # no progress bar where there is no terminal
        out, _ = self.fetch()
        self.assertIn("already there", out)
        self.assert_fetched(out)
        self.assertEqual(self.server.requests, [(None, None)])

    def test_a_dropped_connection_goes_on_with_the_rest(self):
        self.server.stop_after = [HALF, 1000]
        out, error = self.fetch()
        self.assert_fetched(out)
        self.assertEqual(
            self.server.requests,
            [(None, None), (f"bytes={HALF}-", '"one"'), (f"bytes={HALF + 1000}-", '"one"')],
        )
        self.assertEqual(self.server.sent, len(CONTENT))
        self.assertIn("trying again", error)

    def test_a_killed_process_goes_on_with_the_rest(self):
        code, *_ = self.killed_midway()
        self.assertEqual(code, -signal.SIGKILL)
        out, _ = self.fetch()
        self.assertIn(f"{HALF / 1e6:.1f} MB of it at hand", out)
        self.assert_fetched(out)
        self.assertEqual(self.server.requests[1:], [(f"bytes={HALF}-", '"one"')])
        self.assertEqual(self.server.sent, len(CONTENT))

    def test_control_c(self):
        code, _, error = self.killed_midway(signal.SIGINT)
        self.assertEqual(code, 1)
        self.assertIn("the same command goes on", error)
        self.assertNotIn("Traceback", error)
        self.assert_no_file("weights.h5.part", "weights.h5.part.json")
        self.assert_fetched(self.fetch()[0])
        self.assertEqual(self.server.sent, len(CONTENT))

    def test_a_server_without_ranges_starts_again(self):
        self.server.ranges = False
        self.server.stop_after = [HALF]
        out, error = self.fetch()
        self.assert_fetched(out)
        self.assertIn("whole file again", error)
        self.assertLen(self.server.requests, 2)

    @parameterized.parameters(True, False)
    def test_content_that_changes_between_tries(self, if_range):
        self.killed_midway()
        self.server.content, self.server.etag, self.server.if_range = OTHER, '"two"', if_range
        self.write(hash=f"sha256:{hashlib.sha256(OTHER).hexdigest()}")
        self.fetch()
        self.assertEqual(self.final.read_bytes(), OTHER)

    @parameterized.parameters('W/"one"', None)
    def test_without_a_validator(self, etag):
        """The hash at the end makes going on safe; without one, nothing does."""
        self.server.etag = etag
        self.server.stop_after = [HALF, None, HALF]
        self.assert_fetched(self.fetch()[0])
        self.assertEqual(self.server.requests[1], (f"bytes={HALF}-", None))
        self.final.unlink()
        self.write(hash=None)
        self.assert_fetched(self.fetch()[0])
        self.assertEqual(self.server.requests[2:], [(None, None), (None, None)])

    def test_another_address_starts_again(self):
        self.killed_midway()
        self.write(url=self.url.replace("weights.h5", "moved.h5"))
        self.assert_fetched(self.fetch()[0])
        self.assertEqual(self.server.requests[-1], (None, None))

    def test_a_complete_part_is_not_asked_for(self):
        self.killed_midway()
        self.part.write_bytes(CONTENT)
        self.assert_fetched(self.fetch()[0])
        self.assertLen(self.server.requests, 1)

    def test_416_on_a_complete_part(self):
        self.killed_midway()
        self.part.write_bytes(CONTENT)
        self.write(size=None)
        self.assert_fetched(self.fetch()[0])
        self.assertEqual(self.server.requests[1:], [(f"bytes={len(CONTENT)}-", '"one"')])

    def test_416_on_a_part_that_is_too_long(self):
        self.killed_midway()
        self.part.write_bytes(CONTENT + b"more")
        self.write(size=None)
        self.assert_fetched(self.fetch()[0])
        self.assertEqual(self.server.requests[-1], (None, None))

    def test_unknown_length(self):
        self.server.length = False
        self.write(size=None)
        self.assert_fetched(self.fetch()[0])

    def test_server_errors_pass(self):
        self.server.answers = [503, 429, 500]
        out, error = self.fetch()
        self.assert_fetched(out)
        self.assertIn("503", error)

    def test_redirects(self):
        self.server.answers, self.server.location = [302], self.url + "?signed"
        self.assert_fetched(self.fetch()[0])

    def test_two_at_once(self):
        self.server.hang_after = HALF
        first = self.start()
        self.wait_for_part(HALF)
        second = self.start()
        self.assertIn("waiting", second.stderr.readline())
        self.server.hang_after = None
        first.send_signal(signal.SIGKILL)  # the lock dies with its process
        first.communicate()
        self.assert_fetched(self.finish(second)[0])

    def test_the_lock_passes_to_one_only(self):
        """Who waited holds a lock on a file that is gone; who comes later must not lock another."""
        self.server.hang_after = 1000
        first = self.start()
        self.wait_for_part(1000)
        second = self.start()
        self.assertIn("waiting", second.stderr.readline())
        first.send_signal(signal.SIGINT)
        first.communicate()
        self.wait_for_part(2000)
        third = self.start()
        waits, _, _ = select.select([third.stderr], [], [], 10)
        self.server.hang_after = None
        second.kill()
        second.communicate()
        out, error = self.finish(third)
        self.assertTrue(waits, error)
        self.assertIn("waiting", error)
        self.assert_fetched(out)

    def test_three_at_once_fetch_once(self):
        processes = [self.start() for _ in range(3)]
        outputs = [self.finish(process)[0] for process in processes]
        self.assert_fetched(outputs[0])
        self.assertEqual(sum("saved" in out for out in outputs), 1)
        self.assertLen(self.server.requests, 1)


class HashTest(FetchCase):
    @parameterized.parameters("sha256-prefix", "sha1", "md5")
    def test_kinds(self, kind):
        digits = hashlib.new(kind.removesuffix("-prefix"), CONTENT, usedforsecurity=False).hexdigest()
        self.write(hash=f"{kind}:{digits[:8] if 'prefix' in kind else digits}")
        self.assert_fetched(self.fetch()[0])

    @parameterized.parameters(("sha256", 64), ("sha256-prefix", 8))
    def test_mismatch(self, kind, count):
        self.write(hash=f"{kind}:{'0' * count}")
        _, error = self.fetch(code=1)
        for part in ("0" * count, hashlib.sha256(CONTENT).hexdigest(), "deleted"):
            self.assertIn(part, error)
        self.assert_no_file()

    def test_none(self):
        self.write(hash=None, size=None)
        out, error = self.fetch()
        self.assert_fetched(out)
        self.assertIn("WARNING", error)
        self.assertIn(f"sha256 {hashlib.sha256(CONTENT).hexdigest()}", out)

    def test_a_file_put_there_by_hand(self):
        self.folder.mkdir(parents=True)
        self.final.write_bytes(CONTENT)
        self.assert_fetched(self.fetch()[0])
        self.final.write_bytes(OTHER)
        _, error = self.fetch(code=1)
        self.assertIn("Move it away", error)
        self.assertEqual(self.final.read_bytes(), OTHER)
        self.final.write_bytes(CONTENT[:-1])
        self.assertIn(f"{len(CONTENT) - 1} bytes", self.fetch(code=1)[1])
        self.final.write_bytes(PAGE)
        self.assertIn("web page", self.fetch(code=1)[1])
        self.assertEmpty(self.server.requests)


class FailureTest(FetchCase):
    def test_nobody_there(self):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))  # bound, but not listening
            self.url = f"http://127.0.0.1:{taken.getsockname()[1]}/weights.h5"
            self.write()
            _, error = self.fetch(code=1)
        self.assertIn("cannot reach", error)
        self.assertNotIn("trying again", error)
        digits = hashlib.sha256(CONTENT).hexdigest()
        for part in (self.url, "1.2 MB", f"sha256 {digits}", str(self.final), "weights.fetch some", "weights.convert"):
            self.assertIn(part, error)

    def test_no_such_host(self):
        self.write(url="https://no-such-host.invalid/weights.h5")
        _, error = self.fetch(code=1)
        self.assertIn("cannot reach https://no-such-host.invalid/weights.h5", error)
        self.assertIn(str(self.final), error)

    def test_not_found(self):
        self.server.answers = [404]
        _, error = self.fetch(code=1)
        self.assertIn("404", error)
        self.assertIn("by hand", error)
        self.assertLen(self.server.requests, 1)
        self.assert_no_file()

    def test_errors_that_last(self):
        self.server.answers = [500] * 9
        self.assertIn("500", self.fetch(code=1)[1])
        self.assertLen(self.server.requests, 5)

    def test_a_server_that_stalls(self):
        self.server.hang_after = 100
        _, error = self.fetch("some", "--timeout=0.2", code=1)
        self.assertIn("timed out", error)
        self.assert_no_file("weights.h5.part", "weights.h5.part.json")

    @parameterized.parameters("text/html; charset=utf-8", "application/octet-stream")
    def test_a_web_page(self, kind):
        self.server.content, self.server.kind = PAGE, kind
        self.write(hash=None, size=None)
        _, error = self.fetch(code=1)
        self.assertIn("web page", error)
        self.assert_no_file()

    def test_a_web_page_leaves_the_part(self):
        self.killed_midway()
        self.server.content, self.server.kind, self.server.etag = PAGE, "text/html", '"page"'
        self.fetch(code=1)
        self.assertEqual(self.part.read_bytes(), CONTENT[:HALF])

    def test_another_size(self):
        self.write(size=len(CONTENT) + 1)
        self.assertIn(f"{len(CONTENT)} bytes, not {len(CONTENT) + 1}", self.fetch(code=1)[1])
        self.assert_no_file()

    @parameterized.parameters("file:///etc/hostname", "ftp://127.0.0.1/weights.h5")
    def test_redirects_elsewhere(self, location):
        self.server.answers, self.server.location = [302], location
        _, error = self.fetch(code=1)
        self.assertIn("302" if location.startswith("file") else "neither http nor https", error)
        self.assert_no_file()

    def test_full_disk(self):
        self.write(size=10**15)
        self.server.length = False
        self.assertIn("are needed", self.fetch(code=1)[1])

    def test_command_line(self):
        out, _ = self.finish(self.start("--manifest", str(self.root / "manifest.toml")))
        header, row = out.splitlines()
        self.assertEqual(header.split(), ["name", "network", "size", "licence", "file"])
        self.assertEqual(row.split(), ["some", "vgg16", "1.2", "MB", "BSD", "weights.h5"])
        self.assertIn("some", self.fetch("other", code=1)[1])
        self.fetch("some", "some", code=1)
        (self.root / "manifest.toml").write_text("[some]\n")
        self.assertIn("lacks network", self.fetch(code=1)[1])
        self.assertFalse(self.folder.exists())


if __name__ == "__main__":
    absltest.main()
