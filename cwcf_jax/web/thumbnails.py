"""This module makes thumbnails of the index's pictures."""

import io
import threading

import cachetools
from PIL import Image

from cwcf_jax.images import Picture, read_image

MAX_BYTES = 64 * 2**20


class Thumbnails:
    """A `Thumbnails` object makes JPEGs of pictures for many threads, and caches the most recently used JPEGs."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._jpegs = cachetools.LRUCache[tuple[str, int], bytes](max_bytes, len)
        self._lock = threading.Lock()
        self._decoding = threading.BoundedSemaphore(2)

    def get(self, file: Picture, content: str, side: int) -> bytes:
        """Returns a JPEG with a longer side of at most ``side`` pixels.

        Raises:
            ImageError: the file does not exist or is damaged.
        """
        with self._lock:
            if (content, side) in self._jpegs:
                return self._jpegs[content, side]
        with self._decoding:
            image = Image.fromarray(read_image(file))
        image.thumbnail((side, side))
        stream = io.BytesIO()
        image.save(stream, "JPEG", quality=85)
        with self._lock:
            self._jpegs[content, side] = stream.getvalue()
        return stream.getvalue()
