"""Monuments and fountains; about one unit high, standing on the origin of their plane."""

import math

import numpy as np

from experiments.synthetic.mesh import Plane, Real, ellipse
from experiments.synthetic.palette import Palette, dark, mix

WATER = (0.72, 0.82, 0.88)


def _plinth(p: Plane, c: Palette, half: Real, height: Real) -> None:
    p.box(-half * 1.35, 0, half * 1.35, height * 0.2, c.wall, half * 1.35, -half * 1.35, shadow=False)
    p.box(-half, height * 0.2, half, height * 0.88, c.wall, half, -half, shadow=False)
    p.rect(-half * 0.6, height * 0.4, half * 0.6, height * 0.68, dark(c.wall, 0.7), half + 0.003)
    p.box(-half * 1.15, height * 0.88, half * 1.15, height, c.trim, half * 1.15, -half * 1.15, shadow=False)


def obelisk(p: Plane, rng: np.random.Generator, c: Palette) -> None:
    """A tapering needle with a pyramid tip on steps."""
    half = rng.uniform(0.055, 0.09)
    for k in range(3):
        wide = half * (3.2 - 0.6 * k)
        p.box(-wide, 0.04 * k, wide, 0.04 * (k + 1), c.trim, wide, -wide, shadow=False)
    for s, normal in ((-1, (-1.0, 0.05, 0.0)), (1, (1.0, 0.05, 0.0))):
        p.surface(
            [
                (s * half, 0.12, -half),
                (s * half, 0.12, half),
                (s * half * 0.66, 0.88, half * 0.66),
                (s * half * 0.66, 0.88, -half * 0.66),
            ],
            c.wall,
            normal,
        )
    p.surface(
        [(-half, 0.12, half), (half, 0.12, half), (half * 0.66, 0.88, half * 0.66), (-half * 0.66, 0.88, half * 0.66)],
        c.wall,
        (0, 0.05, 1.0),
    )
    p.surface(
        [(-half * 0.66, 0.88, half * 0.66), (half * 0.66, 0.88, half * 0.66), (0, 1, 0)],
        dark(c.wall, 1.15),
        (0, 0.5, 0.86),
    )
    for s in (-1, 1):
        p.surface(
            [(s * half * 0.66, 0.88, half * 0.66), (s * half * 0.66, 0.88, -half * 0.66), (0, 1, 0)],
            c.wall,
            (s * 0.86, 0.5, 0),
        )


def statue(p: Plane, rng: np.random.Generator, c: Palette) -> None:
    """A standing figure of bronze or stone on a plinth, one arm maybe raised."""
    base, bronze = (
        rng.uniform(0.36, 0.48),
        (mix(c.metal, (0.25, 0.42, 0.36), 0.6), mix(c.trim, c.wall, 0.3))[int(rng.integers(2))],
    )
    _plinth(p, c, rng.uniform(0.12, 0.16), base)
    q = p.at(0, base, (1 - base) / 1.0)
    s = int(rng.choice([-1, 1]))
    q.polygon([(-0.2, 0), (0.2, 0), (0.14, 0.5), (0.16, 0.78), (-0.16, 0.78), (-0.14, 0.5)], bronze, solid=True)
    q.polygon([(s * 0.02, 0), (s * 0.22, 0), (s * 0.16, 0.76), (s * 0.06, 0.76)], dark(bronze, 0.7), 0.01)
    q.line((0, 0.0), (0.02 * s, 0.4), 0.03, dark(bronze, 0.55), 0.012)
    q.disc(0, 0.89, 0.1, dark(bronze, 1.1), 0.02, solid=True)
    reach = (0.4, 0.95) if rng.random() < 0.5 else (0.26, 0.4)
    q.line((s * 0.14, 0.72), (s * reach[0], reach[1]), 0.08, bronze, 0.02)
    q.line((-s * 0.14, 0.72), (-s * 0.22, 0.38), 0.08, dark(bronze, 0.85), 0.02)


