"""Decoding and resizing photographs with Pillow."""

import dataclasses
import re
from typing import Any

import numpy as np
from PIL import ExifTags, Image

from cwcf_jax.images.imagesets import Picture
from cwcf_jax.images.object_stores import find_picture

MAX_PIXELS = 178_956_970
"""Largest picture that is decoded, where Pillow's own limit stands: 540 MB. A larger file is refused unread."""

MAX_RESIZED_PIXELS = 2**24
"""Largest picture that is handed to a network, 4,096 x 4,096; VGG-16 needs some 10 GB for it."""


class ImageError(ValueError):
    """A picture that cannot be used; the message starts with its path and says why."""


def read_image(path: str | Picture) -> np.ndarray:
    """Decodes a picture, of a path or an address, as [height, width, 3] uint8 RGB, upright.

    EXIF orientation is applied; grey, palette and CMYK are converted; transparency is laid over white; 16-bit grey is
    scaled to 8; of an animation the first frame is taken. Pillow's warnings (odd metadata, 89 million pixels and more)
    are passed on.

    Raises:
        ImageError: missing, truncated, not a picture, of a kind without defined brightness, or above `MAX_PIXELS`.
    """
    return np.array(_read(path))


def _read(path: str | Picture) -> Image.Image:
    """`read_image` before it becomes an array, which Pillow makes slowly and under Python's lock."""
    try:
        with _opened(path) as file, Image.open(file) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise ImageError(f"{path}: {width} x {height} pixels, more than the {MAX_PIXELS} that are decoded")
            turn = _TURNS.get(_orientation(image))
            image.load()
            return _rgb(image if turn is None else image.transpose(turn))
    except ImageError:
        raise
    except Image.DecompressionBombError as error:
        raise ImageError(f"{path}: more than the {MAX_PIXELS} pixels that are decoded") from error
    except FileNotFoundError as error:
        raise ImageError(f"{path}: no such file") from error
    # Pillow's decoders raise whatever a malformed file drives them into, far beyond OSError.
    except Exception as error:
        raise ImageError(f"{path}: cannot be read as a picture ({error})") from error


def read_size(path: str | Picture) -> tuple[int, int]:
    """Height and width of the upright picture; ImageError as in `read_image`."""
    try:
        with _opened(path) as file, Image.open(file) as image:
            width, height = image.size
            return (width, height) if _orientation(image) in (5, 6, 7, 8) else (height, width)
    except Exception as error:
        raise ImageError(f"{path}: cannot be read as a picture ({error})") from error


def _opened(path: str | Picture) -> Any:  # a file: `BytesIO` and what `open` gives share no type that Pillow takes
    return (find_picture(path) if isinstance(path, str) else path).open("rb")


