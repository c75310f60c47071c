"""Pictures of the index as a browser shows them."""

import io
import threading

import cachetools
from PIL import Image

from cwcf_jax.images import Picture, read_image

SIDES = (320, 1280)
"""The longer sides that a client can ask for, pixels."""

MAX_BYTES = 64 * 2**20


class Thumbnails:
    """JPEGs of pictures, for many threads; the most recently used ones are kept by the picture's content."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._jpegs = cachetools.LRUCache[tuple[str, int], bytes](max_bytes, len)
        self._lock = threading.Lock()
        self._decoding = threading.BoundedSemaphore(2)

    def get(self, file: Picture, content: str, side: int) -> bytes:
        """Returns a JPEG whose longer side is ``side`` at most; ImageError if the file is gone or damaged."""
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
