"""Cars, buses and trams seen from a side; about one unit high, standing on the origin of their plane."""

import itertools
import math

import numpy as np

from experiments.synthetic.mesh import Colour, Plane, Point, Real
from experiments.synthetic.palette import Palette, dark, mix

RUBBER = (0.07, 0.07, 0.08)


def _wheels(p: Plane, places: list[Real], radius: Real, d: Real) -> None:
    for u in places:
        p.disc(u, radius, radius, RUBBER, d, solid=True)
        p.disc(u, radius, radius * 0.58, (0.6, 0.6, 0.62), d + 0.01)
        p.disc(u, radius, radius * 0.2, (0.25, 0.25, 0.26), d + 0.015)


def _body(
    p: Plane,
    lower: list[Point],
    cabin: list[Point],
    panes: list[list[Point]],
    paint: Colour,
    c: Palette,
    rng: np.random.Generator,
) -> None:
    """Sides with depth: an outline drawn at the back, its edge, and at the front."""
    depth = 0.9
    for outline, colour in ((lower, paint), (cabin, dark(paint, 0.95))):
        points = outline + outline[:1]
        for (a, b), (a1, b1) in itertools.pairwise(points):
            length = max(math.hypot(a1 - a, b1 - b), 1e-6)
            p.surface(
                [(a, b, -depth), (a1, b1, -depth), (a1, b1, 0), (a, b, 0)],
                dark(colour, 0.9),
                ((b1 - b) / length, (a - a1) / length, 0.0),
            )
    p.polygon(lower, paint, solid=True)
    p.polygon(cabin, dark(paint, 0.95), solid=True)
    for pane in panes:
        p.polygon(pane, dark(c.glass, rng.uniform(0.8, 1.3)), 0.005, glow=rng.uniform(0.3, 1))


def _car(
    p: Plane, rng: np.random.Generator, c: Palette, half: Real, hood: Real, cabin: list[Point], split: list[Real]
) -> None:
    s = int(rng.choice([-1, 1]))
    lower: list[Point] = [
        (-half, 0.2),
        (half, 0.2),
        (half, 0.42),
        (half * 0.96, hood),
        (-half * 0.96, 0.56),
        (-half, 0.44),
    ]
    inner = [(0.92 * x + 0.08 * cabin[0][0] * 0, 0.56 + (y - 0.56) * 0.84) for x, y in cabin]
    panes = []
    for a, b in itertools.pairwise(split):
        (x0, _), (x1, _), (x2, y2), (x3, _) = inner
        top, bottom = y2, 0.58
        panes.append(
            [
                (x0 + (x1 - x0) * a, bottom),
                (x0 + (x1 - x0) * b, bottom),
                (x3 + (x2 - x3) * b, top),
                (x3 + (x2 - x3) * a, top),
            ]
        )

    def flip(points: list[Point]) -> list[Point]:
        return points if s > 0 else [(-x, y) for x, y in reversed(points)]

    _body(p, flip(lower), flip(cabin), [flip(pane) for pane in panes], c.accent, c, rng)
    p.rect(-half, 0.2, half, 0.25, dark(c.accent, 0.5), 0.004)
    for k in (-0.1, 0.35):
        p.line((s * half * k, 0.26), (s * half * k, 0.56), 0.008, dark(c.accent, 0.6), 0.006)
    p.rect(
        min(s * half * 0.9, s * half),
        0.38,
        max(s * half * 0.9, s * half),
        0.46,
        (0.95, 0.93, 0.8),
        0.006,
        glow=0.01,
    )
    p.rect(min(-s * half * 0.92, -s * half), 0.38, max(-s * half * 0.92, -s * half), 0.46, (0.75, 0.1, 0.08), 0.006)
    _wheels(p, [-half * 0.64, half * 0.64], 0.2, 0.01)


def sedan_car(p: Plane, rng: np.random.Generator, c: Palette) -> None:
    """Three boxes: bonnet, cabin, boot."""
    half = rng.uniform(1.4, 1.6)
    _car(
        p,
        rng,
        c,
        half,
        0.52,
        [(-half * 0.62, 0.55), (half * 0.42, 0.55), (half * 0.16, 0.95), (-half * 0.34, 0.95)],
        [0.02, 0.42, 0.47, 0.96],
    )


