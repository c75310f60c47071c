"""This module stores uploaded queries in a fixed amount of memory."""

import threading

import cachetools

from cwcf_jax.index import PreparedQuery

MAX_BYTES = 256 * 2**20


class UploadedQueries:
    """An `UploadedQueries` object stores prepared queries for many threads, and drops the least recently used ones."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        # The latest query counts as no larger than the memory, so that it is always stored for the client's search.
        self._queries = cachetools.LRUCache[str, PreparedQuery](max_bytes, lambda query: min(query.nbytes, max_bytes))
        self._lock = threading.Lock()

    def get(self, name: str) -> PreparedQuery | None:
        """Returns the query with a name, or None if it is no longer stored."""
        with self._lock:
            return self._queries.get(name)

    def put(self, name: str, query: PreparedQuery) -> None:
        """Stores a query."""
        with self._lock:
            self._queries[name] = query
