"""Uploaded queries, the latest ones, within a fixed amount of memory."""

import collections
import threading

from cwcf_jax.index import Prepared

MAX_BYTES = 256 * 2**20


class Asked:
    """Prepared queries by name; the longest unused ones make room."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._held: collections.OrderedDict[str, Prepared] = collections.OrderedDict()
        self._bytes, self._max_bytes, self._lock = 0, max_bytes, threading.Lock()

    def get(self, name: str) -> Prepared | None:
        """The query of that name, if it is still here."""
        with self._lock:
            if name in self._held:
                self._held.move_to_end(name)
            return self._held.get(name)

    def put(self, name: str, query: Prepared) -> None:
        """Keeps a query."""
        with self._lock:
            before = self._held.pop(name, None)
            self._bytes += query.nbytes - (before.nbytes if before else 0)
            self._held[name] = query
            while self._bytes > self._max_bytes and len(self._held) > 1:
                self._bytes -= self._held.popitem(last=False)[1].nbytes
