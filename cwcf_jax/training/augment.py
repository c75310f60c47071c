"""What a picture goes through before the network sees it: NumPy and Pillow, on the host."""

import dataclasses

import numpy as np
from PIL import Image

EVAL_SHARE = 0.875
"""Side of the central square that is evaluated, as a share of the shorter side: 224 of 256, as is usual."""

LUMA = np.array([0.299, 0.587, 0.114], np.float32)
"""Weights of R, G, B in grey; ITU-R BT.601."""


@dataclasses.dataclass(frozen=True)
class AugmentationConfig:
    """How training pictures vary.

    Attributes:
        size: side of the result in pixels.
        scale: smallest and largest area of the crop, as shares of the picture's.
        aspect: crops are between ``1 / aspect`` and ``aspect`` as wide as high.
        flip: whether half of the pictures are mirrored left to right.
        jitter: brightness, contrast and saturation are each multiplied by a number between ``1 - jitter`` and
            ``1 + jitter``.
    """

    size: int
    scale: tuple[float, float] = (0.35, 1.0)
    aspect: float = 4.0 / 3.0
    flip: bool = True
    jitter: float = 0.3


def augment(image: np.ndarray, rng: np.random.Generator, settings: AugmentationConfig) -> np.ndarray:
    """A random crop of ``image`` [height, width, 3] uint8, resized to [size, size, 3] uint8, flipped and recoloured.

    The crop is Szegedy et al. 2015's: area uniform, aspect log-uniform; a side longer than the picture is cut to it.
    """
    height, width = image.shape[:2]
    area = rng.uniform(*settings.scale) * height * width
    ratio = np.exp(rng.uniform(-1.0, 1.0) * np.log(settings.aspect))
    crop_width, crop_height = min(np.sqrt(area * ratio), width), min(np.sqrt(area / ratio), height)
    left, top = rng.uniform(0.0, width - crop_width), rng.uniform(0.0, height - crop_height)
    result = _resized(image, (left, top, left + crop_width, top + crop_height), settings.size)
    if rng.uniform() < 0.5 and settings.flip:
        result = result[:, ::-1]
    return _recoloured(result, rng.uniform(-1.0, 1.0, 3), settings.jitter)


def center_crop(image: np.ndarray, size: int) -> np.ndarray:
    """The central square of `EVAL_SHARE` of the shorter side, as [size, size, 3] uint8."""
    height, width = image.shape[:2]
    side = EVAL_SHARE * min(height, width)
    left, top = (width - side) / 2, (height - side) / 2
    return _resized(image, (left, top, left + side, top + side), size)


def _resized(image: np.ndarray, box: tuple[float, float, float, float], size: int) -> np.ndarray:
    """Pillow's bilinear filter, wider where it shrinks: no aliasing."""
    return np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR, box=box))


def _recoloured(image: np.ndarray, drawn: np.ndarray, strength: float) -> np.ndarray:
    if strength == 0.0:
        return np.ascontiguousarray(image)
    brightness, contrast, saturation = (1.0 + strength * drawn).astype(np.float32)
    pixels = image.astype(np.float32) * brightness
    mean = (pixels.mean(axis=(0, 1)) @ LUMA).astype(np.float32)
    pixels = (pixels - mean) * contrast + mean
    grey = (pixels @ LUMA)[..., None]
    pixels = (pixels - grey) * saturation + grey
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
