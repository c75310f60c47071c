"""Trees as clouds of leaves; one unit high, standing on the origin of their plane."""

import math

import numpy as np

from experiments.synthetic.mesh import Colour, Plane
from experiments.synthetic.palette import Palette, dark, vary

BARK = (0.3, 0.23, 0.17)
GREENS: tuple[Colour, ...] = (
    (0.24, 0.42, 0.16),
    (0.33, 0.48, 0.2),
    (0.2, 0.36, 0.2),
    (0.45, 0.48, 0.2),
    (0.62, 0.42, 0.16),
)


def _leaves(p: Plane, rng: np.random.Generator, centres: np.ndarray, sizes: np.ndarray, green: Colour) -> None:
    """Blots [n, 2] of leaves, lit from above."""
    low, high = centres[:, 1].min(), centres[:, 1].max() + 1e-6
    angles = np.arange(6) * math.pi / 3
    for k, ((u, v), size) in enumerate(zip(centres.tolist(), sizes.tolist(), strict=True)):
        radii = size * rng.uniform(0.7, 1.2, 6)
        turn = angles + rng.uniform(0, 1)
        points = list(zip((u + radii * np.cos(turn)).tolist(), (v + radii * np.sin(turn)).tolist(), strict=True))
        light = 0.5 + 0.55 * (v - low) / (high - low) + 0.4 * k / len(centres) + rng.uniform(-0.14, 0.14)
        p.polygon(points, dark(green, light), 0.0, normal=(0.0, 0.0, 0.0), solid=True)


def broadleaf_tree(p: Plane, rng: np.random.Generator, c: Palette) -> None:
    """A round or broad crown on a trunk that forks."""
    del c
    wide, base, blots = rng.uniform(0.3, 0.46), rng.uniform(0.18, 0.3), 64
    p.polygon([(-0.035, 0), (0.035, 0), (0.02, 0.5), (-0.02, 0.5)], BARK, solid=True)
    for s in (-1, 1):
        p.line((0, base), (s * wide * 0.5, base + 0.28), 0.022, BARK)
    a, r = rng.uniform(0, 2 * math.pi, blots), np.sqrt(rng.random(blots))
    middle, tall = (1 + base) / 2, (1 - base) / 2
    centres = np.stack([wide * r * np.cos(a), middle + tall * 0.88 * r * np.sin(a)], 1)
    centres = centres[np.argsort(-np.abs(r))]
    _leaves(p, rng, centres, rng.uniform(0.05, 0.11, blots), vary(rng, GREENS[rng.integers(5)], 0.12))


def conifer(p: Plane, rng: np.random.Generator, c: Palette) -> None:
    """A dark cone of drooping tiers."""
    del c
    wide, tiers, green = rng.uniform(0.2, 0.3), int(rng.integers(7, 11)), vary(rng, (0.13, 0.29, 0.19), 0.15)
    p.polygon([(-0.025, 0), (0.025, 0), (0.015, 0.3), (-0.015, 0.3)], BARK, solid=True)
    for k in range(tiers):
        v, reach = 0.1 + 0.74 * k / tiers, wide * (1 - k / tiers) + 0.03
        teeth = 7
        foot = [
            (-reach + 2 * reach * j / (2 * teeth), v - (0.03 if j % 2 else -0.015) - 0.02 * abs(j / teeth - 1))
            for j in range(2 * teeth + 1)
        ]
        p.polygon(
            [*foot, (0, v + 0.24)],
            dark(green, rng.uniform(0.75, 1.1) + 0.2 * (k % 2)),
            0.0,
            normal=(0.0, 0.0, 0.0),
            solid=True,
        )


def palm_tree(p: Plane, rng: np.random.Generator, c: Palette) -> None:
    """A bare bent trunk under a crown of fronds."""
    del c
    lean, fronds, green = rng.uniform(-0.12, 0.12), int(rng.integers(9, 14)), vary(rng, (0.28, 0.42, 0.17), 0.12)
    top = (lean, rng.uniform(0.7, 0.8))
    for k in range(6):
        a, b = k / 6, (k + 1) / 6
        p.line(
            (lean * a * a, top[1] * a),
            (lean * b * b, top[1] * b),
            0.04 - 0.012 * a,
            dark((0.46, 0.37, 0.27), 0.8 + 0.3 * (k % 2)),
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
        p.polygon(
            [*bend, *reversed(below[1:])], dark(green, rng.uniform(0.65, 1.25)), 0.0, normal=(0.0, 0.0, 0.0), solid=True
        )


def poplar(p: Plane, rng: np.random.Generator, c: Palette) -> None:
    """A tall narrow flame of leaves."""
    del c
    wide, blots = rng.uniform(0.09, 0.14), 52
    p.polygon([(-0.02, 0), (0.02, 0), (0.015, 0.2), (-0.015, 0.2)], BARK, solid=True)
    v = rng.random(blots)
    half = wide * np.sin(math.pi * np.clip(0.12 + 0.86 * v**0.8, 0, 1))
    centres = np.stack([half * rng.uniform(-1, 1, blots), 0.1 + 0.86 * v], 1)
    _leaves(p, rng, centres, rng.uniform(0.035, 0.06, blots), vary(rng, GREENS[rng.integers(4)], 0.12))
