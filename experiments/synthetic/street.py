"""This module draws lamps, flags and stalls; each is about one unit high and stands on the origin of its plane."""

import itertools
import math

import numpy as np

from experiments.synthetic.mesh import Colour, Plane, Point, Real, ellipse
from experiments.synthetic.palette import Palette, darken, mix, vary

LAMP_COLOUR = (0.95, 0.9, 0.72)


def _draw_post(plane: Plane, palette: Palette, top: Real, u: Real = 0.0, width: Real = 0.02) -> None:
    """Draws a lamp post that tapers towards its top."""
    plane.revolve(
        [(width * 0.6, top), (width * 0.8, 0.2), (width * 1.5, 0.17), (width * 1.6, 0.04), (width * 2.2, 0)],
        [palette.metal],
        u=u,
        sides=6,
    )


def lantern_lamp(plane: Plane, rng: np.random.Generator, palette: Palette) -> None:
    """Draws a tapering glass lantern on a post."""
    size = rng.uniform(0.08, 0.11)
    _draw_post(plane, palette, 0.76)
    plane.polygon(
        [(-size * 0.6, 0.76), (size * 0.6, 0.76), (size, 0.93), (-size, 0.93)], LAMP_COLOUR, glow=0.01, solid=True
    )
    for u in (-1, 0, 1):
        plane.line((u * size * 0.6, 0.76), (u * size, 0.93), 0.012, palette.metal, 0.01)
    plane.polygon([(-size * 1.2, 0.93), (size * 1.2, 0.93), (0, 1.0)], palette.metal, 0.01, solid=True)
    plane.line((-0.09, 0.68), (0.09, 0.68), 0.015, palette.metal)


def globe_lamp(plane: Plane, rng: np.random.Generator, palette: Palette) -> None:
    """Draws one, three or five round globes on a post."""
    size, arms = rng.uniform(0.055, 0.08), int(rng.integers(0, 3))
    _draw_post(plane, palette, 0.86)
    globes = [(0.0, 0.9)] + [(side * 0.12 * k, 0.84 - 0.1 * k) for k in range(1, arms + 1) for side in (-1, 1)]
    for u, v in globes:
        if u:
            plane.line((0, v - 0.08), (u, v - 0.08), 0.014, palette.metal)
        plane.revolve(
            [(size * math.sin(a), v + size * math.cos(a)) for a in (0.05, 0.6, 1.2, 1.8, 2.4, 3.0)],
            [LAMP_COLOUR],
            u=u,
            sides=10,
        )


def twin_lamp(plane: Plane, rng: np.random.Generator, palette: Palette) -> None:
    """Draws two hanging bells on the scrolled arms of a post."""
    reach = rng.uniform(0.16, 0.24)
    _draw_post(plane, palette, 0.98)
    for side in (-1, 1):
        arm = ellipse(side * reach / 2, 0.86, reach / 2, 0.09, 0, math.pi)
        for a, b in itertools.pairwise(arm):
            plane.line(a, b, 0.018, palette.metal)
        plane.revolve([(0.015, 0.86), (0.06, 0.79), (0.065, 0.77)], [palette.metal], u=side * reach, sides=8)
        plane.polygon(ellipse(side * reach, 0.765, 0.05, 0.025), LAMP_COLOUR, 0.03, glow=0.01, solid=True)


def mast_lamp(plane: Plane, rng: np.random.Generator, palette: Palette) -> None:
    """Draws a tall modern mast with a bent arm and a flat head."""
    reach, facing = rng.uniform(0.2, 0.34), rng.choice([-1, 1])
    grey = mix(palette.metal, (0.7, 0.7, 0.72), 0.7)
    plane.line((0, 0), (0, 0.88), 0.022, grey)
    arm = [(0, 0.88), (facing * reach * 0.15, 0.95), (facing * reach * 0.5, 0.99), (facing * reach, 1.0)]
    for a, b in itertools.pairwise(arm):
        plane.line(a, b, 0.018, grey)
    plane.box(
        min(facing * reach * 0.8, facing * reach * 1.3),
        0.97,
        max(facing * reach * 0.8, facing * reach * 1.3),
        1.01,
        grey,
        0.04,
        -0.04,
    )


