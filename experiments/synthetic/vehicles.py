"""This module draws vehicles from the side; each is about one unit high and stands on the origin of its plane."""

import itertools
import math

import numpy as np

from experiments.synthetic.mesh import Colour, Plane, Point, Real
from experiments.synthetic.palette import Palette, darken, mix

RUBBER = (0.07, 0.07, 0.08)


def _draw_wheels(plane: Plane, centres: list[Real], radius: Real, d: Real) -> None:
    """Draws wheels with their centres at the given values of u."""
    for u in centres:
        plane.disc(u, radius, radius, RUBBER, d, solid=True)
        plane.disc(u, radius, radius * 0.58, (0.6, 0.6, 0.62), d + 0.01)
        plane.disc(u, radius, radius * 0.2, (0.25, 0.25, 0.26), d + 0.015)


def _draw_body(
    plane: Plane,
    lower: list[Point],
    cabin: list[Point],
    panes: list[list[Point]],
    paint: Colour,
    palette: Palette,
    rng: np.random.Generator,
) -> None:
    """Draws the two outlines of a body, with their edges towards the back, and the window panes."""
    depth = 0.9
    for outline, colour in ((lower, paint), (cabin, darken(paint, 0.95))):
        points = outline + outline[:1]
        for (u, v), (next_u, next_v) in itertools.pairwise(points):
            length = max(math.hypot(next_u - u, next_v - v), 1e-6)
            plane.surface(
                [(u, v, -depth), (next_u, next_v, -depth), (next_u, next_v, 0), (u, v, 0)],
                darken(colour, 0.9),
                ((next_v - v) / length, (u - next_u) / length, 0.0),
            )
    plane.polygon(lower, paint, solid=True)
    plane.polygon(cabin, darken(paint, 0.95), solid=True)
    for pane in panes:
        plane.polygon(pane, darken(palette.glass, rng.uniform(0.8, 1.3)), 0.005, glow=rng.uniform(0.3, 1))


def _draw_car(
    plane: Plane,
    rng: np.random.Generator,
    palette: Palette,
    half: Real,
    hood: Real,
    cabin: list[Point],
    split: list[Real],
) -> None:
    """Draws a car; ``split`` holds the ends of the panes, as shares of the length of the cabin."""
    facing = int(rng.choice([-1, 1]))
    lower: list[Point] = [
        (-half, 0.2),
        (half, 0.2),
        (half, 0.42),
        (half * 0.96, hood),
        (-half * 0.96, 0.56),
        (-half, 0.44),
    ]
    inner = [(0.92 * x, 0.56 + (y - 0.56) * 0.84) for x, y in cabin]
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
        return points if facing > 0 else [(-x, y) for x, y in reversed(points)]

    _draw_body(plane, flip(lower), flip(cabin), [flip(pane) for pane in panes], palette.accent, palette, rng)
    plane.rect(-half, 0.2, half, 0.25, darken(palette.accent, 0.5), 0.004)
    for k in (-0.1, 0.35):
        plane.line((facing * half * k, 0.26), (facing * half * k, 0.56), 0.008, darken(palette.accent, 0.6), 0.006)
    plane.rect(
        min(facing * half * 0.9, facing * half),
        0.38,
        max(facing * half * 0.9, facing * half),
        0.46,
        (0.95, 0.93, 0.8),
        0.006,
        glow=0.01,
    )
    plane.rect(
        min(-facing * half * 0.92, -facing * half),
        0.38,
        max(-facing * half * 0.92, -facing * half),
        0.46,
        (0.75, 0.1, 0.08),
        0.006,
    )
    _draw_wheels(plane, [-half * 0.64, half * 0.64], 0.2, 0.01)


def sedan_car(plane: Plane, rng: np.random.Generator, palette: Palette) -> None:
    """Draws a car with a bonnet, a cabin and a boot."""
    half = rng.uniform(1.4, 1.6)
    _draw_car(
        plane,
        rng,
        palette,
        half,
        0.52,
        [(-half * 0.62, 0.55), (half * 0.42, 0.55), (half * 0.16, 0.95), (-half * 0.34, 0.95)],
        [0.02, 0.42, 0.47, 0.96],
    )


