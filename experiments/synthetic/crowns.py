"""This module draws domes, towers and gables; each is about one unit high and stands on the origin of its plane."""

import math

import numpy as np

from experiments.synthetic.mesh import Plane, Point, Real, opening
from experiments.synthetic.palette import Palette, darken, mix

GOLD = (0.85, 0.66, 0.22)


def dome_profile(kind: str, radius: Real, height: Real) -> list[Point]:
    """Returns pairs (radius, v) from top to bottom of an ``onion``, ``round``, ``shallow`` or ``pointed`` dome."""
    if kind == "onion":
        shape = (
            (0.01, 1.0),
            (0.05, 0.86),
            (0.16, 0.74),
            (0.45, 0.62),
            (0.8, 0.5),
            (1.08, 0.34),
            (1.12, 0.22),
            (1.0, 0.1),
            (0.8, 0.0),
        )
        return [(radius * r, height * v) for r, v in shape]
    power = {"round": 1.0, "shallow": 1.0, "pointed": 0.7}[kind]
    steps = [math.pi / 2 * k / 7 for k in range(8)]
    return [(radius * max(math.sin(a), 0.02) ** power, height * math.cos(a)) for a in steps]


def _draw_drum(
    plane: Plane, rng: np.random.Generator, palette: Palette, radius: Real, height: Real, windows: int
) -> None:
    """Draws a cylinder with round-headed windows, which a dome stands on."""
    plane.revolve(
        [
            (radius * 1.08, height),
            (radius * 1.08, height - 0.04),
            (radius, height - 0.05),
            (radius, 0.05),
            (radius * 1.06, 0.05),
            (radius * 1.06, 0),
        ],
        [palette.wall, darken(palette.wall, 0.97)],
        sides=18,
    )
    for k in range(windows):
        a = 2 * math.pi * k / windows
        local = plane.turned(a, u=radius * math.sin(a) * 0.985, d=radius * math.cos(a) * 0.985)
        width = radius * 2.2 / windows
        local.polygon(opening("round", 0, 0.09, width, height - 0.18), palette.trim, 0.005)
        local.polygon(
            opening("round", 0, 0.09, width * 0.7, height - 0.21), palette.glass, 0.01, glow=rng.uniform(0.02, 1)
        )


def _draw_finial(plane: Plane, v: Real, size: Real, cross: bool) -> None:
    """Draws a golden ornament on a top, maybe with a cross."""
    plane.revolve(
        [(0.005, v + size * 1.5), (0.18 * size, v + size * 0.6), (0.3 * size, v + size * 0.3), (0.12 * size, v)],
        [GOLD],
        sides=8,
    )
    plane.line((0, v), (0, v + 2 * size), 0.12 * size, GOLD)
    if cross:
        plane.line((-0.35 * size, v + 1.6 * size), (0.35 * size, v + 1.6 * size), 0.12 * size, GOLD)


def onion_dome(plane: Plane, rng: np.random.Generator, palette: Palette) -> None:
    """Draws a bulging dome that ends in a point, maybe striped, on a drum."""
    radius, base = rng.uniform(0.22, 0.3), rng.uniform(0.12, 0.25)
    is_striped = rng.random() < 0.5
    colours = [palette.accent, palette.second] if is_striped else [mix(palette.roof, GOLD, 0.6 * (rng.random() < 0.4))]
    _draw_drum(plane, rng, palette, radius * 0.8, base + 0.04, 7)
    plane.at(0, base).revolve(dome_profile("onion", radius, 0.84 - base), colours, sides=18)
    _draw_finial(plane, 0.82, 0.1, True)


def round_dome(plane: Plane, rng: np.random.Generator, palette: Palette) -> None:
    """Draws a smooth half sphere on a drum, with a lantern."""
    radius, base = rng.uniform(0.36, 0.46), rng.uniform(0.2, 0.32)
    _draw_drum(plane, rng, palette, radius, base, int(rng.integers(9, 14)))
    plane.at(0, base).revolve(dome_profile("round", radius, 0.82 - base), [palette.roof], sides=20)
    _draw_lantern(plane, rng, palette, 0.8, radius * 0.2)


