"""This module draws gates; each is about one unit high and stands on the origin of its plane."""

import math

import numpy as np

from experiments.synthetic.mesh import Plane, opening
from experiments.synthetic.palette import Palette, darken, mix


def triumphal_arch(plane: Plane, rng: np.random.Generator, palette: Palette) -> None:
    """Draws a block with one or three arches, columns and an attic."""
    width, has_three_arches, depth = rng.uniform(0.9, 1.15), rng.random() < 0.5, 0.35
    plane.box(-width / 2, 0, width / 2, 0.76, palette.wall, 0, -depth, texture=palette.wall_texture)
    middle = 0.3 if has_three_arches else 0.4
    arches = [(0.0, middle, 0.62)] + (
        [(-0.32 * width, 0.16, 0.38), (0.32 * width, 0.16, 0.38)] if has_three_arches else []
    )
    for u, w, h in arches:
        local = plane.at(u, 0)
        local.polygon(opening("round", 0, 0, w, h), darken(palette.wall, 0.42))
        local.polygon(
            opening("round", 0.03 * rng.choice([-1, 1]), 0, w * 0.78, h * 0.93),
            mix((0.55, 0.62, 0.68), palette.wall, 0.2),
        )
        local.ring(opening("round", 0, 0, w + 0.06, h + 0.03), opening("round", 0, 0, w, h), palette.trim, 0.01)
    for side in (-1, 1):
        for u in (middle / 2 + 0.05, width / 2 - 0.05):
            plane.box(side * u - 0.035, 0, side * u + 0.035, 0.12, palette.trim, 0.08)
            plane.revolve(
                [(0.035, 0.7), (0.025, 0.66), (0.025, 0.14), (0.032, 0.12)],
                [palette.trim, darken(palette.trim, 0.9)],
                u=side * u,
                d=0.045,
                sides=10,
            )
    plane.box(-width / 2 - 0.04, 0.7, width / 2 + 0.04, 0.77, palette.trim, 0.1, -depth - 0.03)
    plane.box(-width / 2 + 0.02, 0.77, width / 2 - 0.02, 0.97, palette.wall, 0.03, -depth, texture=palette.wall_texture)
    plane.rect(-width * 0.3, 0.81, width * 0.3, 0.93, darken(palette.trim, 0.9), 0.035)
    for k in range(3):
        plane.rect(-width * 0.27, 0.83 + 0.03 * k, width * 0.27, 0.842 + 0.03 * k, darken(palette.trim, 0.55), 0.04)
    plane.box(-width / 2 - 0.02, 0.97, width / 2 + 0.02, 1.0, palette.trim, 0.06, -depth)


def portcullis_gate(plane: Plane, rng: np.random.Generator, palette: Palette) -> None:
    """Draws a castle gate: a grille in an arch between two round turrets."""
    kind, bars = str(rng.choice(["round", "pointed", "segment"])), int(rng.integers(4, 7))
    width = rng.uniform(0.36, 0.46)
    plane.box(-0.4, 0, 0.4, 0.84, palette.wall, 0, -0.3, texture=palette.wall_texture)
    plane.polygon(opening(kind, 0, 0, width, 0.56), (0.06, 0.06, 0.07))
    for k in range(bars):
        u = -width / 2 + width * (k + 0.5) / bars
        top = 0.3 + 0.24 * math.sqrt(max(0, 1 - (2 * u / width) ** 2))
        plane.line((u, 0.12), (u, top), 0.016, mix(palette.metal, (0.5, 0.4, 0.3), 0.4), 0.005)
        plane.polygon([(u - 0.014, 0.12), (u + 0.014, 0.12), (u, 0.08)], palette.metal, 0.005)
    for k in range(4):
        plane.rect(
            -width / 2, 0.16 + 0.09 * k, width / 2, 0.173 + 0.09 * k, mix(palette.metal, (0.5, 0.4, 0.3), 0.4), 0.004
        )
    plane.ring(opening(kind, 0, 0, width + 0.1, 0.61), opening(kind, 0, 0, width, 0.56), palette.trim, 0.015)
    for k in range(5):
        plane.box(-0.36 + 0.16 * k, 0.84, -0.28 + 0.16 * k, 0.92, palette.wall, 0.01, -0.1)
    for side in (-1, 1):
        u = side * 0.42
        shades = [palette.wall, darken(palette.wall, 0.92), darken(palette.wall, 1.05)]
        plane.revolve([(0.15, 0.95), (0.15, 0.88), (0.13, 0.86), (0.13, 0.04), (0.15, 0)], shades, u=u, sides=16)
        plane.rect(u - 0.012, 0.5, u + 0.012, 0.64, (0.05, 0.05, 0.05), 0.134)
        for a in (-0.9, -0.3, 0.3, 0.9):
            plane.at(u + 0.14 * math.sin(a), 0, d=0.14 * math.cos(a)).rect(
                -0.03, 0.95, 0.03, 1.02, palette.wall, solid=True
            )
