"""This module draws people; each is about one unit high and stands on the origin of its plane."""

import math

import numpy as np

from experiments.synthetic.mesh import Colour, Plane, Real, ellipse
from experiments.synthetic.palette import Palette, darken, mix, vary

SKIN: tuple[Colour, ...] = ((0.87, 0.69, 0.57), (0.72, 0.52, 0.38), (0.45, 0.31, 0.22), (0.93, 0.77, 0.66))


def standing_person(plane: Plane, rng: np.random.Generator, palette: Palette) -> None:
    """Draws a person who stands or walks."""
    _draw_person(plane, rng, 0.0, palette.accent, palette.second, 1.0)


def _draw_person(plane: Plane, rng: np.random.Generator, u: Real, top: Colour, legs: Colour, height: Real) -> None:
    """Draws a person at ``u``; ``top`` and ``legs`` are the colours of the clothes."""
    stride, skin, skirt = rng.uniform(0.02, 0.09), SKIN[rng.integers(4)], rng.random() < 0.3
    hair = vary(rng, ((0.1, 0.07, 0.05), (0.4, 0.27, 0.13), (0.7, 0.6, 0.4), (0.5, 0.5, 0.5))[rng.integers(4)])
    local = plane.at(u, 0, height)
    for side in (-1, 1):
        local.line((side * 0.03, 0.5), (side * stride, 0.03), 0.068, darken(legs, 1 if side > 0 else 0.8), 0.005)
        local.polygon(ellipse(side * stride + 0.015, 0.02, 0.045, 0.022), (0.08, 0.07, 0.07), 0.006, solid=True)
    if skirt:
        local.polygon(
            [(-0.12, 0.28), (0.12, 0.28), (0.07, 0.56), (-0.07, 0.56)], top, 0.01, normal=(0, 0, 0), solid=True
        )
    local.polygon(
        [(-0.08, 0.46), (0.08, 0.46), (0.105, 0.8), (0.04, 0.85), (-0.04, 0.85), (-0.105, 0.8)], top, 0.012, solid=True
    )
    swing = rng.uniform(0.0, 0.08)
    for side in (-1, 1):
        local.line((side * 0.1, 0.79), (side * (0.12 + swing), 0.6), 0.045, darken(top, 0.85), 0.014)
        local.line(
            (side * (0.12 + swing), 0.6), (side * 0.12, 0.46), 0.04, (skin if skirt else darken(top, 0.85)), 0.014
        )
    local.polygon(ellipse(0, 0.92, 0.052, 0.068), skin, 0.016, solid=True)
    local.polygon(ellipse(0, 0.945, 0.058, 0.055, 0 if rng.random() < 0.6 else -1.0, math.pi), hair, 0.018, solid=True)


def umbrella_person(plane: Plane, rng: np.random.Generator, palette: Palette) -> None:
    """Draws a person under an open umbrella."""
    facing, lean = int(rng.choice([-1, 1])), rng.uniform(-0.06, 0.06)
    _draw_person(plane, rng, 0.0, palette.second, mix(palette.metal, (0.2, 0.2, 0.3), 0.5), 0.8)
    plane.line((facing * 0.1, 0.42), (facing * 0.06 + lean, 0.95), 0.014, (0.2, 0.2, 0.2), 0.02)
    u = facing * 0.06 + lean
    canopy = ellipse(u, 0.74, 0.32, 0.26, 0, math.pi)
    plane.polygon(canopy, palette.accent, 0.03, solid=True)
    for k in range(1, 4):
        x = u - 0.32 + 0.16 * k
        plane.line((x, 0.74), (u, 0.99), 0.008, darken(palette.accent, 0.6), 0.032)
        plane.disc(x - 0.08, 0.735, 0.06, darken(palette.accent, 0.6), 0.02)


def cyclist(plane: Plane, rng: np.random.Generator, palette: Palette) -> None:
    """Draws a rider on a bicycle."""
    facing, skin = int(rng.choice([-1, 1])), SKIN[rng.integers(4)]
    for u in (-0.3, 0.3):
        plane.ring(ellipse(u, 0.2, 0.2, 0.2), ellipse(u, 0.2, 0.175, 0.175), (0.08, 0.08, 0.08), 0.0)
        for k in range(3):
            a = k * math.pi / 3
            plane.line(
                (u - 0.18 * math.cos(a), 0.2 - 0.18 * math.sin(a)),
                (u + 0.18 * math.cos(a), 0.2 + 0.18 * math.sin(a)),
                0.006,
                (0.5, 0.5, 0.5),
            )
    frame = (
        ((-0.3, 0.2), (-0.12, 0.48)),
        ((-0.3, 0.2), (0.0, 0.2)),
        ((0.0, 0.2), (-0.12, 0.48)),
        ((0.0, 0.2), (0.22, 0.46)),
        ((-0.12, 0.46), (0.22, 0.46)),
        ((0.3, 0.2), (0.2, 0.56)),
    )
    for start, end in frame:
        plane.line((facing * start[0], start[1]), (facing * end[0], end[1]), 0.022, palette.second, 0.01)
    plane.line((facing * -0.12, 0.52), (facing * 0.06, 0.36), 0.07, darken(palette.metal, 0.8), 0.02)
    plane.line((facing * 0.06, 0.36), (facing * 0.0, 0.15), 0.055, darken(palette.metal, 0.8), 0.02)
    plane.line((facing * -0.12, 0.52), (facing * 0.05, 0.8), 0.13, palette.accent, 0.022)
    plane.line((facing * 0.05, 0.78), (facing * 0.22, 0.58), 0.045, darken(palette.accent, 0.85), 0.024)
    plane.polygon(ellipse(facing * 0.1, 0.91, 0.06, 0.075), skin, 0.024, solid=True)
    plane.polygon(ellipse(facing * 0.09, 0.94, 0.07, 0.06, 0, math.pi), palette.second, 0.026, solid=True)


def people_group(plane: Plane, rng: np.random.Generator, palette: Palette) -> None:
    """Draws three to five people close together."""
    count = int(rng.integers(3, 6))
    for k in range(count):
        colours = [
            vary(rng, (palette.accent, palette.second, palette.wall, palette.door, palette.roof)[int(i)], 0.15)
            for i in rng.integers(5, size=2)
        ]
        _draw_person(
            plane.at(0, 0, d=-0.1 * rng.random()),
            rng,
            0.24 * (k - (count - 1) / 2) + rng.uniform(-0.05, 0.05),
            colours[0],
            colours[1],
            rng.uniform(0.78, 1.0),
        )