def _cloth_points(top: Real, width: Real, height: Real, rng: np.random.Generator) -> list[list[Point]]:
    """Returns the corners of the cells of a waving flag, 7 columns of 7 points."""
    phase, wave = rng.uniform(0, 6), rng.uniform(0.01, 0.035)
    droop = rng.uniform(-0.08, 0.02)
    columns = []
    for i in range(7):
        shift = wave * math.sin(phase + 5.5 * i / 6) + droop * (i / 6) ** 2
        columns.append([(0.015 + width * i / 6, top - height * j / 6 + shift) for j in range(7)])
    return columns


def _draw_cloth(plane: Plane, cloth: list[list[Point]], colours: list[list[Colour]], flip: int) -> None:
    """Draws the 6 x 6 cells of a flag, each in its colour; ``flip`` is -1 to mirror the flag, otherwise 1."""
    for i in range(6):
        shade = 1 + 0.14 * math.sin(1.9 * i)
        for j in range(6):
            corners = [cloth[i][j], cloth[i][j + 1], cloth[i + 1][j + 1], cloth[i + 1][j]]
            plane.polygon(
                [(flip * x, y) for x, y in corners], darken(colours[i][j], shade), normal=(0, 0, 0), solid=True
            )


def _draw_flag(plane: Plane, rng: np.random.Generator, colours: list[list[Colour]]) -> None:
    """Draws a cloth of 6 x 6 patches on a pole."""
    plane.line((0, 0), (0, 1), 0.022, (0.8, 0.8, 0.8))
    _draw_cloth(
        plane,
        _cloth_points(0.96, rng.uniform(0.5, 0.66), rng.uniform(0.34, 0.44), rng),
        colours,
        int(rng.choice([-1, 1])),
    )


