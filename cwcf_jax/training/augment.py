"""This module crops, resizes and recolours pictures for the network, with NumPy and Pillow on the host."""

import dataclasses

import numpy as np
from PIL import Image

EVAL_CROP_SHARE = 0.875
"""The side of the evaluated central square, as a share of the shorter side: the usual 224 of 256 pixels."""

LUMA_WEIGHTS = np.array([0.299, 0.587, 0.114], np.float32)
"""The weights of red, green and blue in a grey value (ITU-R BT.601)."""


@dataclasses.dataclass(frozen=True)
class AugmentationConfig:
    """An `AugmentationConfig` says how training pictures are varied at random.

    Attributes:
        size: side of the square result in pixels.
        scale: smallest and largest area of a random crop, as shares of the area of the picture.
        aspect: largest ratio of the sides of a crop before resizing: its width over its height lies between
            ``1 / aspect`` and ``aspect``.
        flip: whether half of the pictures are mirrored left to right.
        jitter: strength of the colour changes: brightness, contrast and saturation are each multiplied by a random
            number between ``1 - jitter`` and ``1 + jitter``.
    """

    size: int
    scale: tuple[float, float] = (0.35, 1.0)
    aspect: float = 4.0 / 3.0
    flip: bool = True
    jitter: float = 0.3


def augment(image: np.ndarray, rng: np.random.Generator, config: AugmentationConfig) -> np.ndarray:
    """Returns a random crop of ``image`` [height, width, 3] uint8, resized to [size, size, 3], flipped and recoloured.

    Crops are drawn as in Szegedy et al. 2015, with uniform area and log-uniform aspect ratio. A side that is longer
    than the picture is shortened to it.
    """
    height, width = image.shape[:2]
    area = rng.uniform(*config.scale) * height * width
    ratio = np.exp(rng.uniform(-1.0, 1.0) * np.log(config.aspect))
    crop_width, crop_height = min(np.sqrt(area * ratio), width), min(np.sqrt(area / ratio), height)
    left, top = rng.uniform(0.0, width - crop_width), rng.uniform(0.0, height - crop_height)
    result = _crop_and_resize(image, (left, top, left + crop_width, top + crop_height), config.size)
    if rng.uniform() < 0.5 and config.flip:
        result = result[:, ::-1]
    return _jitter_colours(result, rng.uniform(-1.0, 1.0, 3), config.jitter)


def center_crop(image: np.ndarray, size: int) -> np.ndarray:
    """Returns the central square, with `EVAL_CROP_SHARE` of the shorter side, as [size, size, 3] uint8."""
    height, width = image.shape[:2]
    side = EVAL_CROP_SHARE * min(height, width)
    left, top = (width - side) / 2, (height - side) / 2
    return _crop_and_resize(image, (left, top, left + side, top + side), size)


def _crop_and_resize(image: np.ndarray, box: tuple[float, float, float, float], size: int) -> np.ndarray:
    """Returns the box as [size, size, 3] uint8, by Pillow's bilinear filter, which avoids aliasing when it shrinks."""
    return np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR, box=box))


def _jitter_colours(image: np.ndarray, changes: np.ndarray, strength: float) -> np.ndarray:
    """Returns the image with other brightness, contrast and saturation; ``changes`` [3] lie between -1 and 1."""
    if strength == 0.0:
        return np.ascontiguousarray(image)
    brightness, contrast, saturation = (1.0 + strength * changes).astype(np.float32)
    pixels = image.astype(np.float32) * brightness
    mean = (pixels.mean(axis=(0, 1)) @ LUMA_WEIGHTS).astype(np.float32)
    pixels = (pixels - mean) * contrast + mean
    grey = (pixels @ LUMA_WEIGHTS)[..., None]
    pixels = (pixels - grey) * saturation + grey
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
