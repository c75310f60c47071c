"""Pictures of the index as a browser shows them."""

import collections
import io
import threading

from PIL import Image

from cwcf_jax.images import Picture, read_image

SIDES = (320, 1280)
"""The longer sides that can be asked for, pixels."""

MAX_BYTES = 64 * 2**20


class Thumbnails:
    """JPEGs of pictures by their content, the latest ones kept."""

    def __init__(self) -> None:
        self._held: collections.OrderedDict[tuple[str, int], bytes] = collections.OrderedDict()
        self._bytes, self._lock = 0, threading.Lock()
        self._decoding = threading.BoundedSemaphore(2)

    def get(self, file: Picture, content: str, side: int) -> bytes:
        """A JPEG whose longer side is ``side`` at most; ImageError if the file is gone or damaged."""
        with self._lock:
            if (content, side) in self._held:
                self._held.move_to_end((content, side))
                return self._held[content, side]
        with self._decoding:
            image = Image.fromarray(read_image(file))
        image.thumbnail((side, side))
        stream = io.BytesIO()
        image.save(stream, "JPEG", quality=85)
        jpeg = stream.getvalue()
        with self._lock:
            if (content, side) not in self._held:
                self._held[content, side] = jpeg
                self._bytes += len(jpeg)
            while self._bytes > MAX_BYTES:
                self._bytes -= len(self._held.popitem(last=False)[1])
        return jpeg
