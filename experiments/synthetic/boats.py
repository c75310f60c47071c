"""Boats seen from a side; about one unit high, standing on the origin of their plane."""

import math

import numpy as np

from experiments.synthetic.mesh import Colour, Plane, Real, ellipse
from experiments.synthetic.palette import Palette, dark, mix

RUBBER = (0.07, 0.07, 0.08)


def _hull(p: Plane, half: Real, low: Real, deck: Real, sheer: Real, paint: Colour, second: Colour, s: int) -> None:
    """A hull that floats on a strip of water."""
    stern = [(-half * 0.9, low), (half * 0.72, low)]
    hull = [*stern, (half, deck + sheer), (half * 0.4, deck + 0.02), (-half * 0.4, deck), (-half, deck + 0.04)]
    band = [
        (-half * 0.98, deck - 0.03),
        (half * 0.9, deck - 0.01),
        (half, deck + sheer),
        (half * 0.4, deck + 0.02),
        (-half * 0.4, deck),
        (-half, deck + 0.04),
    ]
    p.polygon([(s * x, y) for x, y in hull], paint, normal=(0, -0.1, 1), solid=True)
    p.polygon([(s * x, y) for x, y in band], second, 0.01, normal=(0, 0.2, 1))
    p.polygon(ellipse(0, low, half * 1.05, 0.03), (0.22, 0.3, 0.34), 0.02)
    for k in range(4):
        v = low - 0.03 * (k + 1)
        p.line(
            (-half * (0.8 - 0.15 * k), v), (half * (0.7 - 0.13 * k), v), 0.014, mix(paint, (0.3, 0.4, 0.45), 0.6), 0.02
        )


def sailing_boat(p: Plane, rng: np.random.Generator, c: Palette) -> None:
    """A hull under a mainsail and a jib."""
    s, half, lean = int(rng.choice([-1, 1])), rng.uniform(0.36, 0.5), rng.uniform(-0.05, 0.05)
    sail = (0.94, 0.93, 0.88) if rng.random() < 0.7 else c.second
    p.line((0, 0.16), (lean, 1.0), 0.018, (0.6, 0.5, 0.4))
    p.polygon(
        [(s * -0.03, 0.24), (s * -0.85 * half, 0.26), (lean - s * 0.02, 0.97)][::s],
        sail,
        0.01,
        normal=(0, 0, 0),
        solid=True,
    )
    p.polygon(
        [(s * 0.03, 0.22), (s * 0.9 * half, 0.24), (lean + s * 0.01, 0.86)],
        dark(sail, 0.85),
        0.01,
        normal=(0, 0, 0),
        solid=True,
    )
    for k in range(1, 4):
        share = k / 4
        p.line(
            (s * -0.85 * half * (1 - share), 0.26 + 0.7 * share),
            (lean * share, 0.26 + 0.7 * share),
            0.006,
            dark(sail, 0.7),
            0.012,
        )
    _hull(p, half, 0.08, 0.18, 0.04, c.accent, c.trim, s)


def rowing_boat(p: Plane, rng: np.random.Generator, c: Palette) -> None:
    """A low open hull with oars, maybe with a rower."""
    s, half = int(rng.choice([-1, 1])), rng.uniform(1.0, 1.3)
    if rng.random() < 0.6:
        p.polygon(ellipse(-0.1, 0.68, 0.16, 0.26), c.second, -0.05, solid=True)
        p.disc(-0.1, 1.0, 0.1, (0.8, 0.6, 0.48), -0.05, solid=True)
    _hull(p, half, 0.2, 0.5, 0.14, mix(c.accent, (0.5, 0.3, 0.15), 0.5), dark(c.trim, 0.9), s)
    for side in (-0.7, 0.6):
        p.line((side * 0.3, 0.62), (side * 1.2, 0.12), 0.045, (0.7, 0.55, 0.35), 0.05)
        p.polygon(ellipse(side * 1.24, 0.1, 0.12, 0.05), (0.75, 0.6, 0.4), 0.05, solid=True)


def ferry_boat(p: Plane, rng: np.random.Generator, c: Palette) -> None:
    """A white ship with two decks of windows and a funnel."""
    s, half, decks = int(rng.choice([-1, 1])), rng.uniform(1.1, 1.4), int(rng.integers(1, 3))
    top = 0.42
    for k in range(decks + 1):
        wide = half * (0.82 - 0.18 * k)
        p.box(-wide, top, wide * 0.9, top + 0.18, (0.93, 0.93, 0.9), 0, -0.3, shadow=False)
        for j in range(9):
            u = -wide + 1.9 * wide * (j + 0.5) / 9
            p.rect(u - 0.05, top + 0.05, u + 0.05, top + 0.13, c.glass, 0.004, glow=0.02 + 0.1 * j)
        top += 0.18
    p.box(-s * 0.3 - 0.1, top, -s * 0.3 + 0.1, top + 0.2, c.accent, -0.05, -0.25, shadow=False)
    p.rect(-s * 0.3 - 0.1, top + 0.14, -s * 0.3 + 0.1, top + 0.2, (0.1, 0.1, 0.1), -0.045)
    _hull(p, half, 0.14, 0.42, 0.08, c.second if c.second[0] < 0.6 else (0.12, 0.2, 0.4), c.accent, s)


def cargo_barge(p: Plane, rng: np.random.Generator, c: Palette) -> None:
    """A long low hull with containers or heaps and a small wheelhouse."""
    s, half = int(rng.choice([-1, 1])), rng.uniform(1.7, 2.1)
    boxes = rng.random() < 0.6
    for k in range(5):
        u0, u1 = sorted((s * half * (-0.4 + 0.24 * k), s * half * (-0.4 + 0.24 * (k + 0.92))))
        if boxes:
            for j in range(int(rng.integers(1, 3))):
                shade = mix((c.accent, c.second, c.roof)[int(rng.integers(3))], (0.5, 0.4, 0.3), 0.2)
                p.box(u0, 0.42 + 0.2 * j, u1, 0.61 + 0.2 * j, shade, 0, -0.4, shadow=False)
        else:
            p.polygon(
                ellipse((u0 + u1) / 2, 0.42, (u1 - u0) * 0.7, 0.24, 0, math.pi), dark(c.wall, 0.7 + 0.1 * k), solid=True
            )
    u = -s * half * 0.72
    p.box(u - 0.26, 0.42, u + 0.26, 0.95, (0.92, 0.92, 0.9), 0, -0.4, shadow=False)
    p.rect(u - 0.22, 0.7, u + 0.22, 0.86, c.glass, 0.004, glow=0.1)
    _hull(p, half, 0.2, 0.44, 0.06, (0.18, 0.18, 0.2), c.accent, s)
