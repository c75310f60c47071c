"""This module draws signs and fences; each is about one unit high and stands on the origin of its plane."""

import itertools
import math

import numpy as np

from experiments.synthetic.mesh import Plane
from experiments.synthetic.palette import Palette, darken, mix, vary


def warning_sign(plane: Plane, rng: np.random.Generator, palette: Palette) -> None:
    """Draws a triangle with a red rim on a pole."""
    del palette
    plane.line((0, 0), (0, 0.7), 0.028, (0.6, 0.6, 0.62))
    size = rng.uniform(0.22, 0.28)
    outer = [(-size, 0.56), (size, 0.56), (0, 0.56 + 1.7 * size)]
    plane.polygon(outer, (0.8, 0.1, 0.1), 0.02, solid=True)
    inner = [(x * 0.68, 0.56 + 0.57 * size + (y - 0.56 - 0.57 * size) * 0.68) for x, y in outer]
    plane.polygon(inner, (0.95, 0.93, 0.85) if rng.random() < 0.6 else (0.95, 0.8, 0.15), 0.022)
    plane.rect(-0.02, 0.66, 0.02, 0.56 + size * 0.9, (0.05, 0.05, 0.05), 0.024)


def round_sign(plane: Plane, rng: np.random.Generator, palette: Palette) -> None:
    """Draws a red or blue disc with a bar, an arrow or a rim, on a pole."""
    del palette
    plane.line((0, 0), (0, 0.8), 0.028, (0.6, 0.6, 0.62))
    is_red, size, kind = rng.random() < 0.6, rng.uniform(0.18, 0.24), int(rng.integers(3))
    colour = (0.8, 0.1, 0.12) if is_red else (0.1, 0.28, 0.7)
    plane.disc(0, 0.78, size, colour, 0.02, solid=True)
    if kind == 0:
        plane.rect(-size * 0.7, 0.78 - size * 0.16, size * 0.7, 0.78 + size * 0.16, (0.95, 0.95, 0.95), 0.022)
    elif kind == 1:
        plane.disc(0, 0.78, size * 0.72, (0.95, 0.95, 0.92), 0.022)
        plane.line((-size * 0.3, 0.72), (size * 0.3, 0.84), 0.04, (0.1, 0.1, 0.1), 0.024)
    else:
        plane.line((0, 0.68), (0, 0.84), 0.045, (0.95, 0.95, 0.95), 0.022)
        plane.polygon([(-0.07, 0.82), (0.07, 0.82), (0, 0.92)], (0.95, 0.95, 0.95), 0.022)


def street_sign(plane: Plane, rng: np.random.Generator, palette: Palette) -> None:
    """Draws two name plates on a pole."""
    plane.line((0, 0), (0, 1), 0.03, palette.metal)
    colour = ((0.1, 0.4, 0.22), (0.1, 0.2, 0.55), (0.92, 0.92, 0.9))[rng.integers(3)]
    ink = (0.1, 0.1, 0.1) if colour[0] > 0.5 else (0.95, 0.95, 0.95)
    for v, shift in ((0.84, rng.uniform(-0.1, 0.3)), (0.66, rng.uniform(-0.3, 0.1))):
        plane.box(shift - 0.4, v, shift + 0.4, v + 0.14, colour, 0.03, 0.01, shadow=False)
        u = shift - 0.34
        while u < shift + 0.3:
            width = rng.uniform(0.02, 0.06)
            plane.rect(u, v + 0.04, u + width, v + 0.1, ink, 0.031)
            u += width + 0.02


def signpost(plane: Plane, rng: np.random.Generator, palette: Palette) -> None:
    """Draws a post with arrows that point several ways."""
    wood = mix(palette.metal, (0.5, 0.34, 0.2), 0.6)
    plane.line((0, 0), (0, 1), 0.045, wood)
    for k in range(int(rng.integers(3, 5))):
        facing, v, length = int(rng.choice([-1, 1])), 0.86 - 0.17 * k, rng.uniform(0.3, 0.48)
        board = [(-0.08, v - 0.06), (length, v - 0.06), (length + 0.09, v), (length, v + 0.06), (-0.08, v + 0.06)]
        plane.polygon(
            [(facing * x, y) for x, y in board],
            (palette.trim, palette.accent)[k % 2],
            0.03,
            normal=(0, 0, 0),
            solid=True,
        )
        plane.line((facing * 0.02, v), (facing * length * 0.8, v), 0.025, darken(palette.metal, 0.6), 0.035)


def picket_fence(plane: Plane, rng: np.random.Generator, palette: Palette) -> None:
    """Draws pointed boards on two rails."""
    count, paint = (
        int(rng.integers(7, 12)),
        mix(palette.trim, (0.95, 0.95, 0.93), 0.5) if rng.random() < 0.7 else palette.accent,
    )
    for v in (0.25, 0.65):
        plane.line((-1.1, v), (1.1, v), 0.07, darken(paint, 0.75), -0.02)
    for k in range(count):
        u, w = -1.1 + 2.2 * (k + 0.5) / count, 0.7 / count
        plane.polygon(
            [(u - w, 0), (u + w, 0), (u + w, 0.86), (u, 1), (u - w, 0.86)], vary(rng, paint, 0.03), 0.01, solid=True
        )


def wire_fence(plane: Plane, rng: np.random.Generator, palette: Palette) -> None:
    """Draws a diagonal wire mesh between posts."""
    step, grey = rng.uniform(0.14, 0.24), mix(palette.metal, (0.6, 0.65, 0.62), 0.6)
    for u in (-1.1, 0, 1.1):
        plane.line((u, 0), (u, 1.04), 0.06, grey, 0.01)
    u = -1.1 - 1.0
    while u < 1.1:
        for a, b in (((u, 0.0), (u + 1.0, 1.0)), ((u, 1.0), (u + 1.0, 0.0))):
            low, high = max(a[0], -1.1), min(b[0], 1.1)
            plane.line(
                (low, a[1] + (b[1] - a[1]) * (low - a[0])), (high, a[1] + (b[1] - a[1]) * (high - a[0])), 0.02, grey
            )
        u += step
    plane.line((-1.1, 1), (1.1, 1), 0.04, grey)


def chain_bollards(plane: Plane, rng: np.random.Generator, palette: Palette) -> None:
    """Draws short posts joined by hanging chains."""
    count, colour = int(rng.integers(3, 5)), palette.metal if rng.random() < 0.6 else palette.trim
    step = 2.2 / (count - 1)
    for k in range(count):
        u = -1.1 + step * k
        if k < count - 1:
            chain = [(u + step * t / 8, 0.72 - 0.32 * math.sin(math.pi * t / 8)) for t in range(9)]
            for a, b in itertools.pairwise(chain):
                plane.line(a, b, 0.045, (0.2, 0.2, 0.2))
        plane.revolve(
            [(0.02, 1), (0.1, 0.94), (0.11, 0.86), (0.07, 0.78), (0.09, 0.1), (0.14, 0)], [colour], u=u, sides=8
        )