def hatchback_car(plane: Plane, rng: np.random.Generator, palette: Palette) -> None:
    """Draws a short car with a bonnet, a cabin and a steep tail."""
    half = rng.uniform(1.0, 1.15)
    _draw_car(
        plane,
        rng,
        palette,
        half,
        0.54,
        [(-half * 0.96, 0.55), (half * 0.5, 0.55), (half * 0.14, 1.0), (-half * 0.8, 1.0)],
        [0.03, 0.35, 0.4, 0.66, 0.7, 0.97],
    )


def pickup_truck(plane: Plane, rng: np.random.Generator, palette: Palette) -> None:
    """Draws a cabin in front of an open bed."""
    half = rng.uniform(1.4, 1.6)
    _draw_car(
        plane,
        rng,
        palette,
        half,
        0.58,
        [(-half * 0.16, 0.55), (half * 0.5, 0.55), (half * 0.32, 1.0), (-half * 0.12, 1.0)],
        [0.04, 0.5, 0.55, 0.95],
    )
    plane.rect(-half * 0.9, 0.5, -half * 0.2, 0.56, darken(palette.accent, 0.6), 0.004)
    if rng.random() < 0.5:
        for side in (-0.8, -0.5):
            plane.box(half * side - 0.14, 0.56, half * side + 0.14, 0.72, (0.5, 0.38, 0.24), -0.1, -0.6)


def delivery_van(plane: Plane, rng: np.random.Generator, palette: Palette) -> None:
    """Draws a tall closed van with a sloped front."""
    half = rng.uniform(1.05, 1.25)
    paint = (0.93, 0.93, 0.92) if rng.random() < 0.4 else palette.accent
    facing = int(rng.choice([-1, 1]))
    body = [(-half, 0.14), (half, 0.14), (half, 0.46), (half * 0.84, 0.56), (half * 0.62, 1.0), (-half, 1.0)]
    pane = [(half * 0.32, 0.58), (half * 0.76, 0.58), (half * 0.6, 0.9), (half * 0.32, 0.9)]
    if facing < 0:
        body, pane = [(-x, y) for x, y in reversed(body)], [(-x, y) for x, y in reversed(pane)]
    _draw_body(plane, body, body, [pane], paint, palette, rng)
    plane.rect(
        -half * 0.75 if facing > 0 else -half * 0.2,
        0.42,
        half * 0.2 if facing > 0 else half * 0.75,
        0.66,
        palette.second,
        0.006,
    )
    plane.rect(
        -half * 0.65 if facing > 0 else -half * 0.1, 0.51, half * 0.1 if facing > 0 else half * 0.65, 0.57, paint, 0.008
    )
    _draw_wheels(plane, [-half * 0.62, half * 0.62], 0.16, 0.01)


def _draw_coach(
    plane: Plane,
    rng: np.random.Generator,
    palette: Palette,
    half: Real,
    rows: tuple[tuple[Real, Real], ...],
    paint: Colour,
    doors: int,
) -> None:
    """Draws a long box with rows of windows."""
    body: list[Point] = [
        (-half, 0.1),
        (half, 0.1),
        (half, 0.95),
        (half * 0.97, 1.0),
        (-half * 0.97, 1.0),
        (-half, 0.95),
    ]
    _draw_body(plane, body, body, [], paint, palette, rng)
    plane.rect(-half, 0.1, half, 0.24, mix(palette.second, paint, 0.2), 0.004)
    count = int(rng.integers(6, 10))
    for v0, v1 in rows:
        plane.rect(-half * 0.97, v0 - 0.01, half * 0.97, v1 + 0.01, darken(paint, 0.4), 0.004)
        for k in range(count):
            u0 = -half * 0.95 + 1.9 * half * k / count
            plane.rect(
                u0 + 0.02,
                v0,
                u0 + 1.9 * half / count - 0.02,
                v1,
                darken(palette.glass, rng.uniform(0.9, 1.5)),
                0.006,
                glow=0.02,
            )
    for k in range(doors):
        u = half * (-0.55 + 1.3 * k / max(1, doors - 0.5))
        plane.rect(u - 0.1, 0.14, u + 0.1, rows[0][1], darken(palette.glass, 0.8), 0.008, glow=0.03)
        plane.line((u, 0.14), (u, rows[0][1]), 0.014, darken(paint, 0.5), 0.01)