_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def _orientation(image: Image.Image) -> Any:
    """The EXIF value, 1 where the block is malformed: that must not cost the picture."""
    if image.format == "PNG":
        image.load()  # the block may follow the pixels
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:
        return 1


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode == "F":
        raise ValueError("floating-point pixels have no defined range; save it with 8 or 16 bits")
    if image.mode in ("I", "I;16", "I;16B", "I;16L", "I;16N"):
        pixels = np.asarray(image, np.int64)
        if pixels.min() < 0 or pixels.max() > 65535:
            raise ValueError("grey values beyond 16 bits")
        if "transparency" in image.info:
            pixels = np.where(pixels == image.info["transparency"], 65535, pixels)
        return Image.fromarray(((pixels + 128) // 257).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        layered = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layered.size, "white"), layered).convert("RGB")
    return image.convert("RGB")


@dataclasses.dataclass(frozen=True)
class Resize:
    """How a protocol resizes photographs: Pillow's bilinear filter, to uint8.

    Attributes:
        kind: ``none``; ``min``, the shorter side becomes ``width`` and the aspect is kept; ``max``, the longer side
            does; ``squash``, to exactly ``width x height``, turned to the photograph's orientation; ``multiple``, each
            side becomes the next smaller multiple of ``width``, but no less than that.
        scale: what both sides are multiplied by then, from 0.01 to 100; the photograph is resampled once.
    """

    kind: str = "none"
    width: int = 0
    height: int = 0
    scale: float = 1.0

    def __post_init__(self) -> None:
        if not 0.01 <= self.scale <= 100.0:
            raise ValueError(f"a picture is scaled by 0.01 to 100, not {self.scale:g}")

    @classmethod
    def parse(cls, text: str) -> "Resize":
        """From ``none``, ``min720``, ``max1024``, ``squash1024x720`` or ``multiple16``; ValueError otherwise.

        Each may be followed by ``@`` and a scale: ``none@0.7`` is 0.7 of the stored sides.
        """
        match = re.fullmatch(r"(.*)@(\d{1,3}(?:\.\d{1,9})?)", text)
        if match:
            return cls.parse(match[1]).scaled(float(match[2]))
        if text == "none":
            return cls()
        match = re.fullmatch(r"(min|max|multiple)([1-9]\d{0,4})", text)
        if match:
            return cls(match[1], int(match[2]))
        match = re.fullmatch(r"squash([1-9]\d{0,4})x([1-9]\d{0,4})", text)
        if match:
            return cls("squash", int(match[1]), int(match[2]))
        raise ValueError(
            f"unknown resize {text!r}; write none, min720, max1024, squash1024x720 or multiple16 (any numbers)"
        )

    def __str__(self) -> str:
        sides = {"none": "none", "squash": f"squash{self.width}x{self.height}"}.get(
            self.kind, f"{self.kind}{self.width}"
        )
        return sides if self.scale == 1.0 else f"{sides}@{self.scale:g}"

    def scaled(self, scale: float) -> "Resize":
        """The same with both sides multiplied by a further number."""
        return dataclasses.replace(self, scale=self.scale * scale)

    def target(self, height: int, width: int) -> tuple[int, int]:
        """Height and width after resizing, at least 1 each."""
        rows, columns = self._sides(height, width)
        return max(1, round(rows * self.scale)), max(1, round(columns * self.scale))

    def _sides(self, height: int, width: int) -> tuple[int, int]:
        if self.kind == "none":
            return height, width
        if self.kind == "squash":
            long, short = max(self.width, self.height), min(self.width, self.height)
            return (short, long) if width >= height else (long, short)
        if self.kind == "multiple":
            return max(height // self.width, 1) * self.width, max(width // self.width, 1) * self.width
        side = min(height, width) if self.kind == "min" else max(height, width)
        return max(1, round(height * self.width / side)), max(1, round(width * self.width / side))

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Resizes [height, width, 3] uint8; ValueError if the result is beyond `MAX_RESIZED_PIXELS`."""
        target = self._allowed(*image.shape[:2])
        return image if target == image.shape[:2] else np.asarray(_resized(Image.fromarray(image), target))

    def picture(self, image: Image.Image) -> Image.Image:
        """The same for Pillow's picture."""
        target = self._allowed(image.height, image.width)
        return image if target == (image.height, image.width) else _resized(image, target)

    def _allowed(self, height: int, width: int) -> tuple[int, int]:
        rows, columns = self.target(height, width)
        if rows * columns > MAX_RESIZED_PIXELS:
            raise ValueError(
                f"{width} x {height} pixels under resize {self} make {columns} x {rows}, more than the "
                f"{MAX_RESIZED_PIXELS} pixels a network is given; crop it or choose a smaller resize"
            )
        return rows, columns


def _resized(image: Image.Image, target: tuple[int, int]) -> Image.Image:
    return image.resize(target[::-1], Image.Resampling.BILINEAR)


Box = tuple[float, float, float, float]
"""``x1 y1 x2 y2`` in the upright picture's pixels."""


def load_image(path: str | Picture, resize: Resize, crop: Box | None = None) -> tuple[np.ndarray, tuple[int, int]]:
    """The resized picture, or part of it, and the (height, width) before the resize; ImageError names the file.

    ``crop`` is cut at whole pixels, each side rounded down, to the picture; at least one pixel is left.
    """
    image = _read(path)
    if crop is not None:
        image = image.crop(_pixels(image, crop))
    try:
        return np.asarray(resize.picture(image)), (image.height, image.width)
    except ValueError as error:
        raise ImageError(f"{path}: {error}") from error


def _pixels(image: Image.Image, crop: Box) -> tuple[int, int, int, int]:
    (left, right), (top, bottom) = (
        (min(max(0, int(low)), length - 1), min(int(high), length))
        for low, high, length in ((crop[0], crop[2], image.width), (crop[1], crop[3], image.height))
    )
    return left, top, max(right, left + 1), max(bottom, top + 1)
