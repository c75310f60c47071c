"""This module draws monuments and fountains; each is about one unit high and stands on the origin of its plane."""

import math

import numpy as np

from experiments.synthetic.mesh import Plane, Real, ellipse
from experiments.synthetic.palette import Palette, darken, mix

WATER = (0.72, 0.82, 0.88)


def _draw_plinth(plane: Plane, palette: Palette, half: Real, height: Real) -> None:
    """Draws a square plinth with a plate on its front."""
    plane.box(-half * 1.35, 0, half * 1.35, height * 0.2, palette.wall, half * 1.35, -half * 1.35, shadow=False)
    plane.box(-half, height * 0.2, half, height * 0.88, palette.wall, half, -half, shadow=False)
    plane.rect(-half * 0.6, height * 0.4, half * 0.6, height * 0.68, darken(palette.wall, 0.7), half + 0.003)
    plane.box(-half * 1.15, height * 0.88, half * 1.15, height, palette.trim, half * 1.15, -half * 1.15, shadow=False)


def obelisk(plane: Plane, rng: np.random.Generator, palette: Palette) -> None:
    """Draws a tapering stone needle with a pyramidal tip on steps."""
    half = rng.uniform(0.055, 0.09)
    for k in range(3):
        wide = half * (3.2 - 0.6 * k)
        plane.box(-wide, 0.04 * k, wide, 0.04 * (k + 1), palette.trim, wide, -wide, shadow=False)
    for side, normal in ((-1, (-1.0, 0.05, 0.0)), (1, (1.0, 0.05, 0.0))):
        plane.surface(
            [
                (side * half, 0.12, -half),
                (side * half, 0.12, half),
                (side * half * 0.66, 0.88, half * 0.66),
                (side * half * 0.66, 0.88, -half * 0.66),
            ],
            palette.wall,
            normal,
        )
    plane.surface(
        [(-half, 0.12, half), (half, 0.12, half), (half * 0.66, 0.88, half * 0.66), (-half * 0.66, 0.88, half * 0.66)],
        palette.wall,
        (0, 0.05, 1.0),
    )
    plane.surface(
        [(-half * 0.66, 0.88, half * 0.66), (half * 0.66, 0.88, half * 0.66), (0, 1, 0)],
        darken(palette.wall, 1.15),
        (0, 0.5, 0.86),
    )
    for side in (-1, 1):
        plane.surface(
            [(side * half * 0.66, 0.88, half * 0.66), (side * half * 0.66, 0.88, -half * 0.66), (0, 1, 0)],
            palette.wall,
            (side * 0.86, 0.5, 0),
        )


def statue(plane: Plane, rng: np.random.Generator, palette: Palette) -> None:
    """Draws a standing figure of bronze or stone on a plinth, maybe with one arm raised."""
    base, bronze = (
        rng.uniform(0.36, 0.48),
        (mix(palette.metal, (0.25, 0.42, 0.36), 0.6), mix(palette.trim, palette.wall, 0.3))[int(rng.integers(2))],
    )
    _draw_plinth(plane, palette, rng.uniform(0.12, 0.16), base)
    local = plane.at(0, base, (1 - base) / 1.0)
    facing = int(rng.choice([-1, 1]))
    local.polygon([(-0.2, 0), (0.2, 0), (0.14, 0.5), (0.16, 0.78), (-0.16, 0.78), (-0.14, 0.5)], bronze, solid=True)
    local.polygon(
        [(facing * 0.02, 0), (facing * 0.22, 0), (facing * 0.16, 0.76), (facing * 0.06, 0.76)],
        darken(bronze, 0.7),
        0.01,
    )
    local.line((0, 0.0), (0.02 * facing, 0.4), 0.03, darken(bronze, 0.55), 0.012)
    local.disc(0, 0.89, 0.1, darken(bronze, 1.1), 0.02, solid=True)
    reach = (0.4, 0.95) if rng.random() < 0.5 else (0.26, 0.4)
    local.line((facing * 0.14, 0.72), (facing * reach[0], reach[1]), 0.08, bronze, 0.02)
    local.line((-facing * 0.14, 0.72), (-facing * 0.22, 0.38), 0.08, darken(bronze, 0.85), 0.02)


