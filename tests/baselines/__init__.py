"""A network of two convolutions, its maps once more in float64, and R-MAC's regions from whole numbers."""

import functools

import numpy as np

from cwcf_jax.encoder import Extractor
from tests.support import oracles
from tests.training import tiny

LAYER = "conv2_1"
DIM = 6
MEAN, DEVIATION = np.array([123.675, 116.28, 103.53]), np.array([58.395, 57.12, 57.375])


@functools.cache
def extractor():
    network = tiny.network()
    return Extractor(network.initialize(1), network, LAYER)


def maps(image):
    """[h, w, 3] uint8 to the layer's maps: convolution, pool, convolution."""
    params = extractor().params
    inputs = (image.astype(np.float64) - MEAN) / DEVIATION
    first = oracles.conv_relu(inputs, params["conv1_1"]["kernel"], params["conv1_1"]["bias"])
    pooled = oracles.max_pool(first, window=2, stride=2)
    return oracles.conv_relu(pooled, params["conv2_1"]["kernel"], params["conv2_1"]["bias"])


def image(seed, height, width):
    """Random pixels, coarse enough to survive a resize."""
    coarse = np.random.default_rng(seed).integers(0, 256, (-(-height // 4), -(-width // 4), 3), np.uint8)
    return coarse.repeat(4, axis=0).repeat(4, axis=1)[:height, :width]


def regions(height, width):
    """``x1 y1 x2 y2`` of facts.md, section 5."""
    short, long = min(height, width), max(height, width)
    misses = [abs((short**2 - short * (long - short) / (steps - 1)) / short**2 - 0.4) for steps in range(2, 8)]
    extra = 1 + misses.index(min(misses)) if height != width else 0
    found = []
    for level in (1, 2, 3):
        side = 2 * short // (level + 1)
        down, across = level + extra * (height > width), level + extra * (width > height)
        for i in range(down if side else 0):
            for j in range(across):
                top = i * (height - side) // (down - 1) if down > 1 else 0
                left = j * (width - side) // (across - 1) if across > 1 else 0
                found.append((left, top, left + side, top + side))
    return found


def region_maxima(features):
    """[r, k], the largest value of each channel in each region."""
    return np.stack([features[y1:y2, x1:x2].max(axis=(0, 1)) for x1, y1, x2, y2 in regions(*features.shape[:2])])
