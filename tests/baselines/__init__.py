"""Helpers of the baselines' tests: a network of two convolutions, its maps in float64, and R-MAC's regions."""

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
    """Computes the layer's maps of an image [h, w, 3] uint8 in float64: convolution, pool, convolution."""
    params = extractor().params
    inputs = (image.astype(np.float64) - MEAN) / DEVIATION
    first = oracles.conv_relu(inputs, params["conv1_1"]["kernel"], params["conv1_1"]["bias"])
    pooled = oracles.max_pool(first, window=2, stride=2)
    return oracles.conv_relu(pooled, params["conv2_1"]["kernel"], params["conv2_1"]["bias"])


def image(seed, height, width):
    """Returns an image of random squares of 4 x 4 pixels, which stay visible after a resize."""
    coarse = np.random.default_rng(seed).integers(0, 256, (-(-height // 4), -(-width // 4), 3), np.uint8)
    return coarse.repeat(4, axis=0).repeat(4, axis=1)[:height, :width]


def regions(height, width):
    """Returns R-MAC's regions ``x1 y1 x2 y2`` in cells, computed with integers."""
    short, long = min(height, width), max(height, width)
    errors = [abs((short**2 - short * (long - short) / (count - 1)) / short**2 - 0.4) for count in range(2, 8)]
    extra = 1 + errors.index(min(errors)) if height != width else 0
    boxes = []
    for level in (1, 2, 3):
        side = 2 * short // (level + 1)
        rows, columns = level + extra * (height > width), level + extra * (width > height)
        for i in range(rows if side else 0):
            for j in range(columns):
                top = i * (height - side) // (rows - 1) if rows > 1 else 0
                left = j * (width - side) // (columns - 1) if columns > 1 else 0
                boxes.append((left, top, left + side, top + side))
    return boxes


def region_maxima(features):
    """Computes the maximum of each channel in each region, [r, k]."""
    return np.stack([features[y1:y2, x1:x2].max(axis=(0, 1)) for x1, y1, x2, y2 in regions(*features.shape[:2])])