def ribbed_dome(plane: Plane, rng: np.random.Generator, palette: Palette) -> None:
    """Draws a pointed dome between light ribs."""
    radius, base, ribs = rng.uniform(0.34, 0.42), rng.uniform(0.14, 0.24), int(rng.integers(6, 9))
    _draw_drum(plane, rng, palette, radius, base, ribs)
    plane.at(0, base).revolve(
        dome_profile("pointed", radius, 0.84 - base), [palette.trim, palette.roof, palette.roof], sides=3 * ribs
    )
    _draw_lantern(plane, rng, palette, 0.82, radius * 0.24)


def shallow_dome(plane: Plane, rng: np.random.Generator, palette: Palette) -> None:
    """Draws a flat cap with steps at its foot on a low wide drum."""
    radius, base = rng.uniform(0.7, 0.85), rng.uniform(0.34, 0.48)
    _draw_drum(plane, rng, palette, radius, base, int(rng.integers(12, 17)))
    local = plane.at(0, base)
    for k in range(3):
        local.revolve(
            [(radius * (0.94 - 0.07 * k), 0.05 * (k + 1)), (radius * (0.98 - 0.07 * k), 0.05 * k)],
            [palette.trim],
            sides=20,
        )
    local.at(0, 0.12).revolve(
        dome_profile("shallow", radius * 0.84, 0.3), [palette.roof, darken(palette.roof, 0.94)], sides=20
    )


def _draw_lantern(plane: Plane, rng: np.random.Generator, palette: Palette, v: Real, radius: Real) -> None:
    """Draws a small roofed turret of glass."""
    local = plane.at(0, v)
    local.revolve([(0.003, 0.18), (radius * 1.1, 0.12), (radius * 1.1, 0.1)], [palette.roof], sides=10)
    local.revolve([(radius * 0.8, 0.1), (radius * 0.8, 0.0)], [palette.trim, palette.glass], sides=12)
    if rng.random() < 0.5:
        _draw_finial(plane, v + 0.15, 0.04, True)


def battlement_tower(plane: Plane, rng: np.random.Generator, palette: Palette) -> None:
    """Draws a square keep with merlons and slits."""
    half = rng.uniform(0.2, 0.28)
    plane.box(-half, 0, half, 0.84, palette.wall, half, -half, shadow=False, texture=palette.wall_texture)
    top_half = half * 1.12
    plane.box(-top_half, 0.8, top_half, 0.9, palette.wall, top_half, -top_half, shadow=False)
    count = int(rng.integers(3, 5))
    width = 2 * top_half / (2 * count - 1)
    for k in range(count):
        u = -top_half + 2 * width * k
        for d0, d1 in ((-top_half, -top_half * 0.8), (top_half * 0.8, top_half)):
            plane.box(u, 0.9, u + width, 1.0, palette.wall, d1, d0, shadow=False)
    for k in range(6):
        u = -top_half + 2 * top_half * (k + 0.5) / 6
        plane.rect(u - 0.02, 0.76, u + 0.02, 0.8, darken(palette.wall, 0.55), half + 0.01)
    for v in (0.2, 0.45, 0.64):
        local = plane.at(rng.uniform(-0.3, 0.3) * half, v, d=half)
        local.polygon(opening("round", 0, 0, half * 0.24, 0.12), (0.06, 0.06, 0.07), 0.004, glow=0.6)
        local.ring(
            opening("round", 0, -0.02, half * 0.36, 0.16),
            opening("round", 0, 0, half * 0.24, 0.12),
            palette.trim,
            0.006,
        )


