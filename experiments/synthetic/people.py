"""People; about one unit high, standing on the origin of their plane."""

import math

import numpy as np

from experiments.synthetic.mesh import Colour, Plane, Real, ellipse
from experiments.synthetic.palette import Palette, dark, mix, vary

SKIN: tuple[Colour, ...] = ((0.87, 0.69, 0.57), (0.72, 0.52, 0.38), (0.45, 0.31, 0.22), (0.93, 0.77, 0.66))


def standing_person(p: Plane, rng: np.random.Generator, c: Palette) -> None:
    """One person who stands or walks."""
    _figure(p, rng, 0.0, c.accent, c.second, 1.0)


def _figure(p: Plane, rng: np.random.Generator, u: Real, top: Colour, legs: Colour, height: Real) -> None:
    stride, skin, skirt = rng.uniform(0.02, 0.09), SKIN[rng.integers(4)], rng.random() < 0.3
    hair = vary(rng, ((0.1, 0.07, 0.05), (0.4, 0.27, 0.13), (0.7, 0.6, 0.4), (0.5, 0.5, 0.5))[rng.integers(4)])
    q = p.at(u, 0, height)
    for s in (-1, 1):
        q.line((s * 0.03, 0.5), (s * stride, 0.03), 0.068, dark(legs, 1 if s > 0 else 0.8), 0.005)
        q.polygon(ellipse(s * stride + 0.015, 0.02, 0.045, 0.022), (0.08, 0.07, 0.07), 0.006, solid=True)
    if skirt:
        q.polygon([(-0.12, 0.28), (0.12, 0.28), (0.07, 0.56), (-0.07, 0.56)], top, 0.01, normal=(0, 0, 0), solid=True)
    q.polygon(
        [(-0.08, 0.46), (0.08, 0.46), (0.105, 0.8), (0.04, 0.85), (-0.04, 0.85), (-0.105, 0.8)], top, 0.012, solid=True
    )
    swing = rng.uniform(0.0, 0.08)
    for s in (-1, 1):
        q.line((s * 0.1, 0.79), (s * (0.12 + swing), 0.6), 0.045, dark(top, 0.85), 0.014)
        q.line((s * (0.12 + swing), 0.6), (s * 0.12, 0.46), 0.04, (skin if skirt else dark(top, 0.85)), 0.014)
    q.polygon(ellipse(0, 0.92, 0.052, 0.068), skin, 0.016, solid=True)
    q.polygon(ellipse(0, 0.945, 0.058, 0.055, 0 if rng.random() < 0.6 else -1.0, math.pi), hair, 0.018, solid=True)


def umbrella_person(p: Plane, rng: np.random.Generator, c: Palette) -> None:
    """A person under an open umbrella."""
    s, lean = int(rng.choice([-1, 1])), rng.uniform(-0.06, 0.06)
    _figure(p, rng, 0.0, c.second, mix(c.metal, (0.2, 0.2, 0.3), 0.5), 0.8)
    p.line((s * 0.1, 0.42), (s * 0.06 + lean, 0.95), 0.014, (0.2, 0.2, 0.2), 0.02)
    u = s * 0.06 + lean
    canopy = ellipse(u, 0.74, 0.32, 0.26, 0, math.pi)
    p.polygon(canopy, c.accent, 0.03, solid=True)
    for k in range(1, 4):
        x = u - 0.32 + 0.16 * k
        p.line((x, 0.74), (u, 0.99), 0.008, dark(c.accent, 0.6), 0.032)
        p.disc(x - 0.08, 0.735, 0.06, dark(c.accent, 0.6), 0.02)


def cyclist(p: Plane, rng: np.random.Generator, c: Palette) -> None:
    """A rider on a bicycle."""
    s, skin = int(rng.choice([-1, 1])), SKIN[rng.integers(4)]
    for u in (-0.3, 0.3):
        p.ring(ellipse(u, 0.2, 0.2, 0.2), ellipse(u, 0.2, 0.175, 0.175), (0.08, 0.08, 0.08), 0.0)
        for k in range(3):
            a = k * math.pi / 3
            p.line(
                (u - 0.18 * math.cos(a), 0.2 - 0.18 * math.sin(a)),
                (u + 0.18 * math.cos(a), 0.2 + 0.18 * math.sin(a)),
                0.006,
                (0.5, 0.5, 0.5),
            )
    frame = (
        ((-0.3, 0.2), (-0.12, 0.48)),
        ((-0.3, 0.2), (0.0, 0.2)),
        ((0.0, 0.2), (-0.12, 0.48)),
        ((0.0, 0.2), (0.22, 0.46)),
        ((-0.12, 0.46), (0.22, 0.46)),
        ((0.3, 0.2), (0.2, 0.56)),
    )
    for start, end in frame:
        p.line((s * start[0], start[1]), (s * end[0], end[1]), 0.022, c.second, 0.01)
    p.line((s * -0.12, 0.52), (s * 0.06, 0.36), 0.07, dark(c.metal, 0.8), 0.02)
    p.line((s * 0.06, 0.36), (s * 0.0, 0.15), 0.055, dark(c.metal, 0.8), 0.02)
    p.line((s * -0.12, 0.52), (s * 0.05, 0.8), 0.13, c.accent, 0.022)
    p.line((s * 0.05, 0.78), (s * 0.22, 0.58), 0.045, dark(c.accent, 0.85), 0.024)
    p.polygon(ellipse(s * 0.1, 0.91, 0.06, 0.075), skin, 0.024, solid=True)
    p.polygon(ellipse(s * 0.09, 0.94, 0.07, 0.06, 0, math.pi), c.second, 0.026, solid=True)


def people_group(p: Plane, rng: np.random.Generator, c: Palette) -> None:
    """Three to five people close together."""
    count = int(rng.integers(3, 6))
    for k in range(count):
        colours = [
            vary(rng, (c.accent, c.second, c.wall, c.door, c.roof)[int(i)], 0.15) for i in rng.integers(5, size=2)
        ]
        _figure(
            p.at(0, 0, d=-0.1 * rng.random()),
            rng,
            0.24 * (k - (count - 1) / 2) + rng.uniform(-0.05, 0.05),
            colours[0],
            colours[1],
            rng.uniform(0.78, 1.0),
        )