def striped_flag(plane: Plane, rng: np.random.Generator, palette: Palette) -> None:
    """Draws a flag with upright or level stripes on a pole."""
    is_upright, middle_colour = rng.random() < 0.5, vary(rng, palette.trim)
    stripes = [palette.accent, middle_colour, palette.second]
    colours = [[stripes[(i if is_upright else j) // 2] for j in range(6)] for i in range(6)]
    _draw_flag(plane, rng, colours)


def cross_flag(plane: Plane, rng: np.random.Generator, palette: Palette) -> None:
    """Draws a flag with a cross on a pole."""
    bar = int(rng.integers(1, 4))
    colours = [[palette.second if i == bar or j in (2, 3) else palette.accent for j in range(6)] for i in range(6)]
    _draw_flag(plane, rng, colours)


def pennant(plane: Plane, rng: np.random.Generator, palette: Palette) -> None:
    """Draws a long triangle or a swallowtail on a pole."""
    facing, length, has_tail = int(rng.choice([-1, 1])), rng.uniform(0.55, 0.8), rng.random() < 0.4
    dip = rng.uniform(-0.1, 0.1)
    plane.line((0, 0), (0, 1), 0.02, (0.75, 0.75, 0.75))
    points = [(0.01, 0.97), (0.01, 0.7), (length, 0.8 + dip)]
    if has_tail:
        points = [
            (0.01, 0.97),
            (0.01, 0.7),
            (length, 0.72 + dip),
            (length * 0.7, 0.84 + dip * 0.7),
            (length, 0.93 + dip),
        ]
    plane.polygon([(facing * x, y) for x, y in points], palette.accent, normal=(0, 0, 0), solid=True)
    plane.polygon(
        [
            (facing * x, y)
            for x, y in [(0.01, 0.97), (0.01, 0.7), (length * 0.3, 0.74 + dip * 0.3), (length * 0.3, 0.93 + dip * 0.3)]
        ],
        palette.second,
        0.01,
        normal=(0, 0, 0),
    )


def market_umbrella(plane: Plane, rng: np.random.Generator, palette: Palette) -> None:
    """Draws a parasol with wedges of two colours over a table."""
    radius = rng.uniform(0.42, 0.56)
    plane.line((0, 0), (0, 0.9), 0.03, (0.75, 0.7, 0.62))
    plane.revolve([(radius * 0.5, 0.36), (radius * 0.5, 0.34)], [(0.8, 0.8, 0.78)], sides=10)
    plane.polygon(ellipse(0, 0.36, radius * 0.5, 0.035), (0.85, 0.84, 0.8), solid=True)
    second = palette.accent if rng.random() < 0.4 else palette.second
    plane.revolve([(0.01, 1), (radius, 0.74), (radius, 0.68)], [palette.accent, second], sides=12)


def awning_stall(plane: Plane, rng: np.random.Generator, palette: Palette) -> None:
    """Draws a counter of crates under a striped awning."""
    half, stripes = rng.uniform(0.55, 0.75), int(rng.integers(7, 12))
    for side in (-1, 1):
        plane.line((side * half * 0.92, 0), (side * half * 0.92, 0.8), 0.03, (0.6, 0.5, 0.4))
    plane.box(-half * 0.9, 0, half * 0.9, 0.32, (0.5, 0.36, 0.22), 0.2, -0.2)
    for k in range(5):
        u = -half * 0.85 + 1.7 * half * k / 5
        plane.box(u, 0.32, u + 0.3 * half, 0.38, (0.6, 0.45, 0.28), 0.18, -0.1)
        fruit = vary(rng, ((0.8, 0.2, 0.1), (0.9, 0.6, 0.1), (0.35, 0.6, 0.15), (0.85, 0.8, 0.2))[rng.integers(4)])
        for j in range(3):
            plane.disc(u + 0.06 * half + 0.09 * half * j, 0.39, 0.045, fruit, 0.17 - 0.01 * j)
    for k in range(stripes):
        a, b = -half + 2 * half * k / stripes, -half + 2 * half * (k + 1) / stripes
        colour = (palette.accent, (0.93, 0.92, 0.88))[k % 2]
        plane.surface(
            [(a, 0.76, 0.32), (b, 0.76, 0.32), (b * 0.96, 1, -0.15), (a * 0.96, 1, -0.15)], colour, (0.0, 0.85, 0.5)
        )
        plane.polygon(
            [(a, 0.76), (a, 0.7), ((a + b) / 2, 0.66), (b, 0.7), (b, 0.76)], darken(colour, 0.9), 0.32, solid=True
        )


def round_kiosk(plane: Plane, rng: np.random.Generator, palette: Palette) -> None:
    """Draws an advertising column or a newsstand with a small dome."""
    radius = rng.uniform(0.17, 0.24)
    posters = [vary(rng, colour, 0.15) for colour in (palette.accent, palette.trim, palette.second, palette.wall)]
    plane.revolve([(radius * 1.1, 0.06), (radius * 1.15, 0)], [palette.metal])
    plane.revolve([(radius, 0.72), (radius, 0.4), (radius, 0.06)], posters, sides=12)
    plane.revolve([(radius * 1.2, 0.78), (radius * 1.25, 0.74), (radius, 0.72)], [palette.metal])
    plane.revolve(
        [(0.01, 1.0), (0.04, 0.92), (radius * 0.6, 0.9), (radius, 0.83), (radius * 1.15, 0.78)],
        [palette.metal, darken(palette.metal, 1.2)],
        sides=14,
    )


def phone_booth(plane: Plane, rng: np.random.Generator, palette: Palette) -> None:
    """Draws a tall box of small panes."""
    half, rows = rng.uniform(0.17, 0.21), int(rng.integers(5, 9))
    paint = (0.75, 0.1, 0.1) if rng.random() < 0.6 else palette.accent
    plane.box(-half, 0, half, 0.94, paint, half, -half, shadow=False)
    plane.box(-half * 1.1, 0.94, half * 1.1, 0.97, paint, half * 1.1, -half * 1.1, shadow=False)
    plane.box(-half * 0.8, 0.97, half * 0.8, 1.0, darken(paint, 0.9), half * 0.8, -half * 0.8, shadow=False)
    plane.rect(-half * 0.8, 0.86, half * 0.8, 0.92, (0.95, 0.93, 0.85), half + 0.003, glow=0.01)
    for angle in (-math.pi / 2, 0.0, math.pi / 2):
        local = plane.turned(angle, u=half * math.sin(angle), d=half * math.cos(angle))
        for i in range(3):
            for j in range(rows):
                u0, v0 = half * (-0.75 + 0.5 * i), 0.1 + 0.73 * j / rows
                local.rect(u0 + 0.01, v0, u0 + half * 0.5 - 0.01, v0 + 0.6 / rows, (0.3, 0.36, 0.4), 0.004, glow=0.3)