def spire_tower(plane: Plane, rng: np.random.Generator, palette: Palette) -> None:
    """Draws a square tower with tall openings under a steep pyramid, with pinnacles at its corners."""
    half, base = rng.uniform(0.1, 0.14), rng.uniform(0.46, 0.58)
    plane.box(-half, 0, half, base, palette.wall, half, -half, shadow=False, texture=palette.wall_texture)
    kind = str(rng.choice(["pointed", "round"]))
    for v, h in ((base - 0.17, 0.13), (base * 0.3, 0.11)):
        for u in (-0.45 * half, 0.45 * half):
            local = plane.at(u, v, d=half)
            local.polygon(opening(kind, 0, 0, half * 0.6, h + 0.01), palette.trim, 0.004)
            local.polygon(opening(kind, 0, 0, half * 0.42, h), (0.08, 0.08, 0.1), 0.006, glow=0.5)
    plane.box(-half * 1.1, base - 0.02, half * 1.1, base + 0.01, palette.trim, half * 1.1, -half * 1.1, shadow=False)
    spire(plane, palette, half * 1.02, base + 0.01, 0.96)
    for a, b in ((-1, -1), (1, -1), (-1, 1), (1, 1)):
        local = plane.at(a * half, base, d=b * half)
        local.revolve([(0.001, 0.12), (0.02, 0.04), (0.02, 0.0)], [palette.trim], sides=6)
    _draw_finial(plane, 0.95, 0.025, True)


def spire(plane: Plane, palette: Palette, half: Real, v0: Real, v1: Real) -> None:
    """Draws four triangles that meet in a point."""
    corners = [(-half, half), (half, half), (half, -half), (-half, -half)]
    for (u0, d0), (u1, d1) in zip(corners, corners[1:] + corners[:1], strict=True):
        rise = v1 - v0
        normal = ((d0 - d1) / 2 / half, half / rise, (u1 - u0) / 2 / half)
        normal = (-normal[0], normal[1], normal[2])
        plane.surface([(u0, v0, d0), (u1, v0, d1), (0, v1, 0)], palette.roof, normal)


def round_tower(plane: Plane, rng: np.random.Generator, palette: Palette) -> None:
    """Draws a round tower with a conical roof."""
    radius, base = rng.uniform(0.16, 0.24), rng.uniform(0.55, 0.68)
    shades = [palette.wall, darken(palette.wall, 0.95), darken(palette.wall, 1.04)]
    steps = 7
    plane.revolve([(radius * 1.3, 0.5 + base / 2 + 0.02), (radius * 1.3, base)], [palette.wall], sides=20)
    for k in range(steps, 0, -1):
        v = base / steps
        plane.revolve([(radius, k * v), (radius, (k - 1) * v)], shades[k % 3 :] + shades[: k % 3], sides=20)
    plane.revolve(
        [(radius * 1.14, base), (radius * 1.14, base - 0.05), (radius, base - 0.08)], [palette.trim], sides=20
    )
    plane.revolve([(0.004, 0.97), (radius * 1.22, base)], [palette.roof, darken(palette.roof, 0.93)], sides=20)
    for v in (0.15, 0.32, base - 0.2):
        a = rng.uniform(-0.6, 0.6)
        local = plane.turned(a, u=radius * math.sin(a), d=radius * math.cos(a))
        local.polygon(opening("round", 0, v, radius * 0.26, 0.11), palette.trim, 0.01)
        local.polygon(opening("round", 0, v, radius * 0.18, 0.1), (0.07, 0.07, 0.09), 0.014, glow=0.5)
    _draw_finial(plane, 0.96, 0.02, False)


def stepped_gable(plane: Plane, rng: np.random.Generator, palette: Palette) -> None:
    """Draws a gable that rises in steps, with a column of windows."""
    half, steps = rng.uniform(0.4, 0.5), int(rng.integers(3, 6))
    for k in range(steps):
        width, v0, v1 = half * (1 - k / steps), 0.25 + 0.7 * k / steps, 0.25 + 0.7 * (k + 1) / steps
        plane.wall(-width, v0 if k else 0, width, v1, palette.wall, palette.wall_texture)
        inner = half * (1 - (k + 1) / steps)
        for side in (-1, 1):
            u0, u1 = sorted((side * inner, side * width))
            plane.box(u0 - 0.015, v1, u1 + 0.015, v1 + 0.04, palette.trim, 0.03, -0.1, shadow=False)
    for k in range(steps - 1):
        count = max(1, 3 - k)
        for j in range(count):
            local = plane.at((j - (count - 1) / 2) * half * 0.55, 0.1 + 0.62 * k / (steps - 1))
            local.polygon(opening("segment", 0, 0, half * 0.32, 0.17), palette.trim, 0.004)
            local.polygon(
                opening("segment", 0, 0.01, half * 0.24, 0.14), palette.glass, 0.008, glow=rng.uniform(0.02, 1)
            )
