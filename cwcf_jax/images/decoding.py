"""This module decodes and resizes pictures with Pillow."""

import dataclasses
import re
from typing import Any

import numpy as np
from PIL import ExifTags, Image

from cwcf_jax.images.imagesets import Picture
from cwcf_jax.images.object_stores import find_picture

MAX_PIXELS = 178_956_970
"""The largest number of pixels that are decoded, which is Pillow's own limit: 540 MB. Larger files are refused."""

MAX_RESIZED_PIXELS = 2**24
"""The largest number of pixels that a network is given, 4,096 x 4,096; VGG-16 needs about 10 GB for as many."""


class ImageError(ValueError):
    """Raised when a picture cannot be used; the message starts with the picture's path and gives the reason."""


def read_image(path: str | Picture) -> np.ndarray:
    """Decodes a picture and returns its upright RGB pixels, [height, width, 3] uint8.

    The EXIF orientation is applied. Grey, palette and CMYK pictures are converted, transparent pixels are blended with
    white, 16-bit grey is scaled to 8 bits, and the first frame of an animation is read. Pillow's warnings about odd
    metadata and about more than 89 million pixels are passed on.

    Args:
        path: a picture, its path, or its address on an object store.

    Raises:
        ImageError: the file is missing, truncated, no picture, of a kind without a defined brightness, or larger than
            `MAX_PIXELS`.
    """
    return np.array(_decode(path))


def _decode(path: str | Picture) -> Image.Image:
    """Returns Pillow's image: its conversion to an array is slow and keeps Python's lock."""
    try:
        with _open(path) as file, Image.open(file) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise ImageError(
                    f"{path}: {width} x {height} pixels, more than the {MAX_PIXELS} that are decoded; make it smaller"
                )
            transpose = _TRANSPOSES.get(_orientation(image))
            image.load()
            return _rgb(image if transpose is None else image.transpose(transpose))
    except ImageError:
        raise
    except Image.DecompressionBombError as error:
        raise ImageError(f"{path}: more than the {MAX_PIXELS} pixels that are decoded; make it smaller") from error
    except FileNotFoundError as error:
        raise ImageError(f"{path}: no such file") from error
    # Malformed files make Pillow's decoders raise errors of many types, not only OSError.
    except Exception as error:
        raise ImageError(f"{path}: cannot be read as a picture ({error})") from error


def read_size(path: str | Picture) -> tuple[int, int]:
    """Returns the height and width of the upright picture; raises the errors of `read_image`."""
    try:
        with _open(path) as file, Image.open(file) as image:
            width, height = image.size
            return (width, height) if _orientation(image) in (5, 6, 7, 8) else (height, width)
    except Exception as error:
        raise ImageError(f"{path}: cannot be read as a picture ({error})") from error


def _open(path: str | Picture) -> Any:  # Pillow's annotations have no common type for `BytesIO` and open files
    return (find_picture(path) if isinstance(path, str) else path).open("rb")


