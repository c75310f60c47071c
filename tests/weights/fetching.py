"""This module has an HTTP server with configurable faults, and runs ``python -m cwcf_jax.weights`` against it."""

import contextlib
import hashlib
import http.server
import json
import os
import pathlib
import subprocess
import sys
import threading

import numpy as np
from absl.testing import parameterized

from tests.support import shared

CONTENT, OTHER = (np.random.default_rng(seed).bytes(1_200_000) for seed in (0, 1))
HALF = len(CONTENT) // 2
PAGE = b"<!DOCTYPE html><html><title>Virus scan warning</title></html>"
# A proxy cannot reach the loopback interface of this machine.
ENVIRONMENT = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}


class Server(http.server.ThreadingHTTPServer):
    """A `Server` serves ``content`` under every path; its attributes configure the faults."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.content_type, self.sends_length = CONTENT, "application/octet-stream", True
        self.stop_after = None  # bytes until the connection is closed
        self.hang_after = None  # bytes until the response stalls
        self.answers = []  # statuses of the next responses, instead of the file
        self.location = None
        self.requests = 0
        self.requested = threading.Event()


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *arguments):
        pass

    def do_GET(self):
        server = self.server
        server.requests += 1
        server.requested.set()
        if server.answers:
            self.send_response(server.answers.pop(0))
            if server.location:
                self.send_header("Location", server.location)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(200)
        if server.sends_length:
            self.send_header("Content-Length", str(len(server.content)))
        self.send_header("Content-Type", server.content_type)
        self.end_headers()
        hang = server.hang_after
        with contextlib.suppress(ConnectionError):
            self.wfile.write(server.content[: server.stop_after if hang is None else hang])
            if hang is not None:
                self.rfile.read(1)  # until the client closes the connection


class FetchCase(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.root = pathlib.Path(self.create_tempdir().full_path)
        self.folder = self.root / "deep" / "downloads"
        self.final = self.folder / "weights.h5"
        self.server = Server()
        thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        self.addCleanup(self.server.server_close)
        self.addCleanup(self.server.shutdown)
        self.url = f"http://127.0.0.1:{self.server.server_port}/weights.h5"
        self.write()

    def write(self, **changed):
        digits = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"
        fields = {"network": "vgg16", "layout": "keras", "file": "weights.h5", "url": self.url, "hash": digits}
        fields |= {"size": len(CONTENT), "licence": "BSD", "paper": "none", "note": "There may be no hash."} | changed
        lines = [f"{key} = {json.dumps(value)}" for key, value in fields.items() if value is not None]
        lines.append('preprocessing = {channels = "BGR", mean = [1, 2, 3], scale = [1, 1, 1]}')
        (self.root / "catalogue.toml").write_text("\n".join(["[some]", *lines]) + "\n")

    def start(self, *arguments):
        options = ["fetch", "some", f"--folder={self.folder}", f"--catalogue={self.root / 'catalogue.toml'}"]
        process = subprocess.Popen(
            [sys.executable, "-m", "cwcf_jax.weights", *(arguments or options)],
            cwd=shared.ROOT,
            env=ENVIRONMENT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.addCleanup(process.__exit__, None, None, None)  # closes the pipes and waits
        self.addCleanup(process.kill)
        return process

    def finish(self, process, code=0):
        out, error = process.communicate(timeout=60)
        self.assertEqual(process.returncode, code, out + error)
        self.assertNotIn("Traceback", error)
        return out, error

    def assert_folder(self, *names):
        """Checks the files in the folder, except for the lock."""
        actual = {path.name for path in self.folder.iterdir()} - {"weights.h5.lock"}
        self.assertEqual(actual, set(names))
