"""This module draws columns, pediments and clocks; each is about one unit high and stands on its plane's origin."""

import itertools
import math

import numpy as np

from experiments.synthetic.mesh import Colour, Plane, Point, Real, ellipse, opening
from experiments.synthetic.palette import Palette, darken, mix


def plain_column(plane: Plane, rng: np.random.Generator, palette: Palette) -> None:
    """Draws a smooth swelling shaft between a base and a square slab."""
    radius = rng.uniform(0.07, 0.11)
    _draw_column(plane, palette, radius, [palette.trim, darken(palette.trim, 0.96)], 0.1)


def fluted_column(plane: Plane, rng: np.random.Generator, palette: Palette) -> None:
    """Draws a grooved shaft under a capital of leaves or volutes."""
    radius = rng.uniform(0.08, 0.12)
    _draw_column(plane, palette, radius, [palette.trim, darken(palette.trim, 0.6)], 0.14)
    top = 0.84
    if rng.random() < 0.5:
        for side in (-1, 1):
            for k in range(3):
                plane.disc(
                    side * radius * 1.25,
                    top + 0.04,
                    radius * (0.6 - 0.18 * k),
                    darken(palette.trim, (1, 0.6, 1)[k]),
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
                plane.polygon(leaf, darken(palette.trim, 0.7 + 0.3 * ((k + row) % 2)), radius * 1.3)


def twisted_column(plane: Plane, rng: np.random.Generator, palette: Palette) -> None:
    """Draws a shaft with a spiral around it."""
    radius, turns = rng.uniform(0.08, 0.12), rng.uniform(3, 6)
    _draw_column(plane, palette, radius, [palette.trim], 0.1)
    for k in range(int(turns * 2)):
        v = 0.14 + 0.68 * k / (turns * 2)
        rise = 0.34 / turns
        band = [(-radius, v), (-radius, v + rise * 0.4), (radius, v + rise * 1.4), (radius, v + rise)]
        plane.polygon([(x, min(y, 0.84)) for x, y in band], darken(palette.trim, 0.55), radius * 1.02)


def _draw_column(plane: Plane, palette: Palette, radius: Real, colours: list[Colour], capital: Real) -> None:
    """Draws a base, a shaft and a capital; ``capital`` is the height of the capital."""
    sides = 20 if len(colours) > 1 else 14
    plane.box(-radius * 1.5, 0, radius * 1.5, 0.05, palette.trim, radius * 1.5, -radius * 1.5)
    plane.revolve([(radius, 0.13), (radius * 1.3, 0.1), (radius * 1.4, 0.05)], [palette.trim])
    plane.revolve([(radius * 0.82, 0.94 - capital), (radius * 0.95, 0.5), (radius, 0.12)], colours, sides=sides)
    plane.revolve([(radius * 1.35, 0.94), (radius * 0.9, 0.94 - capital)], [palette.trim])
    plane.box(-radius * 1.5, 0.94, radius * 1.5, 1.0, palette.trim, radius * 1.5, -radius * 1.5)


def triangular_pediment(plane: Plane, rng: np.random.Generator, palette: Palette) -> None:
    """Draws a low gable over an entablature."""
    half, rise = 1.0, rng.uniform(0.45, 0.62)
    _draw_entablature(plane, palette, half, rng)
    outer: list[Point] = [(-half, 0.3), (half, 0.3), (0, 0.36 + rise)]
    _draw_gable(plane, palette, outer, [(-half * 0.8, 0.36), (half * 0.8, 0.36), (0, 0.3 + rise * 0.86)], rng)


def curved_pediment(plane: Plane, rng: np.random.Generator, palette: Palette) -> None:
    """Draws a segment of a circle over an entablature."""
    half, rise = 1.0, rng.uniform(0.42, 0.6)
    _draw_entablature(plane, palette, half, rng)
    outer = ellipse(0, 0.3, half, rise, 0, math.pi)
    _draw_gable(plane, palette, outer, ellipse(0, 0.36, half * 0.84, rise * 0.74, 0, math.pi), rng)


def broken_pediment(plane: Plane, rng: np.random.Generator, palette: Palette) -> None:
    """Draws a gable that is open at its top, with an urn in the gap."""
    half, rise, gap = 1.0, rng.uniform(0.45, 0.6), rng.uniform(0.22, 0.36)
    _draw_entablature(plane, palette, half, rng)
    for side in (-1, 1):
        v = 0.3 + rise * (1 - gap)
        slope = [(side * half, 0.3), (side * half * 0.86, 0.3), (side * gap, v - 0.05), (side * gap, v + 0.06)]
        plane.shadow(slope, 0.1)
        plane.polygon(slope, palette.trim, 0.1, solid=True)
        plane.ring(
            ellipse(side * gap, v, 0.08, 0.08), ellipse(side * gap, v, 0.04, 0.04), darken(palette.trim, 1.08), 0.12
        )
    plane.box(-0.1, 0.3, 0.1, 0.42, palette.trim, 0.1)
    plane.revolve(
        [(0.01, 0.9), (0.05, 0.82), (0.04, 0.78), (0.12, 0.72), (0.11, 0.6), (0.03, 0.48), (0.07, 0.42)],
        [darken(palette.trim, 1.05)],
        d=0.1,
    )


def scroll_gable(plane: Plane, rng: np.random.Generator, palette: Palette) -> None:
    """Draws a baroque gable with volutes at its sides and a small top."""
    half, middle_half = 0.8, rng.uniform(0.34, 0.44)
    left = [
        (-half, 0),
        (-half, 0.1),
        *[
            (-half + (half - middle_half) * math.sin(a), 0.1 + 0.5 * (1 - math.cos(a)))
            for a in (0.3, 0.6, 0.9, 1.2, 1.57)
        ],
    ]
    left += [
        (-middle_half * 0.9, 0.66),
        *[
            (-middle_half * 0.9 + middle_half * 0.6 * math.sin(a), 0.66 + 0.22 * (1 - math.cos(a)))
            for a in (0.5, 1.0, 1.57)
        ],
    ]
    outline = [*left, *[(-x, y) for x, y in reversed(left)]]
    plane.polygon(outline[::-1], palette.wall, solid=True, texture=palette.wall_texture)
    for (u, v), (next_u, next_v) in itertools.pairwise(left):
        for side in (-1, 1):
            plane.line((side * u, v), (side * next_u, next_v), 0.06, palette.trim, 0.04)
    for side in (-1, 1):
        plane.ring(
            ellipse(side * (half - 0.12), 0.13, 0.12, 0.12),
            ellipse(side * (half - 0.12), 0.13, 0.06, 0.06),
            palette.trim,
            0.05,
        )
    plane.box(-middle_half, 0.62, middle_half, 0.68, palette.trim, 0.08)
    plane.box(-half, -0.04, half, 0.02, palette.trim, 0.1)
    plane.polygon([(-middle_half * 0.45, 0.88), (middle_half * 0.45, 0.88), (0, 1.02)], palette.trim, 0.05, solid=True)
    plane.polygon(opening("round", 0, 0.24, 0.2, 0.3), palette.glass, 0.01, glow=rng.uniform(0.05, 1))
    plane.ring(opening("round", 0, 0.21, 0.28, 0.37), opening("round", 0, 0.24, 0.2, 0.3), palette.trim, 0.02)


def _draw_entablature(plane: Plane, palette: Palette, half: Real, rng: np.random.Generator) -> None:
    """Draws a beam with a row of small blocks under a cornice."""
    plane.box(-half, 0.0, half, 0.1, palette.trim, 0.06)
    plane.box(-half, 0.1, half, 0.22, mix(palette.trim, palette.wall, 0.5), 0.04)
    count = int(rng.integers(9, 16))
    for k in range(count):
        u = -half * 0.95 + 1.9 * half * (k + 0.5) / count
        plane.box(u - 0.03, 0.17, u + 0.03, 0.22, palette.trim, 0.08, 0.04, shadow=False)
    plane.box(-half * 1.06, 0.22, half * 1.06, 0.3, palette.trim, 0.16)


def _draw_gable(
    plane: Plane, palette: Palette, outer: list[Point], inner: list[Point], rng: np.random.Generator
) -> None:
    """Draws a gable with a ring, figures or a shield inside."""
    plane.polygon(outer, palette.trim, 0.12, solid=True)
    plane.polygon(inner, darken(mix(palette.trim, palette.wall, 0.6), 0.75), 0.12)
    kind = rng.integers(3)
    if kind == 0:
        plane.ring(ellipse(0, 0.5, 0.13, 0.13), ellipse(0, 0.5, 0.09, 0.09), palette.trim, 0.13)
    elif kind == 1:
        for k in range(-3, 4):
            height = 0.3 * (1 - abs(k) / 4.5)
            plane.polygon(ellipse(0.17 * k, 0.38 + height / 2, 0.05, height / 2), darken(palette.trim, 0.95), 0.13)
    else:
        shield = [(-0.1, 0.6), (-0.1, 0.46), (0, 0.38), (0.1, 0.46), (0.1, 0.6)]
        plane.polygon(shield, mix(palette.trim, palette.accent, 0.5), 0.13)


def round_clock(plane: Plane, rng: np.random.Generator, palette: Palette) -> None:
    """Draws a round dial on a wall."""
    _draw_dial(plane, rng, palette, ellipse(0, 0.5, 0.5, 0.5), ellipse(0, 0.5, 0.44, 0.44))


def _draw_dial(
    plane: Plane, rng: np.random.Generator, palette: Palette, outer: list[Point], inner: list[Point], d: Real = 0.04
) -> None:
    """Draws a clock face with hour marks and two hands at a random time."""
    is_light = rng.random() < 0.65
    face = (0.93, 0.91, 0.84) if is_light else mix(palette.accent, (0.08, 0.09, 0.14), 0.7)
    ink = (0.08, 0.08, 0.1) if is_light else (0.92, 0.8, 0.4)
    plane.shadow(outer, d)
    plane.polygon(outer, mix(palette.trim, palette.metal, 0.4), d, solid=True)
    plane.polygon(inner, face, d, glow=0.02)
    for k in range(12):
        a = math.pi / 6 * k
        plane.line(
            (0.36 * math.sin(a), 0.5 + 0.36 * math.cos(a)),
            (0.42 * math.sin(a), 0.5 + 0.42 * math.cos(a)),
            0.055 if k % 3 == 0 else 0.03,
            ink,
            d + 0.004,
        )
    for length, width in ((0.24, 0.055), (0.35, 0.035)):
        a = rng.uniform(0, 2 * math.pi)
        plane.line(
            (-0.06 * math.sin(a), 0.5 - 0.06 * math.cos(a)),
            (length * math.sin(a), 0.5 + length * math.cos(a)),
            width,
            ink,
            d + 0.01,
        )
