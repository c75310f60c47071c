"""This module draws seamless texture tiles of masonry, roofs and ground, as factors of brightness."""

import functools

import numpy as np
from PIL import Image

from experiments.synthetic.mesh import Real

NAMES = ("brick", "ashlar", "rubble", "stucco", "tiles", "slate", "grass", "paving", "asphalt", "water", "planks")
TILE_METRES = (1.2, 2.8, 3.2, 4.0, 1.6, 2.4, 4.0, 2.0, 4.0, 6.0, 1.2)
"""Side of a tile of each texture in `NAMES`."""

TILE_TEXELS = 128
"""Side of a tile at level 0."""

BRICK, ASHLAR, RUBBLE, STUCCO, TILES, SLATE, GRASS, PAVING, ASPHALT, WATER, PLANKS = range(11)


@functools.cache
def tile(texture: int, level: int) -> np.ndarray:
    """Returns a seamless tile, uint8, ``TILE_TEXELS >> level`` texels a side; 128 leaves the colour unchanged."""
    rng = np.random.default_rng([7, texture])
    name = NAMES[texture]
    if name in _COURSES:
        values = _draw_courses(rng, *_COURSES[name])
    elif name == "rubble":
        values = _draw_rubble(rng)
    else:
        values = {"stucco": 0.05, "grass": 0.2, "asphalt": 0.06, "water": 0.0}[name] * rng.standard_normal((128, 128))
        noise = {"water": (0.35, 2, 24), "grass": (0.16, 8, 8)}.get(name, (0.06, 12, 12))
        values = 1 + values + noise[0] * _smooth_noise(rng, noise[2], noise[1])
    values = np.clip(values + 0.03 * rng.standard_normal((TILE_TEXELS, TILE_TEXELS)), 0.3, 1.7)
    step = 2**level
    texels = values.reshape(TILE_TEXELS // step, step, TILE_TEXELS // step, step).mean((1, 3))
    return np.asarray(texels * 128, np.uint8)


_COURSES = {
    "brick": (16, 5, 0.16, 0.75, 1),
    "ashlar": (6, 3, 0.1, 0.72, 1),
    "tiles": (10, 10, 0.14, 0.5, 2),
    "slate": (12, 8, 0.12, 0.6, 1),
    "paving": (4, 4, 0.1, 0.7, 1),
    "planks": (1, 6, 0.14, 0.5, 2),
}
"""Rows, stones in a row, spread of the stones' brightness, brightness of a joint, width of a joint in texels."""


def _draw_courses(
    rng: np.random.Generator, rows: int, stones: int, spread: Real, joint: Real, width: int
) -> np.ndarray:
    """Draws rows of stones, every other row shifted by half a stone."""
    y, x = np.mgrid[0:TILE_TEXELS, 0:TILE_TEXELS] / TILE_TEXELS
    row_index = (y * rows).astype(int)
    x_in_stones = x * stones + 0.5 * (row_index % 2)
    stone_index = x_in_stones.astype(int) % stones
    values = 1 + spread * rng.standard_normal((rows, stones))[row_index, stone_index]
    inside_v, inside_u = (y * rows) % 1 * TILE_TEXELS / rows, x_in_stones % 1 * TILE_TEXELS / stones
    values[(inside_v < width) | (inside_u < width)] *= joint
    values[(inside_v >= width) & (inside_v < width + 1)] *= 1.1
    return values


def _draw_rubble(rng: np.random.Generator) -> np.ndarray:
    """Draws Voronoi cells around jittered points of a wrapped grid."""
    grid = 8
    centres = (np.stack(np.meshgrid(np.arange(grid), np.arange(grid), indexing="ij"), -1) + 0.5).reshape(-1, 2)
    centres += rng.uniform(-0.42, 0.42, centres.shape)
    pixels = (np.mgrid[0:TILE_TEXELS, 0:TILE_TEXELS].reshape(2, -1).T + 0.5) * grid / TILE_TEXELS
    offsets = np.abs(pixels[:, None] - centres)
    distance = (np.minimum(offsets, grid - offsets) ** 2).sum(-1)
    nearest = np.sort(distance, 1)[:, :2]
    values = (1 + 0.18 * rng.standard_normal(len(centres)))[distance.argmin(1)]
    values[np.sqrt(nearest[:, 1]) - np.sqrt(nearest[:, 0]) < 0.12] *= 0.62
    return values.reshape(TILE_TEXELS, TILE_TEXELS)


def _smooth_noise(rng: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    """Draws seamless smooth noise with a standard deviation of about 1."""
    coarse = np.pad(rng.standard_normal((rows, columns)), 4, mode="wrap").astype(np.float32)
    size = (TILE_TEXELS * (columns + 8) // columns, TILE_TEXELS * (rows + 8) // rows)
    fine = np.asarray(Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC))
    top, left = (size[1] - TILE_TEXELS) // 2, (size[0] - TILE_TEXELS) // 2
    return fine[top : top + TILE_TEXELS, left : left + TILE_TEXELS].astype(float)


def repeat_tile(texture: int, level: int, width: Real, height: Real) -> Image.Image:
    """Repeats a tile over ``width`` x ``height`` metres."""
    texels = tile(texture, level)
    per_metre = len(texels) / TILE_METRES[texture]
    columns, rows = max(1, int(np.ceil(width * per_metre))), max(1, int(np.ceil(height * per_metre)))
    repeats = (-(-rows // len(texels)), -(-columns // len(texels)))
    return Image.fromarray(np.tile(texels, repeats)[:rows, :columns])
