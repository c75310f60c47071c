"""Bridges; about one unit high and two to three wide, standing on the origin of their plane."""

import itertools
import math

import numpy as np

from experiments.synthetic.mesh import Plane, Point, Real, ellipse
from experiments.synthetic.palette import Palette, dark

DEPTH = 0.4


def stone_arch_bridge(p: Plane, rng: np.random.Generator, c: Palette) -> None:
    """Arches of masonry under a parapet that rises to the middle."""
    arches, rise, half = int(rng.integers(2, 5)), rng.uniform(0.0, 0.25), 1.4
    sag, pier = rng.uniform(0.6, 1.0), rng.uniform(0.12, 0.2)
    bay = 2 * half / arches

    def deck(u: Real) -> float:
        return 0.75 + rise * (1 - (u / half) ** 2)

    steps = [-half + 2 * half * k / 12 for k in range(13)]
    outline: list[Point] = [(-half, 0), (half, 0), *[(u, deck(u)) for u in reversed(steps)]]
    soffits = []
    for k in range(arches):
        u = -half + bay * (k + 0.5)
        soffits.append((u, bay * (1 - pier) / 2, min(deck(u) - 0.16, bay / 2 * sag + 0.1)))
    p.polygon(outline, c.wall, texture=c.wall_texture, solid=True)
    for u, radius, top in soffits:
        arch = [(u - radius, 0.0), *reversed(ellipse(u, 0.1, radius, top - 0.1, 0, math.pi)), (u + radius, 0.0)]
        p.polygon(arch, dark(c.wall, 0.35))
        through = [(u + (x - u) * 0.86 + 0.03, y * 0.93) for x, y in arch]
        p.polygon(through, (0.5, 0.58, 0.62))
        p.polygon(
            [
                (x, y)
                for x, y in [
                    (u - radius * 0.86, 0.0),
                    (u + radius * 0.86, 0.0),
                    (u + radius * 0.86, 0.08),
                    (u - radius * 0.86, 0.08),
                ]
            ],
            (0.25, 0.32, 0.34),
        )
        outer = [(u + (x - u) * 1.1, y * 1.06) for x, y in arch]
        p.ring(outer, arch, c.trim, 0.015)
    for k in range(arches + 1):
        u = -half + bay * k
        p.box(u - bay * pier / 2, 0, u + bay * pier / 2, 0.24, c.wall, 0.12)
    for a, b in itertools.pairwise(steps):
        for lift, d, colour in ((0.0, 0.05, c.trim), (0.15, 0.04, dark(c.wall, 1.05))):
            low = [
                (a, deck(a) + lift - (0.04 if not lift else 0.15)),
                (b, deck(b) + lift - (0.04 if not lift else 0.15)),
            ]
            p.polygon([*low, (b, deck(b) + lift), (a, deck(a) + lift)], colour, d, solid=True)


def suspension_bridge(p: Plane, rng: np.random.Generator, c: Palette) -> None:
    """Two portals, a hanging cable and a thin deck."""
    half, tower, deck = 1.6, rng.uniform(0.75, 0.95), rng.uniform(0.26, 0.36)
    place, steel = rng.uniform(0.75, 0.95), c.accent
    p.box(-half, deck - 0.05, half, deck, steel, 0.0, -DEPTH)
    for back in (-DEPTH, 0.0):
        q = p.at(0, 0, d=back)
        for s in (-1, 1):
            q.box(
                s * place - 0.05, 0, s * place + 0.05, 1, c.trim if tower > 0.85 else steel, 0.03, -0.03, shadow=False
            )
            q.line((s * place, 0.97), (s * half, deck + 0.02), 0.022, steel, 0.02)
        points = [(u, deck + 0.05 + (0.92 - deck) * (u / place) ** 2) for u in np.linspace(-place, place, 13).tolist()]
        for a, b in itertools.pairwise(points):
            q.line(a, b, 0.024, steel, 0.02)
            q.line(b, (b[0], deck), 0.009, steel, 0.02)
        for s in (-1, 1):
            for k in range(1, 5):
                u = place + (half - place) * k / 5
                q.line((s * u, deck), (s * u, 0.97 + (deck - 0.95) * k / 5), 0.009, steel, 0.02)
    for s in (-1, 1):
        for v in (deck - 0.1, 0.6, 0.92):
            p.box(s * place - 0.045, v, s * place + 0.045, v + 0.06, steel, 0, -DEPTH, shadow=False)
        p.box(s * place - 0.12, 0, s * place + 0.12, 0.1, c.wall, 0.08, -DEPTH - 0.08)


def truss_bridge(p: Plane, rng: np.random.Generator, c: Palette) -> None:
    """Two trusses of steel triangles on stone piers, maybe with a curved top."""
    bays, half, curved = int(rng.integers(6, 11)), 1.5, rng.random() < 0.5
    steel, crossed = c.accent if rng.random() < 0.6 else c.metal, rng.random() < 0.4

    def top(u: Real) -> float:
        return 0.5 + (0.45 * (1 - (u / half) ** 2) if curved else 0.38)

    for s in (-0.96, 0.0, 0.96)[:: int(rng.integers(1, 3))]:
        p.box(s * half - 0.1, 0, s * half + 0.1, 0.38, c.wall, 0.05, -DEPTH - 0.05, texture=c.wall_texture)
    p.box(-half, 0.38, half, 0.45, steel, 0.02, -DEPTH)
    for back in (-DEPTH, 0.0):
        q = p.at(0, 0, d=back)
        for k in range(bays):
            u0, u1 = -half + 2 * half * k / bays, -half + 2 * half * (k + 1) / bays
            first, last = not curved and k == 0, not curved and k == bays - 1
            a, b = (u0, 0.42 if first else top(u0)), (u1, 0.42 if last else top(u1))
            q.line(a, b, 0.05, steel, 0.02)
            q.line((u1, 0.42), b, 0.03, steel, 0.015)
            if k < bays / 2 or crossed:
                q.line((u1, 0.42), a, 0.03, dark(steel, 0.9), 0.01)
            if k >= bays / 2 or crossed:
                q.line((u0, 0.42), b, 0.03, dark(steel, 0.9), 0.01)
