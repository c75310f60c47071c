"""Columns, pediments, clocks, balustrades and pieces of facades; about one unit high, standing on the origin."""

import itertools
import math

import numpy as np

from experiments.synthetic.mesh import Colour, Plane, Point, Real, ellipse, opening
from experiments.synthetic.palette import Palette, dark, mix


def plain_column(p: Plane, rng: np.random.Generator, c: Palette) -> None:
    """A smooth shaft that swells, on a base, under a square slab."""
    radius = rng.uniform(0.07, 0.11)
    _column(p, c, radius, [c.trim, dark(c.trim, 0.96)], 0.1)


def fluted_column(p: Plane, rng: np.random.Generator, c: Palette) -> None:
    """A grooved shaft under a capital of leaves or of volutes."""
    radius = rng.uniform(0.08, 0.12)
    _column(p, c, radius, [c.trim, dark(c.trim, 0.6)], 0.14)
    top = 0.84
    if rng.random() < 0.5:
        for side in (-1, 1):
            for k in range(3):
                p.disc(
                    side * radius * 1.25,
                    top + 0.04,
                    radius * (0.6 - 0.18 * k),
                    dark(c.trim, (1, 0.6, 1)[k]),
                    radius * 1.3 + 0.002 * k,
                )
    else:
        for row in range(2):
            for k in range(-2, 3):
                u, v = radius * 0.55 * k, top + 0.055 * row
                leaf = [
                    (u - radius * 0.3, v),
                    (u + radius * 0.3, v),
                    (u + radius * 0.34, v + 0.045),
                    (u, v + 0.07),
                    (u - radius * 0.34, v + 0.045),
                ]
                p.polygon(leaf, dark(c.trim, 0.7 + 0.3 * ((k + row) % 2)), radius * 1.3)


def twisted_column(p: Plane, rng: np.random.Generator, c: Palette) -> None:
    """A shaft with a spiral around it."""
    radius, turns = rng.uniform(0.08, 0.12), rng.uniform(3, 6)
    _column(p, c, radius, [c.trim], 0.1)
    for k in range(int(turns * 2)):
        v = 0.14 + 0.68 * k / (turns * 2)
        rise = 0.34 / turns
        band = [(-radius, v), (-radius, v + rise * 0.4), (radius, v + rise * 1.4), (radius, v + rise)]
        p.polygon([(x, min(y, 0.84)) for x, y in band], dark(c.trim, 0.55), radius * 1.02)


def _column(p: Plane, c: Palette, radius: Real, colours: list[Colour], capital: Real) -> None:
    sides = 20 if len(colours) > 1 else 14
    p.box(-radius * 1.5, 0, radius * 1.5, 0.05, c.trim, radius * 1.5, -radius * 1.5)
    p.revolve([(radius, 0.13), (radius * 1.3, 0.1), (radius * 1.4, 0.05)], [c.trim])
    p.revolve([(radius * 0.82, 0.94 - capital), (radius * 0.95, 0.5), (radius, 0.12)], colours, sides=sides)
    p.revolve([(radius * 1.35, 0.94), (radius * 0.9, 0.94 - capital)], [c.trim])
    p.box(-radius * 1.5, 0.94, radius * 1.5, 1.0, c.trim, radius * 1.5, -radius * 1.5)


def triangular_pediment(p: Plane, rng: np.random.Generator, c: Palette) -> None:
    """A low gable over an entablature, maybe with a round relief."""
    half, rise = 1.0, rng.uniform(0.45, 0.62)
    _entablature(p, c, half, rng)
    outer: list[Point] = [(-half, 0.3), (half, 0.3), (0, 0.36 + rise)]
    _gable(p, c, outer, [(-half * 0.8, 0.36), (half * 0.8, 0.36), (0, 0.3 + rise * 0.86)], rng)


def curved_pediment(p: Plane, rng: np.random.Generator, c: Palette) -> None:
    """A segment of a circle over an entablature."""
    half, rise = 1.0, rng.uniform(0.42, 0.6)
    _entablature(p, c, half, rng)
    outer = ellipse(0, 0.3, half, rise, 0, math.pi)
    _gable(p, c, outer, ellipse(0, 0.36, half * 0.84, rise * 0.74, 0, math.pi), rng)


def broken_pediment(p: Plane, rng: np.random.Generator, c: Palette) -> None:
    """A gable open at its top around an urn."""
    half, rise, gap = 1.0, rng.uniform(0.45, 0.6), rng.uniform(0.22, 0.36)
    _entablature(p, c, half, rng)
    for s in (-1, 1):
        v = 0.3 + rise * (1 - gap)
        slope = [(s * half, 0.3), (s * half * 0.86, 0.3), (s * gap, v - 0.05), (s * gap, v + 0.06)]
        p.shadow(slope, 0.1)
        p.polygon(slope, c.trim, 0.1, solid=True)
        p.ring(ellipse(s * gap, v, 0.08, 0.08), ellipse(s * gap, v, 0.04, 0.04), dark(c.trim, 1.08), 0.12)
    p.box(-0.1, 0.3, 0.1, 0.42, c.trim, 0.1)
    p.revolve(
        [(0.01, 0.9), (0.05, 0.82), (0.04, 0.78), (0.12, 0.72), (0.11, 0.6), (0.03, 0.48), (0.07, 0.42)],
        [dark(c.trim, 1.05)],
        d=0.1,
    )