_TRANSPOSES = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def _orientation(image: Image.Image) -> Any:
    """Returns the EXIF orientation, or 1 if the EXIF block is malformed: such pictures are still readable."""
    if image.format == "PNG":
        image.load()  # the EXIF block may follow the pixels
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:
        return 1


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode == "F":
        raise ValueError("floating-point pixels have no defined range; save the picture with 8 or 16 bits")
    if image.mode in ("I", "I;16", "I;16B", "I;16L", "I;16N"):
        pixels = np.asarray(image, np.int64)
        if pixels.min() < 0 or pixels.max() > 65535:
            raise ValueError("grey values lie beyond 16 bits; save the picture with 8 or 16 bits")
        if "transparency" in image.info:
            pixels = np.where(pixels == image.info["transparency"], 65535, pixels)
        return Image.fromarray(((pixels + 128) // 257).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    return image.convert("RGB")


@dataclasses.dataclass(frozen=True)
class Resize:
    """A `Resize` sets a new size of each picture and resamples pictures with Pillow's bilinear filter, to uint8.

    Attributes:
        kind: ``none``, ``min``, ``max``, ``squash`` or ``multiple``. Under ``min`` the shorter side becomes ``width``
            and the aspect ratio is kept; under ``max`` the longer side becomes ``width``. Under ``squash`` the size
            becomes ``width x height``, with the longer of both along the picture's longer side. Under ``multiple`` each
            side is rounded down to a multiple of ``width``, but not below ``width``.
        width: a length in pixels, see ``kind``.
        height: a length in pixels, for ``squash`` only.
        scale: a factor of both sides after these rules, 0.01 to 100; the picture is still resampled only once.
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
        """Reads a resize from text: ``none``, ``min720``, ``max1024``, ``squash1024x720`` or ``multiple16``.

        The text may end in ``@`` and a scale: ``none@0.7`` multiplies both sides by 0.7. Other texts raise ValueError.
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
        """Returns this resize with both sides multiplied by a further factor."""
        return dataclasses.replace(self, scale=self.scale * scale)

    def target(self, height: int, width: int) -> tuple[int, int]:
        """Returns the height and width after resizing, at least 1 each."""
        rows, columns = self._unscaled_target(height, width)
        return max(1, round(rows * self.scale)), max(1, round(columns * self.scale))

    def _unscaled_target(self, height: int, width: int) -> tuple[int, int]:
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
        """Resizes [height, width, 3] uint8; raises ValueError if the result exceeds `MAX_RESIZED_PIXELS`."""
        target = self._checked_target(*image.shape[:2])
        return image if target == image.shape[:2] else np.asarray(_resample(Image.fromarray(image), target))

    def resize_pillow_image(self, image: Image.Image) -> Image.Image:
        """Resizes an image of Pillow; raises ValueError if the result exceeds `MAX_RESIZED_PIXELS`."""
        target = self._checked_target(image.height, image.width)
        return image if target == (image.height, image.width) else _resample(image, target)

    def _checked_target(self, height: int, width: int) -> tuple[int, int]:
        rows, columns = self.target(height, width)
        if rows * columns > MAX_RESIZED_PIXELS:
            raise ValueError(
                f"{width} x {height} pixels under resize {self} make {columns} x {rows}, more than the "
                f"{MAX_RESIZED_PIXELS} pixels a network is given; crop the picture or choose a smaller resize"
            )
        return rows, columns


def _resample(image: Image.Image, target: tuple[int, int]) -> Image.Image:
    return image.resize(target[::-1], Image.Resampling.BILINEAR)


Box = tuple[float, float, float, float]
"""x1, y1, x2, y2 in pixels of the upright picture, the upper left corner first."""


def load_image(path: str | Picture, resize: Resize, crop: Box | None = None) -> tuple[np.ndarray, tuple[int, int]]:
    """Decodes a picture, crops it and resizes it.

    The crop's sides are rounded down to whole pixels and clipped to the picture; at least one pixel is left.

    Returns:
        The resized picture or crop, and its (height, width) before the resize.

    Raises:
        ImageError: as in `read_image`; or the resized picture has more than `MAX_RESIZED_PIXELS`.
    """
    image = _decode(path)
    if crop is not None:
        image = image.crop(_whole_pixels(image, crop))
    try:
        return np.asarray(resize.resize_pillow_image(image)), (image.height, image.width)
    except ValueError as error:
        raise ImageError(f"{path}: {error}") from error


def _whole_pixels(image: Image.Image, crop: Box) -> tuple[int, int, int, int]:
    (left, right), (top, bottom) = (
        (min(max(0, int(low)), length - 1), min(int(high), length))
        for low, high, length in ((crop[0], crop[2], image.width), (crop[1], crop[3], image.height))
    )
    return left, top, max(right, left + 1), max(bottom, top + 1)
