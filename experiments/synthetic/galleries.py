"""Balustrades, walls and pieces of facades; about one unit high, standing on the origin of their plane."""

import math

import numpy as np

from experiments.synthetic import textures
from experiments.synthetic.mesh import Colour, Plane, Real, ellipse, opening
from experiments.synthetic.palette import Palette, dark, mix, vary


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


def battlement_parapet(p: Plane, rng: np.random.Generator, c: Palette) -> None:
    """A wall with merlons over a row of corbels."""
    count, half = int(rng.integers(3, 6)), 1.1
    p.box(-half, 0.1, half, 0.62, c.wall, 0.1, -0.15, texture=c.wall_texture)
    width = 2 * half / (2 * count - 1)
    for k in range(count):
        u = -half + 2 * k * width
        p.box(u, 0.62, u + width, 0.96, c.wall, 0.1, -0.15, shadow=False, texture=c.wall_texture)
        p.box(u - 0.02, 0.96, u + width + 0.02, 1.02, c.trim, 0.13, -0.18, shadow=False)
        p.rect(u + width * 0.42, 0.68, u + width * 0.58, 0.9, (0.05, 0.05, 0.05), 0.101)
    for k in range(count * 3):
        u = -half + 2 * half * (k + 0.5) / (count * 3)
        p.box(u - 0.05, 0, u + 0.05, 0.12, c.trim, 0.1)


def lattice_parapet(p: Plane, rng: np.random.Generator, c: Palette) -> None:
    """A rail over crossed bars in square fields."""
    count, half = int(rng.integers(3, 6)), 1.1
    for k in range(count):
        u0, u1 = -half + 2 * half * k / count, -half + 2 * half * (k + 1) / count
        p.line((u0, 0.1), (u1, 0.86), 0.06, c.second)
        p.line((u0, 0.86), (u1, 0.1), 0.06, c.second, 0.01)
        p.box(u0 - 0.05, 0, u0 + 0.05, 0.95, c.second, 0.06, -0.06)
    p.box(half - 0.05, 0, half + 0.05, 0.95, c.second, 0.06, -0.06)
    p.box(-half - 0.05, 0.86, half + 0.05, 0.96, c.second, 0.08, -0.08)
    p.box(-half - 0.05, 0.04, half + 0.05, 0.12, c.second, 0.05, -0.05)


def brick_wall(p: Plane, rng: np.random.Generator, c: Palette) -> None:
    """Courses of red or yellow brick."""
    _coursed(
        p, rng, (vary(rng, ((0.62, 0.3, 0.22), (0.74, 0.58, 0.4))[rng.integers(2)])), int(rng.integers(12, 20)), 3.0, c
    )


def ashlar_wall(p: Plane, rng: np.random.Generator, c: Palette) -> None:
    """Large cut blocks with chamfered joints."""
    _coursed(
        p, rng, vary(rng, ((0.78, 0.71, 0.56), (0.66, 0.65, 0.62))[rng.integers(2)]), int(rng.integers(4, 7)), 2.0, c
    )


def _coursed(p: Plane, rng: np.random.Generator, colour: Colour, rows: int, aspect: Real, c: Palette) -> None:
    p.wall(-0.7, 0, 0.7, 1, dark(mix(colour, c.trim, 0.4), rng.uniform(0.6, 1.2)))
    height, width = 1 / rows, aspect / rows
    for row in range(rows):
        u = -0.7 - (row % 2) * width / 2
        while u < 0.7:
            u0, u1 = max(u + 0.008, -0.7), min(u + width - 0.008, 0.7)
            if u1 > u0:
                p.rect(u0, row * height + 0.008, u1, (row + 1) * height - 0.008, vary(rng, colour, 0.1), 0.005)
            u += width
    p.box(-0.74, 1, 0.74, 1.05, dark(colour, 1.1), 0.04, -0.1)