def hatchback_car(p: Plane, rng: np.random.Generator, c: Palette) -> None:
    """Two boxes, short, with a steep tail."""
    half = rng.uniform(1.0, 1.15)
    _car(
        p,
        rng,
        c,
        half,
        0.54,
        [(-half * 0.96, 0.55), (half * 0.5, 0.55), (half * 0.14, 1.0), (-half * 0.8, 1.0)],
        [0.03, 0.35, 0.4, 0.66, 0.7, 0.97],
    )


def pickup_truck(p: Plane, rng: np.random.Generator, c: Palette) -> None:
    """A cabin before an open bed."""
    half = rng.uniform(1.4, 1.6)
    _car(
        p,
        rng,
        c,
        half,
        0.58,
        [(-half * 0.16, 0.55), (half * 0.5, 0.55), (half * 0.32, 1.0), (-half * 0.12, 1.0)],
        [0.04, 0.5, 0.55, 0.95],
    )
    p.rect(-half * 0.9, 0.5, -half * 0.2, 0.56, dark(c.accent, 0.6), 0.004)
    if rng.random() < 0.5:
        for s in (-0.8, -0.5):
            p.box(half * s - 0.14, 0.56, half * s + 0.14, 0.72, (0.5, 0.38, 0.24), -0.1, -0.6)


def delivery_van(p: Plane, rng: np.random.Generator, c: Palette) -> None:
    """A tall closed box with a sloped front."""
    half = rng.uniform(1.05, 1.25)
    paint = (0.93, 0.93, 0.92) if rng.random() < 0.4 else c.accent
    s = int(rng.choice([-1, 1]))
    body = [(-half, 0.14), (half, 0.14), (half, 0.46), (half * 0.84, 0.56), (half * 0.62, 1.0), (-half, 1.0)]
    pane = [(half * 0.32, 0.58), (half * 0.76, 0.58), (half * 0.6, 0.9), (half * 0.32, 0.9)]
    if s < 0:
        body, pane = [(-x, y) for x, y in reversed(body)], [(-x, y) for x, y in reversed(pane)]
    _body(p, body, body, [pane], paint, c, rng)
    p.rect(-half * 0.75 if s > 0 else -half * 0.2, 0.42, half * 0.2 if s > 0 else half * 0.75, 0.66, c.second, 0.006)
    p.rect(-half * 0.65 if s > 0 else -half * 0.1, 0.51, half * 0.1 if s > 0 else half * 0.65, 0.57, paint, 0.008)
    _wheels(p, [-half * 0.62, half * 0.62], 0.16, 0.01)


def _coach(
    p: Plane,
    rng: np.random.Generator,
    c: Palette,
    half: Real,
    rows: tuple[tuple[Real, Real], ...],
    paint: Colour,
    doors: int,
) -> None:
    """A long box with bands of windows."""
    body: list[Point] = [
        (-half, 0.1),
        (half, 0.1),
        (half, 0.95),
        (half * 0.97, 1.0),
        (-half * 0.97, 1.0),
        (-half, 0.95),
    ]
    _body(p, body, body, [], paint, c, rng)
    p.rect(-half, 0.1, half, 0.24, mix(c.second, paint, 0.2), 0.004)
    count = int(rng.integers(6, 10))
    for v0, v1 in rows:
        p.rect(-half * 0.97, v0 - 0.01, half * 0.97, v1 + 0.01, dark(paint, 0.4), 0.004)
        for k in range(count):
            u0 = -half * 0.95 + 1.9 * half * k / count
            p.rect(
                u0 + 0.02,
                v0,
                u0 + 1.9 * half / count - 0.02,
                v1,
                dark(c.glass, rng.uniform(0.9, 1.5)),
                0.006,
                glow=0.02,
            )
    for k in range(doors):
        u = half * (-0.55 + 1.3 * k / max(1, doors - 0.5))
        p.rect(u - 0.1, 0.14, u + 0.1, rows[0][1], dark(c.glass, 0.8), 0.008, glow=0.03)
        p.line((u, 0.14), (u, rows[0][1]), 0.014, dark(paint, 0.5), 0.01)


