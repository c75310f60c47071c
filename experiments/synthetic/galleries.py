"""This module draws balustrades, arcades and curtain walls, one unit high, on the origin of their plane."""

import numpy as np

from experiments.synthetic import textures
from experiments.synthetic.mesh import Plane, ellipse, opening
from experiments.synthetic.palette import Palette, darken, mix


def stone_balustrade(plane: Plane, rng: np.random.Generator, palette: Palette) -> None:
    """Draws bulging balusters between two rails and end posts."""
    count, half = int(rng.integers(6, 10)), 1.1
    plane.box(-half, 0, half, 0.14, palette.trim, 0.14, -0.14)
    for k in range(count):
        u = -half * 0.85 + 1.7 * half * (k + 0.5) / count
        plane.revolve(
            [(0.06, 0.82), (0.04, 0.7), (0.045, 0.6), (0.09, 0.38), (0.05, 0.2), (0.08, 0.14)],
            [palette.trim],
            u=u,
            sides=8,
        )
    plane.box(-half, 0.82, half, 1, palette.trim, 0.16, -0.16)
    for side in (-1, 1):
        plane.box(side * half - 0.14, 0, side * half + 0.14, 1.08, palette.trim, 0.18, -0.18)


def iron_railing(plane: Plane, rng: np.random.Generator, palette: Palette) -> None:
    """Draws thin pointed bars between two rails."""
    count, half, has_rings = int(rng.integers(9, 17)), 1.1, rng.random() < 0.5
    for v in (0.1, 0.82):
        plane.line((-half, v), (half, v), 0.045, palette.metal)
    for k in range(count):
        u = -half + 2 * half * (k + 0.5) / count
        plane.line((u, 0), (u, 0.95), 0.03, palette.metal, 0.01)
        plane.polygon([(u - 0.03, 0.94), (u + 0.03, 0.94), (u, 1.05)], palette.metal, 0.01, solid=True)
        if has_rings:
            plane.ring(ellipse(u, 0.72, 0.06, 0.06), ellipse(u, 0.72, 0.035, 0.035), palette.metal, 0.012)


def curtain_wall(plane: Plane, rng: np.random.Generator, palette: Palette) -> None:
    """Draws a grid of glass panes between thin metal bars."""
    columns, rows, width = int(rng.integers(3, 8)), int(rng.integers(4, 10)), 1.0
    tint = mix(palette.glass, palette.accent, rng.uniform(0, 0.35))
    plane.wall(-width / 2, 0, width / 2, 1, palette.metal)
    for i in range(columns):
        for j in range(rows):
            u0, v0 = -width / 2 + width * i / columns, j / rows
            plane.rect(
                u0 + 0.012,
                v0 + 0.012,
                u0 + width / columns - 0.012,
                v0 + 1 / rows - 0.012,
                darken(tint, rng.uniform(0.7, 1.7)),
                0.002,
                glow=rng.uniform(0.02, 1),
            )
    if rng.random() < 0.4:
        for j in range(rows + 1):
            plane.box(-width / 2, j / rows - 0.012, width / 2, j / rows + 0.012, palette.trim, 0.03)


def arcade(plane: Plane, rng: np.random.Generator, palette: Palette) -> None:
    """Draws a row of arches on columns in front of a shaded walk."""
    count, kind = int(rng.integers(3, 6)), str(rng.choice(["round", "pointed", "segment"]))
    bay = 2.0 / count
    plane.wall(-1, 0, 1, 1, palette.wall, palette.wall_texture)
    for k in range(count):
        u = -1 + bay * (k + 0.5)
        arch = opening(kind, u, 0, bay * 0.74, 0.74)
        plane.polygon(arch, darken(palette.wall, 0.28))
        plane.polygon(opening("flat", u, 0, bay * 0.3, 0.44), darken(palette.door, 0.45), glow=rng.uniform(0.1, 1))
        plane.ring(opening(kind, u, 0, bay * 0.84, 0.79), arch, palette.trim, 0.02)
    for k in range(count + 1):
        u = -1 + bay * k
        r = bay * 0.11
        plane.revolve([(r * 1.4, 0.45), (r, 0.4), (r, 0.06), (r * 1.3, 0.0)], [palette.trim], u=u, d=0.02, sides=10)
    plane.box(-1.03, 0.86, 1.03, 0.93, palette.trim, 0.08)
    plane.box(-1, 0.97, 1, 1, palette.trim, 0.04)


def chimney(plane: Plane, rng: np.random.Generator, palette: Palette) -> None:
    """Draws a chimney stack with pots on a piece of a tiled roof."""
    pots, width = int(rng.integers(2, 5)), rng.uniform(0.3, 0.5)
    slope = [(-0.8, 0.0, 0.4), (0.8, 0.0, 0.4), (0.8, 0.42, -0.3), (-0.8, 0.42, -0.3)]
    plane.surface(slope, palette.roof, (0.0, 0.86, 0.5))
    for k in range(1, 7):
        v = 0.42 * k / 7
        plane.line((-0.8, v), (0.8, v), 0.012, darken(palette.roof, 0.6), 0.4 - 0.7 * k / 7)
    plane.box(-width / 2, 0.1, width / 2, 0.72, (0.6, 0.36, 0.27), 0.14, -0.14, texture=textures.BRICK)
    plane.box(-width / 2 - 0.04, 0.68, width / 2 + 0.04, 0.76, palette.trim, 0.18, -0.18)
    for k in range(pots):
        u = width * ((k + 0.5) / pots - 0.5)
        plane.revolve([(0.05, 0.98), (0.05, 0.94), (0.036, 0.93), (0.045, 0.76)], [(0.68, 0.4, 0.27)], u=u, sides=8)