def rubble_wall(p: Plane, rng: np.random.Generator, c: Palette) -> None:
    """Irregular field stones."""
    colour = vary(rng, ((0.6, 0.56, 0.48), (0.5, 0.5, 0.52))[rng.integers(2)])
    p.wall(-0.7, 0, 0.7, 1, dark(mix(colour, c.trim, 0.3), 0.65))
    rows = int(rng.integers(5, 8))
    for row in range(rows):
        count = int(rng.integers(rows, rows + 3))
        for k in range(count):
            u, v = -0.7 + 1.4 * (k + 0.5 + 0.25 * (row % 2)) / count, (row + 0.5) / rows
            ru, rv = 0.7 / count * rng.uniform(0.8, 1.05), 0.5 / rows * rng.uniform(0.8, 1.08)
            a = np.arange(7) * 0.9 + rng.uniform(-0.25, 0.25, 7)
            stone = [(min(0.7, u + ru * math.cos(t)), min(1.0, max(0.0, v + rv * math.sin(t)))) for t in a.tolist()]
            p.polygon(stone, vary(rng, colour, 0.16), 0.004)


def timbered_wall(p: Plane, rng: np.random.Generator, c: Palette) -> None:
    """Dark beams and braces over plaster."""
    wood = vary(rng, (0.28, 0.18, 0.12))
    p.wall(-0.7, 0, 0.7, 1, mix(c.wall, (0.92, 0.87, 0.75), 0.75), textures.STUCCO)
    count, floors = int(rng.integers(3, 6)), int(rng.integers(1, 3))
    for k in range(count + 1):
        u = -0.67 + 1.34 * k / count
        p.box(u - 0.035, 0, u + 0.035, 1, wood, 0.02)
    for j in range(2 * floors + 1):
        v = 0.03 + 0.94 * j / (2 * floors)
        p.box(-0.7, v - 0.035, 0.7, v + 0.035, vary(rng, wood), 0.022)
    for k in range(count):
        for j in range(2 * floors):
            u0, u1 = -0.67 + 1.34 * k / count, -0.67 + 1.34 * (k + 1) / count
            v0, v1 = 0.03 + 0.94 * j / (2 * floors), 0.03 + 0.94 * (j + 1) / (2 * floors)
            if rng.random() < 0.55:
                ends = ((u0, v0), (u1, v1)) if rng.random() < 0.5 else ((u1, v0), (u0, v1))
                p.line(*ends, 0.05, wood, 0.02)


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


def balcony(p: Plane, rng: np.random.Generator, c: Palette) -> None:
    """A slab on brackets with a railing, before a tall door."""
    width, bars = rng.uniform(0.8, 1.1), int(rng.integers(7, 12))
    kind = str(rng.choice(["flat", "round", "segment"]))
    p.polygon(opening(kind, 0, 0.28, 0.42, 0.7), dark(c.glass, 0.9), -0.04, glow=rng.uniform(0.02, 1))
    p.rect(-0.015, 0.28, 0.015, 0.95, c.trim, -0.03)
    p.ring(opening(kind, 0, 0.28, 0.56, 0.77), opening(kind, 0, 0.28, 0.42, 0.7), c.trim, 0.02)
    for s in (-1, 1):
        p.surface(
            [(s * width * 0.36, 0.02, 0.0), (s * width * 0.36, 0.22, 0.0), (s * width * 0.36, 0.22, 0.26)],
            dark(c.trim, 0.7),
            (0, 0, 0),
        )
    p.box(-width / 2, 0.22, width / 2, 0.28, c.trim, 0.3)
    p.box(-width / 2, 0.57, width / 2, 0.6, c.metal, 0.3, 0.28, shadow=False)
    for k in range(bars):
        u = -width / 2 + width * (k + 0.5) / bars
        p.line((u, 0.28), (u, 0.58), 0.016, c.metal, 0.29)
        if bars < 9:
            p.ring(ellipse(u, 0.42, 0.035, 0.05), ellipse(u, 0.42, 0.02, 0.03), c.metal, 0.29)


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