def city_bus(p: Plane, rng: np.random.Generator, c: Palette) -> None:
    """One row of windows, doors, two axles."""
    half = rng.uniform(1.5, 1.85)
    _coach(p, rng, c, half, ((0.5, 0.84),), c.accent, 2)
    p.rect(half * 0.5, 0.87, half * 0.95, 0.96, (0.1, 0.1, 0.1), 0.006)
    p.rect(half * 0.6, 0.89, half * 0.85, 0.94, (0.95, 0.7, 0.1), 0.008, glow=0.01)
    _wheels(p, [-half * 0.6, half * 0.66], 0.15, 0.012)


def double_decker_bus(p: Plane, rng: np.random.Generator, c: Palette) -> None:
    """Two rows of windows."""
    half = rng.uniform(0.95, 1.15)
    paint = (0.75, 0.08, 0.1) if rng.random() < 0.5 else c.accent
    _coach(p, rng, c, half, ((0.32, 0.5), (0.68, 0.87)), paint, 1)
    p.rect(-half * 0.7, 0.53, half * 0.7, 0.64, c.second, 0.006)
    _wheels(p, [-half * 0.58, half * 0.6], 0.11, 0.012)


def tram(p: Plane, rng: np.random.Generator, c: Palette) -> None:
    """Two linked cars with a pantograph, on rails."""
    half = rng.uniform(1.7, 2.1)
    p.rect(-half * 1.3, -0.01, half * 1.3, 0.02, (0.3, 0.28, 0.26), -0.2)
    q = p.at(0, 0, 0.86)
    _coach(q, rng, c, half, ((0.44, 0.82),), mix(c.accent, (0.9, 0.88, 0.8), 0.15), 3)
    q.rect(-0.06, 0.1, 0.06, 1.0, (0.15, 0.15, 0.16), 0.012)
    q.rect(-half, 0.86, half, 0.93, (0.92, 0.9, 0.84), 0.012)
    for a, b in (((-0.3, 0.87), (-0.5, 0.95)), ((-0.5, 0.95), (-0.25, 1.04)), ((-0.45, 1.04), (-0.05, 1.04))):
        p.line(a, b, 0.02, (0.15, 0.15, 0.15), -0.3)
    p.line((-half * 1.3, 1.06), (half * 1.3, 1.06), 0.012, (0.1, 0.1, 0.1), -0.3)
    _wheels(p, [-half * 0.62, -half * 0.5, half * 0.4, half * 0.52], 0.06, 0.012)


def lorry(p: Plane, rng: np.random.Generator, c: Palette) -> None:
    """A cab before a tall load."""
    half, s = rng.uniform(1.2, 1.5), int(rng.choice([-1, 1]))
    cargo = [(-half, 0.22), (half * 0.5, 0.22), (half * 0.5, 1.0), (-half, 1.0)]
    cab = [(half * 0.56, 0.12), (half, 0.12), (half, 0.48), (half * 0.92, 0.82), (half * 0.56, 0.82)]
    pane = [(half * 0.68, 0.5), (half * 0.95, 0.5), (half * 0.88, 0.76), (half * 0.68, 0.76)]
    if s < 0:
        cargo, cab, pane = ([(-x, y) for x, y in reversed(points)] for points in (cargo, cab, pane))
    p.box(-half, 0.14, half, 0.22, (0.12, 0.12, 0.12), -0.05, -0.85, shadow=False)
    _body(p, cargo, cab, [pane], c.second if rng.random() < 0.5 else (0.85, 0.85, 0.83), c, rng)
    p.polygon(cab, c.accent, 0.004)
    p.polygon(pane, c.glass, 0.008, glow=0.5)
    for k in range(1, 6):
        u = s * (-half + 1.5 * half * k / 6)
        p.line((u, 0.24), (u, 0.98), 0.012, (0.55, 0.55, 0.55), 0.004)
    _wheels(p, [-s * half * 0.75, -s * half * 0.45, s * half * 0.76], 0.13, 0.012)
