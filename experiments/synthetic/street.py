"""Lamps, flags and stalls; about one unit high, standing on the origin of their plane."""

import itertools
import math

import numpy as np

from experiments.synthetic.mesh import Plane, Point, Real, ellipse
from experiments.synthetic.palette import Palette, dark, mix, vary

GLOW = (0.95, 0.9, 0.72)


def _post(p: Plane, c: Palette, top: Real, u: Real = 0.0, width: Real = 0.02) -> None:
    p.revolve(
        [(width * 0.6, top), (width * 0.8, 0.2), (width * 1.5, 0.17), (width * 1.6, 0.04), (width * 2.2, 0)],
        [c.metal],
        u=u,
        sides=6,
    )


def lantern_lamp(p: Plane, rng: np.random.Generator, c: Palette) -> None:
    """A tapering glass lantern on a post."""
    size = rng.uniform(0.08, 0.11)
    _post(p, c, 0.76)
    p.polygon([(-size * 0.6, 0.76), (size * 0.6, 0.76), (size, 0.93), (-size, 0.93)], GLOW, glow=0.01, solid=True)
    for u in (-1, 0, 1):
        p.line((u * size * 0.6, 0.76), (u * size, 0.93), 0.012, c.metal, 0.01)
    p.polygon([(-size * 1.2, 0.93), (size * 1.2, 0.93), (0, 1.0)], c.metal, 0.01, solid=True)
    p.line((-0.09, 0.68), (0.09, 0.68), 0.015, c.metal)


def globe_lamp(p: Plane, rng: np.random.Generator, c: Palette) -> None:
    """Round globes, one or three or five."""
    size, arms = rng.uniform(0.055, 0.08), int(rng.integers(0, 3))
    _post(p, c, 0.86)
    globes = [(0.0, 0.9)] + [(s * 0.12 * k, 0.84 - 0.1 * k) for k in range(1, arms + 1) for s in (-1, 1)]
    for u, v in globes:
        if u:
            p.line((0, v - 0.08), (u, v - 0.08), 0.014, c.metal)
        p.revolve(
            [(size * math.sin(a), v + size * math.cos(a)) for a in (0.05, 0.6, 1.2, 1.8, 2.4, 3.0)],
            [GLOW],
            u=u,
            sides=10,
        )


def twin_lamp(p: Plane, rng: np.random.Generator, c: Palette) -> None:
    """Two hanging bells on scrolled arms."""
    reach = rng.uniform(0.16, 0.24)
    _post(p, c, 0.98)
    for s in (-1, 1):
        arm = ellipse(s * reach / 2, 0.86, reach / 2, 0.09, 0, math.pi)
        for a, b in itertools.pairwise(arm):
            p.line(a, b, 0.018, c.metal)
        p.revolve([(0.015, 0.86), (0.06, 0.79), (0.065, 0.77)], [c.metal], u=s * reach, sides=8)
        p.polygon(ellipse(s * reach, 0.765, 0.05, 0.025), GLOW, 0.03, glow=0.01, solid=True)


def mast_lamp(p: Plane, rng: np.random.Generator, c: Palette) -> None:
    """A tall modern mast with a bent arm and a flat head."""
    reach, s = rng.uniform(0.2, 0.34), rng.choice([-1, 1])
    grey = mix(c.metal, (0.7, 0.7, 0.72), 0.7)
    p.line((0, 0), (0, 0.88), 0.022, grey)
    arm = [(0, 0.88), (s * reach * 0.15, 0.95), (s * reach * 0.5, 0.99), (s * reach, 1.0)]
    for a, b in itertools.pairwise(arm):
        p.line(a, b, 0.018, grey)
    p.box(
        min(s * reach * 0.8, s * reach * 1.3),
        0.97,
        max(s * reach * 0.8, s * reach * 1.3),
        1.01,
        grey,
        0.04,
        -0.04,
    )