def basin_fountain(p: Plane, rng: np.random.Generator, c: Palette) -> None:
    """A wide round basin with a ring of low jets."""
    radius, jets = 1.0, int(rng.integers(5, 9))
    p.revolve(
        [
            (radius * 0.95, 0.25),
            (radius * 1.03, 0.25),
            (radius * 1.03, 0.2),
            (radius, 0.18),
            (radius, 0.03),
            (radius * 1.06, 0),
        ],
        [c.trim, dark(c.trim, 0.94)],
        sides=20,
    )
    p.polygon(ellipse(0, 0.26, radius * 0.94, 0.09), (0.35, 0.5, 0.56), solid=True)
    height = rng.uniform(0.5, 0.7)
    for k in range(jets):
        u = radius * 0.7 * math.cos(math.pi * (k + 0.5) / jets)
        for j in range(7):
            share = j / 6
            p.disc(
                u * (1 - 0.6 * share),
                0.28 + height * math.sin(math.pi * min(1, share * 0.85)),
                0.035,
                WATER,
                0.01,
                solid=True,
            )
    p.polygon([(-0.05, 0.26), (0.05, 0.26), (0.02, 0.98), (-0.02, 0.98)], WATER, 0.01, solid=True)


def tiered_fountain(p: Plane, rng: np.random.Generator, c: Palette) -> None:
    """Two or three bowls one above another, water between them."""
    tiers = int(rng.integers(2, 4))
    p.revolve([(0.5, 0.12), (0.52, 0.12), (0.5, 0.0)], [c.trim, dark(c.trim, 0.93)], sides=18)
    p.polygon(ellipse(0, 0.125, 0.48, 0.045), (0.35, 0.5, 0.56), solid=True)
    for k in range(tiers):
        v, radius = 0.12 + 0.75 * (k + 1) / tiers, 0.36 * (1 - 0.3 * k)
        low = v - 0.75 / tiers
        p.revolve([(0.04, v - 0.05), (0.07, low + 0.1), (0.04, low)], [c.trim], sides=8)
        for j in range(8):
            u = radius * (2 * (j + 0.5) / 8 - 1)
            p.polygon(
                [(u - 0.012, v), (u + 0.012, v), (u + 0.02, low + 0.02), (u - 0.02, low + 0.02)],
                WATER,
                0.06,
                solid=True,
            )
        p.revolve([(radius, v), (radius * 0.9, v - 0.05), (0.06, v - 0.1)], [c.trim], sides=16)
        p.polygon(ellipse(0, v, radius * 0.95, radius * 0.09), (0.45, 0.58, 0.63), 0.0, solid=True)
    p.polygon([(-0.03, 0.87), (0.03, 0.87), (0.0, 1.0)], WATER, 0.02, solid=True)


def jet_fountain(p: Plane, rng: np.random.Generator, c: Palette) -> None:
    """One tall plume from a pool."""
    spread, lean = rng.uniform(0.12, 0.2), rng.uniform(-0.08, 0.08)
    p.polygon(ellipse(0, 0.05, 0.7, 0.05), c.trim, solid=True)
    p.polygon(ellipse(0, 0.055, 0.64, 0.04), (0.35, 0.5, 0.56), 0.01)
    for _k in range(46):
        v = rng.random()
        u = lean * v * v + rng.standard_normal() * spread * 0.4 * (v + 0.1)
        size = rng.uniform(0.02, 0.05) * (0.6 + v)
        p.polygon(
            ellipse(u, 0.06 + 0.9 * v, size, size * 1.6),
            mix(WATER, (1, 1, 1), rng.uniform(0, 0.7)),
            0.01,
            normal=(0, 0, 0),
            solid=True,
        )
    p.polygon(
        [(-0.03, 0.05), (0.03, 0.05), (lean + 0.02, 0.96), (lean - 0.02, 0.96)],
        (0.93, 0.96, 0.98),
        0.02,
        normal=(0, 0, 0),
        solid=True,
    )
