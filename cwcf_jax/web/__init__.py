"""An index in a browser: an HTTP API (docs/http_api.md) and a page that uses it. Needs the extra ``web``."""

from cwcf_jax.web.app import create_app
from cwcf_jax.web.server import serve

__all__ = ["create_app", "serve"]
