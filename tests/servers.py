"""Servers that tests talk to, started by them and stopped again."""

import contextlib
import os
import urllib.request
from unittest import mock

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
