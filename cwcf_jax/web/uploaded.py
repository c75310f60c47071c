"""Uploaded queries, the most recently used ones, within a fixed amount of memory."""

import threading

import cachetools

from cwcf_jax.index import PreparedQuery

MAX_BYTES = 256 * 2**20


class UploadedQueries:
    """Prepared queries by name, for many threads; the least recently used ones make room for new ones."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        # The last query is kept whatever its size: the client is about to search with it.
        self._queries = cachetools.LRUCache[str, PreparedQuery](max_bytes, lambda query: min(query.nbytes, max_bytes))
        self._lock = threading.Lock()

    def get(self, name: str) -> PreparedQuery | None:
        """Returns the query of that name, or None if it is no longer kept."""
        with self._lock:
            return self._queries.get(name)

    def put(self, name: str, query: PreparedQuery) -> None:
        """Keeps a query."""
        with self._lock:
            self._queries[name] = query
