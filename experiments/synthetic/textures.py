"""Tiles of masonry, tiling and ground, as factors of brightness."""

import functools

import numpy as np
from PIL import Image

from experiments.synthetic.mesh import Real

NAMES = ("brick", "ashlar", "rubble", "stucco", "tiles", "slate", "grass", "paving", "asphalt", "water", "planks")
METRES = (1.2, 2.8, 3.2, 4.0, 1.6, 2.4, 4.0, 2.0, 4.0, 6.0, 1.2)
"""What one tile covers."""
TEXELS = 128
BRICK, ASHLAR, RUBBLE, STUCCO, TILES, SLATE, GRASS, PAVING, ASPHALT, WATER, PLANKS = range(11)


@functools.cache
def tile(texture: int, level: int) -> np.ndarray:
    """A seamless square of ``TEXELS >> level`` texels, uint8, 128 where the wall keeps its colour."""
    rng = np.random.default_rng([7, texture])
    name = NAMES[texture]
    if name in _COURSES:
        values = _courses(rng, *_COURSES[name])
    elif name == "rubble":
        values = _rubble(rng)
    else:
        values = {"stucco": 0.05, "grass": 0.2, "asphalt": 0.06, "water": 0.0}[name] * rng.standard_normal((128, 128))
        stretch = {"water": (0.35, 2, 24), "grass": (0.16, 8, 8)}.get(name, (0.06, 12, 12))
        values = 1 + values + stretch[0] * _cloud(rng, stretch[2], stretch[1])
    values = np.clip(values + 0.03 * rng.standard_normal((TEXELS, TEXELS)), 0.3, 1.7)
    step = 2**level
    small = values.reshape(TEXELS // step, step, TEXELS // step, step).mean((1, 3))
    return np.asarray(small * 128, np.uint8)


_COURSES = {
    "brick": (16, 5, 0.16, 0.75, 1),
    "ashlar": (6, 3, 0.1, 0.72, 1),
    "tiles": (10, 10, 0.14, 0.5, 2),
    "slate": (12, 8, 0.12, 0.6, 1),
    "paving": (4, 4, 0.1, 0.7, 1),
    "planks": (1, 6, 0.14, 0.5, 2),
}
"""Rows, stones a row, spread of their brightness, brightness of the joint and its width."""


def _courses(rng: np.random.Generator, rows: int, stones: int, spread: Real, joint: Real, width: int) -> np.ndarray:
    y, x = np.mgrid[0:TEXELS, 0:TEXELS] / TEXELS
    row = (y * rows).astype(int)
    along = x * stones + 0.5 * (row % 2)
    stone = along.astype(int) % stones
    values = 1 + spread * rng.standard_normal((rows, stones))[row, stone]
    inside_v, inside_u = (y * rows) % 1 * TEXELS / rows, along % 1 * TEXELS / stones
    values[(inside_v < width) | (inside_u < width)] *= joint
    values[(inside_v >= width) & (inside_v < width + 1)] *= 1.1
    return values


def _rubble(rng: np.random.Generator) -> np.ndarray:
    """Cells around jittered points on a wrapped grid."""
    grid = 8
    centres = (np.stack(np.meshgrid(np.arange(grid), np.arange(grid), indexing="ij"), -1) + 0.5).reshape(-1, 2)
    centres += rng.uniform(-0.42, 0.42, centres.shape)
    pixels = (np.mgrid[0:TEXELS, 0:TEXELS].reshape(2, -1).T + 0.5) * grid / TEXELS
    apart = np.abs(pixels[:, None] - centres)
    distance = (np.minimum(apart, grid - apart) ** 2).sum(-1)
    nearest = np.sort(distance, 1)[:, :2]
    values = (1 + 0.18 * rng.standard_normal(len(centres)))[distance.argmin(1)]
    values[np.sqrt(nearest[:, 1]) - np.sqrt(nearest[:, 0]) < 0.12] *= 0.62
    return values.reshape(TEXELS, TEXELS)


def _cloud(rng: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    """Smooth noise of about unit spread, seamless."""
    coarse = np.pad(rng.standard_normal((rows, columns)), 4, mode="wrap").astype(np.float32)
    size = (TEXELS * (columns + 8) // columns, TEXELS * (rows + 8) // rows)
    fine = np.asarray(Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC))
    top, left = (size[1] - TEXELS) // 2, (size[0] - TEXELS) // 2
    return fine[top : top + TEXELS, left : left + TEXELS].astype(float)


def cloth(texture: int, level: int, width: Real, height: Real) -> Image.Image:
    """The tile repeated over ``width`` x ``height`` metres."""
    small = tile(texture, level)
    per_metre = len(small) / METRES[texture]
    columns, rows = max(1, int(np.ceil(width * per_metre))), max(1, int(np.ceil(height * per_metre)))
    repeats = (-(-rows // len(small)), -(-columns // len(small)))
    return Image.fromarray(np.tile(small, repeats)[:rows, :columns])
