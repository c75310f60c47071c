"""A server of weights that can do everything wrong, and `cwcf_jax.weights.fetch` in processes that ask it."""

import contextlib
import hashlib
import http.server
import json
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import numpy as np
from absl.testing import parameterized

from tests.support import shared

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
        return [sys.executable, "-m", "cwcf_jax.weights.fetch", *options, *arguments]

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
        self.assertEqual(out.splitlines()[-1], f"next: python -m cwcf_jax.weights.convert {convert}")

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
