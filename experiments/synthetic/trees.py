"""This module draws trees as clouds of leaves; each is one unit high and stands on the origin of its plane."""

import math

import numpy as np

from experiments.synthetic.mesh import Colour, Plane
from experiments.synthetic.palette import Palette, darken, vary

BARK = (0.3, 0.23, 0.17)
GREENS: tuple[Colour, ...] = (
    (0.24, 0.42, 0.16),
    (0.33, 0.48, 0.2),
    (0.2, 0.36, 0.2),
    (0.45, 0.48, 0.2),
    (0.62, 0.42, 0.16),
)


def _draw_leaves(plane: Plane, rng: np.random.Generator, centres: np.ndarray, sizes: np.ndarray, green: Colour) -> None:
    """Draws blots of leaves around centres, shape [n, 2]; higher blots are lighter."""
    low, high = centres[:, 1].min(), centres[:, 1].max() + 1e-6
    angles = np.arange(6) * math.pi / 3
    for k, ((u, v), size) in enumerate(zip(centres.tolist(), sizes.tolist(), strict=True)):
        radii = size * rng.uniform(0.7, 1.2, 6)
        turn = angles + rng.uniform(0, 1)
        points = list(zip((u + radii * np.cos(turn)).tolist(), (v + radii * np.sin(turn)).tolist(), strict=True))
        light = 0.5 + 0.55 * (v - low) / (high - low) + 0.4 * k / len(centres) + rng.uniform(-0.14, 0.14)
        plane.polygon(points, darken(green, light), 0.0, normal=(0.0, 0.0, 0.0), solid=True)


def broadleaf_tree(plane: Plane, rng: np.random.Generator, palette: Palette) -> None:
    """Draws a round or broad crown on a trunk that forks."""
    del palette
    wide, base, blots = rng.uniform(0.3, 0.46), rng.uniform(0.18, 0.3), 64
    plane.polygon([(-0.035, 0), (0.035, 0), (0.02, 0.5), (-0.02, 0.5)], BARK, solid=True)
    for side in (-1, 1):
        plane.line((0, base), (side * wide * 0.5, base + 0.28), 0.022, BARK)
    a, r = rng.uniform(0, 2 * math.pi, blots), np.sqrt(rng.random(blots))
    middle, tall = (1 + base) / 2, (1 - base) / 2
    centres = np.stack([wide * r * np.cos(a), middle + tall * 0.88 * r * np.sin(a)], 1)
    centres = centres[np.argsort(-np.abs(r))]
    _draw_leaves(plane, rng, centres, rng.uniform(0.05, 0.11, blots), vary(rng, GREENS[rng.integers(5)], 0.12))


def conifer(plane: Plane, rng: np.random.Generator, palette: Palette) -> None:
    """Draws a dark cone of drooping tiers."""
    del palette
    wide, tiers, green = rng.uniform(0.2, 0.3), int(rng.integers(7, 11)), vary(rng, (0.13, 0.29, 0.19), 0.15)
    plane.polygon([(-0.025, 0), (0.025, 0), (0.015, 0.3), (-0.015, 0.3)], BARK, solid=True)
    for k in range(tiers):
        v, reach = 0.1 + 0.74 * k / tiers, wide * (1 - k / tiers) + 0.03
        teeth = 7
        foot = [
            (-reach + 2 * reach * j / (2 * teeth), v - (0.03 if j % 2 else -0.015) - 0.02 * abs(j / teeth - 1))
            for j in range(2 * teeth + 1)
        ]
        plane.polygon(
            [*foot, (0, v + 0.24)],
            darken(green, rng.uniform(0.75, 1.1) + 0.2 * (k % 2)),
            0.0,
            normal=(0.0, 0.0, 0.0),
            solid=True,
        )


def palm_tree(plane: Plane, rng: np.random.Generator, palette: Palette) -> None:
    """Draws a bare bent trunk under a crown of fronds."""
    del palette
    lean, fronds, green = rng.uniform(-0.12, 0.12), int(rng.integers(9, 14)), vary(rng, (0.28, 0.42, 0.17), 0.12)
    top = (lean, rng.uniform(0.7, 0.8))
    for k in range(6):
        a, b = k / 6, (k + 1) / 6
        plane.line(
            (lean * a * a, top[1] * a),
            (lean * b * b, top[1] * b),
            0.04 - 0.012 * a,
            darken((0.46, 0.37, 0.27), 0.8 + 0.3 * (k % 2)),
        )
    for k in range(fronds):
        angle = -0.5 + (math.pi + 1.0) * (k + rng.uniform(0, 0.6)) / fronds
        length = rng.uniform(0.22, 0.32)
        bend = [
            (
                top[0] + length * t * math.cos(angle),
                top[1] + length * (t * math.sin(angle) * 0.9 - 0.55 * t * t + 0.12 * t),
            )
            for t in (0.0, 0.35, 0.7, 1.0)
        ]
        below = [(u, v - 0.07 * math.sin(math.pi * min(1, 0.25 + j / 4))) for j, (u, v) in enumerate(bend)]
        plane.polygon(
            [*bend, *reversed(below[1:])],
            darken(green, rng.uniform(0.65, 1.25)),
            0.0,
            normal=(0.0, 0.0, 0.0),
            solid=True,
        )


def poplar(plane: Plane, rng: np.random.Generator, palette: Palette) -> None:
    """Draws a tall narrow flame of leaves."""
    del palette
    wide, blots = rng.uniform(0.09, 0.14), 52
    plane.polygon([(-0.02, 0), (0.02, 0), (0.015, 0.2), (-0.015, 0.2)], BARK, solid=True)
    v = rng.random(blots)
    half = wide * np.sin(math.pi * np.clip(0.12 + 0.86 * v**0.8, 0, 1))
    centres = np.stack([half * rng.uniform(-1, 1, blots), 0.1 + 0.86 * v], 1)
    _draw_leaves(plane, rng, centres, rng.uniform(0.035, 0.06, blots), vary(rng, GREENS[rng.integers(4)], 0.12))
