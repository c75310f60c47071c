"""This module draws the colours and textures of buildings and props."""

import dataclasses

import numpy as np

from experiments.synthetic import textures
from experiments.synthetic.mesh import Colour, Real

WALLS: tuple[tuple[int, Colour], ...] = (
    (textures.BRICK, (0.62, 0.33, 0.24)),
    (textures.BRICK, (0.72, 0.55, 0.4)),
    (textures.ASHLAR, (0.8, 0.72, 0.56)),
    (textures.ASHLAR, (0.68, 0.66, 0.62)),
    (textures.ASHLAR, (0.76, 0.6, 0.48)),
    (textures.RUBBLE, (0.62, 0.57, 0.48)),
    (textures.RUBBLE, (0.5, 0.5, 0.5)),
    (textures.STUCCO, (0.88, 0.82, 0.62)),
    (textures.STUCCO, (0.86, 0.66, 0.56)),
    (textures.STUCCO, (0.88, 0.86, 0.82)),
    (textures.STUCCO, (0.62, 0.72, 0.76)),
    (textures.STUCCO, (0.74, 0.8, 0.66)),
)
"""Textures and colours of walls."""

ROOFS: tuple[tuple[int, Colour], ...] = (
    (textures.TILES, (0.62, 0.3, 0.2)),
    (textures.TILES, (0.5, 0.3, 0.24)),
    (textures.SLATE, (0.34, 0.36, 0.42)),
    (textures.SLATE, (0.42, 0.4, 0.38)),
    (textures.STUCCO, (0.38, 0.58, 0.5)),
)
"""Textures and colours of roofs."""

VIVID: tuple[Colour, ...] = (
    (0.75, 0.13, 0.13),
    (0.13, 0.3, 0.65),
    (0.1, 0.45, 0.25),
    (0.9, 0.7, 0.12),
    (0.92, 0.9, 0.86),
    (0.12, 0.13, 0.15),
    (0.85, 0.42, 0.1),
    (0.45, 0.2, 0.5),
    (0.55, 0.57, 0.6),
)
"""Colours of paint, cloth and signs."""


@dataclasses.dataclass(frozen=True)
class Palette:
    """A `Palette` holds the materials of one object: albedo, 0 to 1, and the textures of its wall and roof."""

    wall: Colour
    trim: Colour
    roof: Colour
    glass: Colour
    door: Colour
    metal: Colour
    accent: Colour
    second: Colour
    wall_texture: int
    roof_texture: int


def vary(rng: np.random.Generator, colour: Colour, spread: Real = 0.06) -> Colour:
    """Returns the colour with its brightness and its hue changed a little at random."""
    factor = 1 + spread * rng.standard_normal() + spread / 2 * rng.standard_normal(3)
    red, green, blue = np.clip(np.array(colour) * factor, 0.02, 0.98).tolist()
    return red, green, blue


def draw_palette(rng: np.random.Generator) -> Palette:
    """Draws materials at random."""
    wall_texture, wall = WALLS[rng.integers(len(WALLS))]
    roof_texture, roof = ROOFS[rng.integers(len(ROOFS))]
    accent, second = rng.choice(len(VIVID), 2, replace=False)
    trims: tuple[Colour, ...] = ((0.86, 0.83, 0.76), (0.72, 0.66, 0.56), (0.6, 0.58, 0.55), (0.9, 0.9, 0.88))
    trims = (*trims, (wall[0] * 0.8, wall[1] * 0.8, wall[2] * 0.8))
    metals: tuple[Colour, ...] = ((0.16, 0.17, 0.18), (0.2, 0.28, 0.25), (0.4, 0.4, 0.42), (0.25, 0.2, 0.16))
    doors: tuple[Colour, ...] = ((0.34, 0.2, 0.12), (0.12, 0.26, 0.2), (0.45, 0.1, 0.1), (0.16, 0.2, 0.36))
    return Palette(
        wall=vary(rng, wall),
        trim=vary(rng, trims[rng.integers(len(trims))], 0.03),
        roof=vary(rng, roof),
        glass=vary(rng, (0.16, 0.2, 0.25), 0.12),
        door=vary(rng, doors[rng.integers(len(doors))]),
        metal=vary(rng, metals[rng.integers(len(metals))]),
        accent=vary(rng, VIVID[accent]),
        second=vary(rng, VIVID[second]),
        wall_texture=wall_texture,
        roof_texture=roof_texture,
    )


def mix(first: Colour, second: Colour, share: Real) -> Colour:
    """Returns the first colour mixed with a share of the second colour."""
    red, green, blue = ((1 - share) * a + share * b for a, b in zip(first, second, strict=True))
    return red, green, blue


def darken(colour: Colour, factor: Real = 0.6) -> Colour:
    """Returns the colour, darker for a factor below 1 and lighter above 1."""
    red, green, blue = (min(1.0, factor * value) for value in colour)
    return red, green, blue
