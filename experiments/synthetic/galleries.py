"""Balustrades, walls and pieces of facades; about one unit high, standing on the origin of their plane."""

import numpy as np

from experiments.synthetic import textures
from experiments.synthetic.mesh import Plane, ellipse, opening
from experiments.synthetic.palette import Palette, dark, mix


def stone_balustrade(p: Plane, rng: np.random.Generator, c: Palette) -> None:
    """Bulging balusters between two rails and end posts."""
    count, half = int(rng.integers(6, 10)), 1.1
    p.box(-half, 0, half, 0.14, c.trim, 0.14, -0.14)
    for k in range(count):
        u = -half * 0.85 + 1.7 * half * (k + 0.5) / count
        p.revolve(
            [(0.06, 0.82), (0.04, 0.7), (0.045, 0.6), (0.09, 0.38), (0.05, 0.2), (0.08, 0.14)], [c.trim], u=u, sides=8
        )
    p.box(-half, 0.82, half, 1, c.trim, 0.16, -0.16)
    for s in (-1, 1):
        p.box(s * half - 0.14, 0, s * half + 0.14, 1.08, c.trim, 0.18, -0.18)


def iron_railing(p: Plane, rng: np.random.Generator, c: Palette) -> None:
    """Thin bars with points between two rails."""
    count, half, rings = int(rng.integers(9, 17)), 1.1, rng.random() < 0.5
    for v in (0.1, 0.82):
        p.line((-half, v), (half, v), 0.045, c.metal)
    for k in range(count):
        u = -half + 2 * half * (k + 0.5) / count
        p.line((u, 0), (u, 0.95), 0.03, c.metal, 0.01)
        p.polygon([(u - 0.03, 0.94), (u + 0.03, 0.94), (u, 1.05)], c.metal, 0.01, solid=True)
        if rings:
            p.ring(ellipse(u, 0.72, 0.06, 0.06), ellipse(u, 0.72, 0.035, 0.035), c.metal, 0.012)


def curtain_wall(p: Plane, rng: np.random.Generator, c: Palette) -> None:
    """A grid of glass panes between thin metal bars."""
    columns, rows, width = int(rng.integers(3, 8)), int(rng.integers(4, 10)), 1.0
    tint = mix(c.glass, c.accent, rng.uniform(0, 0.35))
    p.wall(-width / 2, 0, width / 2, 1, c.metal)
    for i in range(columns):
        for j in range(rows):
            u0, v0 = -width / 2 + width * i / columns, j / rows
            p.rect(
                u0 + 0.012,
                v0 + 0.012,
                u0 + width / columns - 0.012,
                v0 + 1 / rows - 0.012,
                dark(tint, rng.uniform(0.7, 1.7)),
                0.002,
                glow=rng.uniform(0.02, 1),
            )
    if rng.random() < 0.4:
        for j in range(rows + 1):
            p.box(-width / 2, j / rows - 0.012, width / 2, j / rows + 0.012, c.trim, 0.03)


def arcade(p: Plane, rng: np.random.Generator, c: Palette) -> None:
    """A row of arches on columns before a shaded walk."""
    count, kind = int(rng.integers(3, 6)), str(rng.choice(["round", "pointed", "segment"]))
    bay = 2.0 / count
    p.wall(-1, 0, 1, 1, c.wall, c.wall_texture)
    for k in range(count):
        u = -1 + bay * (k + 0.5)
        arch = opening(kind, u, 0, bay * 0.74, 0.74)
        p.polygon(arch, dark(c.wall, 0.28))
        p.polygon(opening("flat", u, 0, bay * 0.3, 0.44), dark(c.door, 0.45), glow=rng.uniform(0.1, 1))
        p.ring(opening(kind, u, 0, bay * 0.84, 0.79), arch, c.trim, 0.02)
    for k in range(count + 1):
        u = -1 + bay * k
        r = bay * 0.11
        p.revolve([(r * 1.4, 0.45), (r, 0.4), (r, 0.06), (r * 1.3, 0.0)], [c.trim], u=u, d=0.02, sides=10)
    p.box(-1.03, 0.86, 1.03, 0.93, c.trim, 0.08)
    p.box(-1, 0.97, 1, 1, c.trim, 0.04)


def chimney(p: Plane, rng: np.random.Generator, c: Palette) -> None:
    """A stack with pots on a piece of a tiled roof."""
    pots, width = int(rng.integers(2, 5)), rng.uniform(0.3, 0.5)
    slope = [(-0.8, 0.0, 0.4), (0.8, 0.0, 0.4), (0.8, 0.42, -0.3), (-0.8, 0.42, -0.3)]
    p.surface(slope, c.roof, (0.0, 0.86, 0.5))
    for k in range(1, 7):
        v = 0.42 * k / 7
        p.line((-0.8, v), (0.8, v), 0.012, dark(c.roof, 0.6), 0.4 - 0.7 * k / 7)
    p.box(-width / 2, 0.1, width / 2, 0.72, (0.6, 0.36, 0.27), 0.14, -0.14, texture=textures.BRICK)
    p.box(-width / 2 - 0.04, 0.68, width / 2 + 0.04, 0.76, c.trim, 0.18, -0.18)
    for k in range(pots):
        u = width * ((k + 0.5) / pots - 0.5)
        p.revolve([(0.05, 0.98), (0.05, 0.94), (0.036, 0.93), (0.045, 0.76)], [(0.68, 0.4, 0.27)], u=u, sides=8)