def basin_fountain(plane: Plane, rng: np.random.Generator, palette: Palette) -> None:
    """Draws a wide round basin with a ring of low jets."""
    radius, jets = 1.0, int(rng.integers(5, 9))
    plane.revolve(
        [
            (radius * 0.95, 0.25),
            (radius * 1.03, 0.25),
            (radius * 1.03, 0.2),
            (radius, 0.18),
            (radius, 0.03),
            (radius * 1.06, 0),
        ],
        [palette.trim, darken(palette.trim, 0.94)],
        sides=20,
    )
    plane.polygon(ellipse(0, 0.26, radius * 0.94, 0.09), (0.35, 0.5, 0.56), solid=True)
    height = rng.uniform(0.5, 0.7)
    for k in range(jets):
        u = radius * 0.7 * math.cos(math.pi * (k + 0.5) / jets)
        for j in range(7):
            share = j / 6
            plane.disc(
                u * (1 - 0.6 * share),
                0.28 + height * math.sin(math.pi * min(1, share * 0.85)),
                0.035,
                WATER,
                0.01,
                solid=True,
            )
    plane.polygon([(-0.05, 0.26), (0.05, 0.26), (0.02, 0.98), (-0.02, 0.98)], WATER, 0.01, solid=True)


def tiered_fountain(plane: Plane, rng: np.random.Generator, palette: Palette) -> None:
    """Draws two or three bowls above one another, with water between the bowls."""
    tiers = int(rng.integers(2, 4))
    plane.revolve([(0.5, 0.12), (0.52, 0.12), (0.5, 0.0)], [palette.trim, darken(palette.trim, 0.93)], sides=18)
    plane.polygon(ellipse(0, 0.125, 0.48, 0.045), (0.35, 0.5, 0.56), solid=True)
    for k in range(tiers):
        v, radius = 0.12 + 0.75 * (k + 1) / tiers, 0.36 * (1 - 0.3 * k)
        low = v - 0.75 / tiers
        plane.revolve([(0.04, v - 0.05), (0.07, low + 0.1), (0.04, low)], [palette.trim], sides=8)
        for j in range(8):
            u = radius * (2 * (j + 0.5) / 8 - 1)
            plane.polygon(
                [(u - 0.012, v), (u + 0.012, v), (u + 0.02, low + 0.02), (u - 0.02, low + 0.02)],
                WATER,
                0.06,
                solid=True,
            )
        plane.revolve([(radius, v), (radius * 0.9, v - 0.05), (0.06, v - 0.1)], [palette.trim], sides=16)
        plane.polygon(ellipse(0, v, radius * 0.95, radius * 0.09), (0.45, 0.58, 0.63), 0.0, solid=True)
    plane.polygon([(-0.03, 0.87), (0.03, 0.87), (0.0, 1.0)], WATER, 0.02, solid=True)


def jet_fountain(plane: Plane, rng: np.random.Generator, palette: Palette) -> None:
    """Draws a tall plume of water in a pool."""
    spread, lean = rng.uniform(0.12, 0.2), rng.uniform(-0.08, 0.08)
    plane.polygon(ellipse(0, 0.05, 0.7, 0.05), palette.trim, solid=True)
    plane.polygon(ellipse(0, 0.055, 0.64, 0.04), (0.35, 0.5, 0.56), 0.01)
    for _k in range(46):
        v = rng.random()
        u = lean * v * v + rng.standard_normal() * spread * 0.4 * (v + 0.1)
        size = rng.uniform(0.02, 0.05) * (0.6 + v)
        plane.polygon(
            ellipse(u, 0.06 + 0.9 * v, size, size * 1.6),
            mix(WATER, (1, 1, 1), rng.uniform(0, 0.7)),
            0.01,
            normal=(0, 0, 0),
            solid=True,
        )
    plane.polygon(
        [(-0.03, 0.05), (0.03, 0.05), (lean + 0.02, 0.96), (lean - 0.02, 0.96)],
        (0.93, 0.96, 0.98),
        0.02,
        normal=(0, 0, 0),
        solid=True,
    )