def _banner(top: Real, width: Real, height: Real, rng: np.random.Generator) -> list[list[Point]]:
    """The cells of a waving cloth as rows of points: [columns + 1][rows + 1]."""
    phase, wave = rng.uniform(0, 6), rng.uniform(0.01, 0.035)
    droop = rng.uniform(-0.08, 0.02)
    columns = []
    for i in range(7):
        shift = wave * math.sin(phase + 5.5 * i / 6) + droop * (i / 6) ** 2
        columns.append([(0.015 + width * i / 6, top - height * j / 6 + shift) for j in range(7)])
    return columns


def _cells(p: Plane, cloth: list[list[Point]], colours: list[list[tuple[Real, Real, Real]]], flip: int) -> None:
    for i in range(6):
        shade = 1 + 0.14 * math.sin(1.9 * i)
        for j in range(6):
            corners = [cloth[i][j], cloth[i][j + 1], cloth[i + 1][j + 1], cloth[i + 1][j]]
            p.polygon([(flip * x, y) for x, y in corners], dark(colours[i][j], shade), normal=(0, 0, 0), solid=True)


def striped_flag(p: Plane, rng: np.random.Generator, c: Palette) -> None:
    """Stripes, upright or level, on a pole."""
    upright, third = rng.random() < 0.5, vary(rng, c.trim)
    bands = [c.accent, third, c.second]
    colours = [[bands[(i if upright else j) // 2] for j in range(6)] for i in range(6)]
    p.line((0, 0), (0, 1), 0.022, (0.8, 0.8, 0.8))
    _cells(p, _banner(0.96, rng.uniform(0.5, 0.66), rng.uniform(0.34, 0.44), rng), colours, int(rng.choice([-1, 1])))


def cross_flag(p: Plane, rng: np.random.Generator, c: Palette) -> None:
    """A cross on a plain field, on a pole."""
    bar = int(rng.integers(1, 4))
    colours = [[c.second if i == bar or j in (2, 3) else c.accent for j in range(6)] for i in range(6)]
    p.line((0, 0), (0, 1), 0.022, (0.8, 0.8, 0.8))
    _cells(p, _banner(0.96, rng.uniform(0.5, 0.66), rng.uniform(0.34, 0.44), rng), colours, int(rng.choice([-1, 1])))


def pennant(p: Plane, rng: np.random.Generator, c: Palette) -> None:
    """A long triangle or swallow tail on a pole."""
    s, length, tail = int(rng.choice([-1, 1])), rng.uniform(0.55, 0.8), rng.random() < 0.4
    dip = rng.uniform(-0.1, 0.1)
    p.line((0, 0), (0, 1), 0.02, (0.75, 0.75, 0.75))
    points = [(0.01, 0.97), (0.01, 0.7), (length, 0.8 + dip)]
    if tail:
        points = [
            (0.01, 0.97),
            (0.01, 0.7),
            (length, 0.72 + dip),
            (length * 0.7, 0.84 + dip * 0.7),
            (length, 0.93 + dip),
        ]
    p.polygon([(s * x, y) for x, y in points], c.accent, normal=(0, 0, 0), solid=True)
    p.polygon(
        [
            (s * x, y)
            for x, y in [(0.01, 0.97), (0.01, 0.7), (length * 0.3, 0.74 + dip * 0.3), (length * 0.3, 0.93 + dip * 0.3)]
        ],
        c.second,
        0.01,
        normal=(0, 0, 0),
    )


def market_umbrella(p: Plane, rng: np.random.Generator, c: Palette) -> None:
    """A parasol in wedges of two colours over a table."""
    radius = rng.uniform(0.42, 0.56)
    p.line((0, 0), (0, 0.9), 0.03, (0.75, 0.7, 0.62))
    p.revolve([(radius * 0.5, 0.36), (radius * 0.5, 0.34)], [(0.8, 0.8, 0.78)], sides=10)
    p.polygon(ellipse(0, 0.36, radius * 0.5, 0.035), (0.85, 0.84, 0.8), solid=True)
    second = c.accent if rng.random() < 0.4 else c.second
    p.revolve([(0.01, 1), (radius, 0.74), (radius, 0.68)], [c.accent, second], sides=12)


def awning_stall(p: Plane, rng: np.random.Generator, c: Palette) -> None:
    """A counter of crates under a striped awning."""
    half, stripes = rng.uniform(0.55, 0.75), int(rng.integers(7, 12))
    for s in (-1, 1):
        p.line((s * half * 0.92, 0), (s * half * 0.92, 0.8), 0.03, (0.6, 0.5, 0.4))
    p.box(-half * 0.9, 0, half * 0.9, 0.32, (0.5, 0.36, 0.22), 0.2, -0.2)
    for k in range(5):
        u = -half * 0.85 + 1.7 * half * k / 5
        p.box(u, 0.32, u + 0.3 * half, 0.38, (0.6, 0.45, 0.28), 0.18, -0.1)
        fruit = vary(rng, ((0.8, 0.2, 0.1), (0.9, 0.6, 0.1), (0.35, 0.6, 0.15), (0.85, 0.8, 0.2))[rng.integers(4)])
        for j in range(3):
            p.disc(u + 0.06 * half + 0.09 * half * j, 0.39, 0.045, fruit, 0.17 - 0.01 * j)
    for k in range(stripes):
        a, b = -half + 2 * half * k / stripes, -half + 2 * half * (k + 1) / stripes
        colour = (c.accent, (0.93, 0.92, 0.88))[k % 2]
        p.surface(
            [(a, 0.76, 0.32), (b, 0.76, 0.32), (b * 0.96, 1, -0.15), (a * 0.96, 1, -0.15)], colour, (0.0, 0.85, 0.5)
        )
        p.polygon([(a, 0.76), (a, 0.7), ((a + b) / 2, 0.66), (b, 0.7), (b, 0.76)], dark(colour, 0.9), 0.32, solid=True)


def round_kiosk(p: Plane, rng: np.random.Generator, c: Palette) -> None:
    """An advertising column or newsstand with a small dome."""
    radius = rng.uniform(0.17, 0.24)
    posters = [vary(rng, colour, 0.15) for colour in (c.accent, c.trim, c.second, c.wall)]
    p.revolve([(radius * 1.1, 0.06), (radius * 1.15, 0)], [c.metal])
    p.revolve([(radius, 0.72), (radius, 0.4), (radius, 0.06)], posters, sides=12)
    p.revolve([(radius * 1.2, 0.78), (radius * 1.25, 0.74), (radius, 0.72)], [c.metal])
    p.revolve(
        [(0.01, 1.0), (0.04, 0.92), (radius * 0.6, 0.9), (radius, 0.83), (radius * 1.15, 0.78)],
        [c.metal, dark(c.metal, 1.2)],
        sides=14,
    )


def phone_booth(p: Plane, rng: np.random.Generator, c: Palette) -> None:
    """A tall box of small panes."""
    half, rows = rng.uniform(0.17, 0.21), int(rng.integers(5, 9))
    paint = (0.75, 0.1, 0.1) if rng.random() < 0.6 else c.accent
    p.box(-half, 0, half, 0.94, paint, half, -half, shadow=False)
    p.box(-half * 1.1, 0.94, half * 1.1, 0.97, paint, half * 1.1, -half * 1.1, shadow=False)
    p.box(-half * 0.8, 0.97, half * 0.8, 1.0, dark(paint, 0.9), half * 0.8, -half * 0.8, shadow=False)
    p.rect(-half * 0.8, 0.86, half * 0.8, 0.92, (0.95, 0.93, 0.85), half + 0.003, glow=0.01)
    for turn in (-math.pi / 2, 0.0, math.pi / 2):
        q = p.turned(turn, u=half * math.sin(turn), d=half * math.cos(turn))
        for i in range(3):
            for j in range(rows):
                u0, v0 = half * (-0.75 + 0.5 * i), 0.1 + 0.73 * j / rows
                q.rect(u0 + 0.01, v0, u0 + half * 0.5 - 0.01, v0 + 0.6 / rows, (0.3, 0.36, 0.4), 0.004, glow=0.3)
