"""This module runs the server, by default for clients on this machine only."""

import secrets
import socket
from collections.abc import Callable

import uvicorn

from cwcf_jax.index import Index, Searcher
from cwcf_jax.web.app import create_app

LOCAL_HOSTS = ("127.0.0.1", "localhost", "::1")


def serve(
    index: Index,
    *,
    host: str,
    port: int,
    token: str | None,
    ready: Callable[[str], object],
    searcher: Searcher | None = None,
) -> None:
    """Serves an index until the process is told to stop.

    Args:
        index: the index.
        host: address to listen on. An address beyond this machine needs a token.
        port: port to listen on; 0: any free port.
        token: token that clients must send; None: no token on this machine, otherwise a new random token.
        ready: function that is called with the address of the page when the server accepts requests.
        searcher: searcher of the index, see `Index.searcher`; None: a searcher in this process.

    Raises:
        FileNotFoundError: the index is empty.
        OSError: the port is in use, or the address does not belong to this machine.
    """
    index.generation()
    local = host in LOCAL_HOSTS
    token = token or (None if local else secrets.token_urlsafe(24))
    hosts = ("127.0.0.1", "localhost", "[::1]", "::1") if local else ("*",)
    app = create_app(index, token=token, hosts=hosts, searcher=searcher)
    listener = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    shown_host = f"[{host}]" if ":" in host else host
    if host in ("0.0.0.0", "::"):  # noqa: S104
        shown_host = socket.gethostname()
    address = f"http://{shown_host}:{listener.getsockname()[1]}/" + (f"?token={token}" if token else "")
    config = uvicorn.Config(app, log_level="warning", timeout_keep_alive=30, limit_concurrency=256)
    server = uvicorn.Server(config)
    ready(address)
    server.run(sockets=[listener])