def city_bus(plane: Plane, rng: np.random.Generator, palette: Palette) -> None:
    """Draws a bus with one row of windows, doors and two axles."""
    half = rng.uniform(1.5, 1.85)
    _draw_coach(plane, rng, palette, half, ((0.5, 0.84),), palette.accent, 2)
    plane.rect(half * 0.5, 0.87, half * 0.95, 0.96, (0.1, 0.1, 0.1), 0.006)
    plane.rect(half * 0.6, 0.89, half * 0.85, 0.94, (0.95, 0.7, 0.1), 0.008, glow=0.01)
    _draw_wheels(plane, [-half * 0.6, half * 0.66], 0.15, 0.012)


def double_decker_bus(plane: Plane, rng: np.random.Generator, palette: Palette) -> None:
    """Draws a bus with two rows of windows."""
    half = rng.uniform(0.95, 1.15)
    paint = (0.75, 0.08, 0.1) if rng.random() < 0.5 else palette.accent
    _draw_coach(plane, rng, palette, half, ((0.32, 0.5), (0.68, 0.87)), paint, 1)
    plane.rect(-half * 0.7, 0.53, half * 0.7, 0.64, palette.second, 0.006)
    _draw_wheels(plane, [-half * 0.58, half * 0.6], 0.11, 0.012)


def tram(plane: Plane, rng: np.random.Generator, palette: Palette) -> None:
    """Draws two linked cars with a pantograph, on rails."""
    half = rng.uniform(1.7, 2.1)
    plane.rect(-half * 1.3, -0.01, half * 1.3, 0.02, (0.3, 0.28, 0.26), -0.2)
    local = plane.at(0, 0, 0.86)
    _draw_coach(local, rng, palette, half, ((0.44, 0.82),), mix(palette.accent, (0.9, 0.88, 0.8), 0.15), 3)
    local.rect(-0.06, 0.1, 0.06, 1.0, (0.15, 0.15, 0.16), 0.012)
    local.rect(-half, 0.86, half, 0.93, (0.92, 0.9, 0.84), 0.012)
    for a, b in (((-0.3, 0.87), (-0.5, 0.95)), ((-0.5, 0.95), (-0.25, 1.04)), ((-0.45, 1.04), (-0.05, 1.04))):
        plane.line(a, b, 0.02, (0.15, 0.15, 0.15), -0.3)
    plane.line((-half * 1.3, 1.06), (half * 1.3, 1.06), 0.012, (0.1, 0.1, 0.1), -0.3)
    _draw_wheels(plane, [-half * 0.62, -half * 0.5, half * 0.4, half * 0.52], 0.06, 0.012)


def lorry(plane: Plane, rng: np.random.Generator, palette: Palette) -> None:
    """Draws a cab in front of a tall load."""
    half, facing = rng.uniform(1.2, 1.5), int(rng.choice([-1, 1]))
    cargo = [(-half, 0.22), (half * 0.5, 0.22), (half * 0.5, 1.0), (-half, 1.0)]
    cab = [(half * 0.56, 0.12), (half, 0.12), (half, 0.48), (half * 0.92, 0.82), (half * 0.56, 0.82)]
    pane = [(half * 0.68, 0.5), (half * 0.95, 0.5), (half * 0.88, 0.76), (half * 0.68, 0.76)]
    if facing < 0:
        cargo, cab, pane = ([(-x, y) for x, y in reversed(points)] for points in (cargo, cab, pane))
    plane.box(-half, 0.14, half, 0.22, (0.12, 0.12, 0.12), -0.05, -0.85, shadow=False)
    _draw_body(plane, cargo, cab, [pane], palette.second if rng.random() < 0.5 else (0.85, 0.85, 0.83), palette, rng)
    plane.polygon(cab, palette.accent, 0.004)
    plane.polygon(pane, palette.glass, 0.008, glow=0.5)
    for k in range(1, 6):
        u = facing * (-half + 1.5 * half * k / 6)
        plane.line((u, 0.24), (u, 0.98), 0.012, (0.55, 0.55, 0.55), 0.004)
    _draw_wheels(plane, [-facing * half * 0.75, -facing * half * 0.45, facing * half * 0.76], 0.13, 0.012)
