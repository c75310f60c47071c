"""Pictures from strangers: checked by what they contain before anything is decoded."""

import io

import numpy as np
from fastapi import HTTPException, Request
from PIL import Image

from cwcf_jax.images import DatasetPicture, ImageError, read_image

MAX_BYTES = 32 * 2**20
MAX_PIXELS = 50_000_000
FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "TIFF", "WEBP")
Image.init()  # otherwise Pillow does not know all of these before it has opened another picture


async def read_body(request: Request) -> bytes:
    """The body, unless it is too large: 413 then, before the rest of it is read."""
    parts, length = [], 0
    async for part in request.stream():
        length += len(part)
        if length > MAX_BYTES:
            raise HTTPException(413, f"the file is larger than the {MAX_BYTES // 2**20} MB that are taken")
        parts.append(part)
    return b"".join(parts)


def decode(body: bytes) -> np.ndarray:
    """[height, width, 3] uint8 RGB, upright.

    Raises:
        HTTPException: 415, no picture of the formats above, whatever it calls itself; 413, too many pixels;
            422, damaged.
    """
    try:
        with Image.open(io.BytesIO(body), formats=FORMATS) as image:
            pixels = image.width * image.height
    except Image.DecompressionBombError as error:
        raise HTTPException(413, _too_large()) from error
    except Exception as error:  # whatever a parser raises on bytes made to break it
        raise HTTPException(415, "this is no picture that can be read; send a JPEG, PNG or WebP") from error
    if pixels > MAX_PIXELS:
        raise HTTPException(413, _too_large())
    try:
        return read_image(DatasetPicture([{"image": body}], 0, "the picture"))
    except ImageError as error:
        raise HTTPException(422, str(error)) from error


def _too_large() -> str:
    return f"the picture has more than the {MAX_PIXELS // 10**6} million pixels that are taken; make it smaller"
