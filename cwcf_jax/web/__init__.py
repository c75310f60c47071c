"""This package serves an index: an HTTP API (docs/http_api.md), and a page for browsers that uses the API.

It needs the extra ``web``.
"""

from cwcf_jax.web.app import create_app
from cwcf_jax.web.server import serve

__all__ = ["create_app", "serve"]