def scroll_gable(p: Plane, rng: np.random.Generator, c: Palette) -> None:
    """A baroque gable with volutes at its sides and a small top."""
    wide, mid = 0.8, rng.uniform(0.34, 0.44)
    left = [
        (-wide, 0),
        (-wide, 0.1),
        *[(-wide + (wide - mid) * math.sin(a), 0.1 + 0.5 * (1 - math.cos(a))) for a in (0.3, 0.6, 0.9, 1.2, 1.57)],
    ]
    left += [
        (-mid * 0.9, 0.66),
        *[(-mid * 0.9 + mid * 0.6 * math.sin(a), 0.66 + 0.22 * (1 - math.cos(a))) for a in (0.5, 1.0, 1.57)],
    ]
    outline = [*left, *[(-x, y) for x, y in reversed(left)]]
    p.polygon(outline[::-1], c.wall, solid=True, texture=c.wall_texture)
    for (a, b), (a1, b1) in itertools.pairwise(left):
        for s in (-1, 1):
            p.line((s * a, b), (s * a1, b1), 0.06, c.trim, 0.04)
    for s in (-1, 1):
        p.ring(ellipse(s * (wide - 0.12), 0.13, 0.12, 0.12), ellipse(s * (wide - 0.12), 0.13, 0.06, 0.06), c.trim, 0.05)
    p.box(-mid, 0.62, mid, 0.68, c.trim, 0.08)
    p.box(-wide, -0.04, wide, 0.02, c.trim, 0.1)
    p.polygon([(-mid * 0.45, 0.88), (mid * 0.45, 0.88), (0, 1.02)], c.trim, 0.05, solid=True)
    p.polygon(opening("round", 0, 0.24, 0.2, 0.3), c.glass, 0.01, glow=rng.uniform(0.05, 1))
    p.ring(opening("round", 0, 0.21, 0.28, 0.37), opening("round", 0, 0.24, 0.2, 0.3), c.trim, 0.02)


def _entablature(p: Plane, c: Palette, half: Real, rng: np.random.Generator) -> None:
    p.box(-half, 0.0, half, 0.1, c.trim, 0.06)
    p.box(-half, 0.1, half, 0.22, mix(c.trim, c.wall, 0.5), 0.04)
    count = int(rng.integers(9, 16))
    for k in range(count):
        u = -half * 0.95 + 1.9 * half * (k + 0.5) / count
        p.box(u - 0.03, 0.17, u + 0.03, 0.22, c.trim, 0.08, 0.04, shadow=False)
    p.box(-half * 1.06, 0.22, half * 1.06, 0.3, c.trim, 0.16)


def _gable(p: Plane, c: Palette, outer: list[Point], inner: list[Point], rng: np.random.Generator) -> None:
    p.polygon(outer, c.trim, 0.12, solid=True)
    p.polygon(inner, dark(mix(c.trim, c.wall, 0.6), 0.75), 0.12)
    kind = rng.integers(3)
    if kind == 0:
        p.ring(ellipse(0, 0.5, 0.13, 0.13), ellipse(0, 0.5, 0.09, 0.09), c.trim, 0.13)
    elif kind == 1:
        for k in range(-3, 4):
            height = 0.3 * (1 - abs(k) / 4.5)
            p.polygon(ellipse(0.17 * k, 0.38 + height / 2, 0.05, height / 2), dark(c.trim, 0.95), 0.13)
    else:
        shield = [(-0.1, 0.6), (-0.1, 0.46), (0, 0.38), (0.1, 0.46), (0.1, 0.6)]
        p.polygon(shield, mix(c.trim, c.accent, 0.5), 0.13)


def round_clock(p: Plane, rng: np.random.Generator, c: Palette) -> None:
    """A round dial on a wall."""
    _dial(p, rng, c, ellipse(0, 0.5, 0.5, 0.5), ellipse(0, 0.5, 0.44, 0.44))


def _dial(
    p: Plane, rng: np.random.Generator, c: Palette, outer: list[Point], inner: list[Point], d: Real = 0.04
) -> None:
    light = rng.random() < 0.65
    face = (0.93, 0.91, 0.84) if light else mix(c.accent, (0.08, 0.09, 0.14), 0.7)
    ink = (0.08, 0.08, 0.1) if light else (0.92, 0.8, 0.4)
    p.shadow(outer, d)
    p.polygon(outer, mix(c.trim, c.metal, 0.4), d, solid=True)
    p.polygon(inner, face, d, glow=0.02)
    for k in range(12):
        a = math.pi / 6 * k
        p.line(
            (0.36 * math.sin(a), 0.5 + 0.36 * math.cos(a)),
            (0.42 * math.sin(a), 0.5 + 0.42 * math.cos(a)),
            0.055 if k % 3 == 0 else 0.03,
            ink,
            d + 0.004,
        )
    for length, width in ((0.24, 0.055), (0.35, 0.035)):
        a = rng.uniform(0, 2 * math.pi)
        p.line(
            (-0.06 * math.sin(a), 0.5 - 0.06 * math.cos(a)),
            (length * math.sin(a), 0.5 + length * math.cos(a)),
            width,
            ink,
            d + 0.01,
        )
