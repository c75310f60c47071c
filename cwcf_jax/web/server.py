"""Serving an index, on this machine unless told otherwise."""

import secrets
import socket
from collections.abc import Callable

import uvicorn

from cwcf_jax.index import Index, Searcher
from cwcf_jax.web.app import create_app

LOCAL = ("127.0.0.1", "localhost", "::1")


def serve(
    index: Index,
    *,
    host: str,
    port: int,
    token: str | None,
    ready: Callable[[str], object],
    searcher: Searcher | None = None,
) -> None:
    """Serves until it is told to stop.

    Args:
        index: an index that is filled.
        host: address to listen on; beyond this machine a token is needed, and made if none is given.
        port: 0: any that is free.
        token: that clients must know.
        ready: called with the address to open, once requests are taken.
        searcher: of the index, see `Index.searcher`; None: in this process.

    Raises:
        OSError: the port is taken, or the address is not this machine's.
    """
    index.generation()
    local = host in LOCAL
    token = token or (None if local else secrets.token_urlsafe(24))
    hosts = ("127.0.0.1", "localhost", "[::1]", "::1") if local else ("*",)
    app = create_app(index, token=token, hosts=hosts, searcher=searcher)
    listening = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    shown = f"[{host}]" if ":" in host else host
    if host in ("0.0.0.0", "::"):  # noqa: S104
        shown = socket.gethostname()
    address = f"http://{shown}:{listening.getsockname()[1]}/" + (f"?token={token}" if token else "")
    config = uvicorn.Config(app, log_level="warning", timeout_keep_alive=30, limit_concurrency=256)
    server = uvicorn.Server(config)
    ready(address)
    server.run(sockets=[listening])
