"""This module reads uploaded pictures; it checks type and size by the content before it decodes a picture."""

import io

import numpy as np
from fastapi import HTTPException, Request
from PIL import Image

from cwcf_jax.images import DatasetPicture, ImageError, read_image

MAX_BYTES = 32 * 2**20
MAX_PIXELS = 50_000_000
FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "TIFF", "WEBP")
Image.init()  # otherwise Pillow knows only some formats until it opens its first picture


async def read_body(request: Request) -> bytes:
    """Reads the body of a request; raises HTTPException 413 as soon as the body is too large."""
    parts, length = [], 0
    async for part in request.stream():
        length += len(part)
        if length > MAX_BYTES:
            raise HTTPException(
                413, f"the file is larger than the {MAX_BYTES // 2**20} MB that are allowed; send a smaller file"
            )
        parts.append(part)
    return b"".join(parts)


def decode(body: bytes) -> np.ndarray:
    """Decodes a picture to an upright image of shape [height, width, 3], uint8, RGB.

    Raises:
        HTTPException: status 415: the content is no picture in one of `FORMATS`; 413: too many pixels; 422: damaged.
    """
    try:
        with Image.open(io.BytesIO(body), formats=FORMATS) as image:
            pixels = image.width * image.height
    except Image.DecompressionBombError as error:
        raise HTTPException(413, _too_many_pixels()) from error
    except Exception as error:  # parsers raise all kinds of errors for malicious bytes
        raise HTTPException(415, "this is no picture that can be read; send a JPEG, PNG or WebP") from error
    if pixels > MAX_PIXELS:
        raise HTTPException(413, _too_many_pixels())
    try:
        return read_image(DatasetPicture([{"image": body}], 0, "the picture"))
    except ImageError as error:
        raise HTTPException(422, str(error)) from error


def _too_many_pixels() -> str:
    return f"the picture has more than the {MAX_PIXELS // 10**6} million pixels that are allowed; make it smaller"
