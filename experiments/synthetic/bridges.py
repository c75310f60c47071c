"""This module draws bridges; each is about one unit high, two to three units wide and stands on its plane's origin."""

import itertools
import math

import numpy as np

from experiments.synthetic.mesh import Plane, Point, Real, ellipse
from experiments.synthetic.palette import Palette, darken

DEPTH = 0.4
"""Distance between the two sides of a bridge."""


def stone_arch_bridge(plane: Plane, rng: np.random.Generator, palette: Palette) -> None:
    """Draws masonry arches under a parapet that rises to the middle."""
    arches, rise, half = int(rng.integers(2, 5)), rng.uniform(0.0, 0.25), 1.4
    sag, pier = rng.uniform(0.6, 1.0), rng.uniform(0.12, 0.2)
    bay = 2 * half / arches

    def deck_height(u: Real) -> float:
        return 0.75 + rise * (1 - (u / half) ** 2)

    steps = [-half + 2 * half * k / 12 for k in range(13)]
    outline: list[Point] = [(-half, 0), (half, 0), *[(u, deck_height(u)) for u in reversed(steps)]]
    soffits = []
    for k in range(arches):
        u = -half + bay * (k + 0.5)
        soffits.append((u, bay * (1 - pier) / 2, min(deck_height(u) - 0.16, bay / 2 * sag + 0.1)))
    plane.polygon(outline, palette.wall, texture=palette.wall_texture, solid=True)
    for u, radius, top in soffits:
        arch = [(u - radius, 0.0), *reversed(ellipse(u, 0.1, radius, top - 0.1, 0, math.pi)), (u + radius, 0.0)]
        plane.polygon(arch, darken(palette.wall, 0.35))
        opening_outline = [(u + (x - u) * 0.86 + 0.03, y * 0.93) for x, y in arch]
        plane.polygon(opening_outline, (0.5, 0.58, 0.62))
        plane.polygon(
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
        plane.ring(outer, arch, palette.trim, 0.015)
    for k in range(arches + 1):
        u = -half + bay * k
        plane.box(u - bay * pier / 2, 0, u + bay * pier / 2, 0.24, palette.wall, 0.12)
    for a, b in itertools.pairwise(steps):
        for lift, d, colour in ((0.0, 0.05, palette.trim), (0.15, 0.04, darken(palette.wall, 1.05))):
            low = [
                (a, deck_height(a) + lift - (0.04 if not lift else 0.15)),
                (b, deck_height(b) + lift - (0.04 if not lift else 0.15)),
            ]
            plane.polygon([*low, (b, deck_height(b) + lift), (a, deck_height(a) + lift)], colour, d, solid=True)


def suspension_bridge(plane: Plane, rng: np.random.Generator, palette: Palette) -> None:
    """Draws two portals, a hanging cable and a thin deck."""
    half, tower, deck = 1.6, rng.uniform(0.75, 0.95), rng.uniform(0.26, 0.36)
    portal_u, steel = rng.uniform(0.75, 0.95), palette.accent
    plane.box(-half, deck - 0.05, half, deck, steel, 0.0, -DEPTH)
    for side_d in (-DEPTH, 0.0):
        local = plane.at(0, 0, d=side_d)
        for side in (-1, 1):
            local.box(
                side * portal_u - 0.05,
                0,
                side * portal_u + 0.05,
                1,
                palette.trim if tower > 0.85 else steel,
                0.03,
                -0.03,
                shadow=False,
            )
            local.line((side * portal_u, 0.97), (side * half, deck + 0.02), 0.022, steel, 0.02)
        points = [
            (u, deck + 0.05 + (0.92 - deck) * (u / portal_u) ** 2)
            for u in np.linspace(-portal_u, portal_u, 13).tolist()
        ]
        for a, b in itertools.pairwise(points):
            local.line(a, b, 0.024, steel, 0.02)
            local.line(b, (b[0], deck), 0.009, steel, 0.02)
        for side in (-1, 1):
            for k in range(1, 5):
                u = portal_u + (half - portal_u) * k / 5
                local.line((side * u, deck), (side * u, 0.97 + (deck - 0.95) * k / 5), 0.009, steel, 0.02)
    for side in (-1, 1):
        for v in (deck - 0.1, 0.6, 0.92):
            plane.box(side * portal_u - 0.045, v, side * portal_u + 0.045, v + 0.06, steel, 0, -DEPTH, shadow=False)
        plane.box(side * portal_u - 0.12, 0, side * portal_u + 0.12, 0.1, palette.wall, 0.08, -DEPTH - 0.08)


def truss_bridge(plane: Plane, rng: np.random.Generator, palette: Palette) -> None:
    """Draws two trusses of steel triangles on stone piers, maybe with a curved top."""
    bays, half, is_curved = int(rng.integers(6, 11)), 1.5, rng.random() < 0.5
    steel, is_crossed = palette.accent if rng.random() < 0.6 else palette.metal, rng.random() < 0.4

    def top_height(u: Real) -> float:
        return 0.5 + (0.45 * (1 - (u / half) ** 2) if is_curved else 0.38)

    for side in (-0.96, 0.0, 0.96)[:: int(rng.integers(1, 3))]:
        plane.box(
            side * half - 0.1,
            0,
            side * half + 0.1,
            0.38,
            palette.wall,
            0.05,
            -DEPTH - 0.05,
            texture=palette.wall_texture,
        )
    plane.box(-half, 0.38, half, 0.45, steel, 0.02, -DEPTH)
    for side_d in (-DEPTH, 0.0):
        local = plane.at(0, 0, d=side_d)
        for k in range(bays):
            u0, u1 = -half + 2 * half * k / bays, -half + 2 * half * (k + 1) / bays
            is_first, is_last = not is_curved and k == 0, not is_curved and k == bays - 1
            a, b = (u0, 0.42 if is_first else top_height(u0)), (u1, 0.42 if is_last else top_height(u1))
            local.line(a, b, 0.05, steel, 0.02)
            local.line((u1, 0.42), b, 0.03, steel, 0.015)
            if k < bays / 2 or is_crossed:
                local.line((u1, 0.42), a, 0.03, darken(steel, 0.9), 0.01)
            if k >= bays / 2 or is_crossed:
                local.line((u0, 0.42), b, 0.03, darken(steel, 0.9), 0.01)
