"""Windows and doors; each about one unit high, standing on the origin of its plane."""

import math

import numpy as np

from experiments.synthetic.mesh import Colour, Plane, Point, Real, ellipse, opening
from experiments.synthetic.palette import Palette, dark, mix

REVEAL = 0.06


def _hole(p: Plane, kind: str, width: Real, height: Real, v: Real, c: Palette, frame: Real, trim: Colour) -> None:
    """An opening with its reveal and surround; what is inside must be drawn between this and `_surround`."""
    outline = opening(kind, 0, v, width, height)
    p.polygon(outline, dark(c.wall, 0.55))
    p.polygon([(x, y - 0.02) for x, y in outline], (0.03, 0.03, 0.04), -REVEAL)
    del frame, trim


def _surround(p: Plane, kind: str, width: Real, height: Real, v: Real, colour: Colour, frame: Real) -> None:
    inner = opening(kind, 0, v, width, height)
    outer = opening(kind, 0, v, width + 2 * frame, height + frame)
    p.shadow(outer, 0.03)
    p.ring(outer, inner, colour, 0.03)


def _pane(p: Plane, rng: np.random.Generator, points: list[Point], c: Palette) -> None:
    p.polygon(points, dark(c.glass, rng.uniform(0.7, 1.4)), -REVEAL, glow=rng.uniform(0.02, 1))


def sash_window(p: Plane, rng: np.random.Generator, c: Palette) -> None:
    """A flat window of several panes, with a sill and maybe a lintel or shutters."""
    width, rows, columns = rng.uniform(0.48, 0.7), int(rng.integers(2, 6)), int(rng.integers(2, 4))
    shutters, lintel = rng.random() < 0.3, rng.random()
    _glazing(p, rng, c, "flat", width, rows, columns)
    if shutters:
        for side in (-1, 1):
            u0, u1 = sorted((side * width * 0.56, side * width * 1.02))
            p.box(u0, 0, u1, 0.98, c.accent, 0.03)
            for k in range(1, 9):
                p.rect(u0 + 0.03, k / 9, u1 - 0.03, k / 9 + 0.03, dark(c.accent, 0.6), 0.031)
    if lintel < 0.4:
        p.box(-width * 0.7, 1.02, width * 0.7, 1.1, c.trim, 0.09)
    elif lintel < 0.65:
        points = [(-width * 0.72, 1.06), (width * 0.72, 1.06), (0, 1.24)]
        p.shadow(points, 0.08)
        p.polygon(points, c.trim, 0.08)
    p.box(-width * 0.62, -0.06, width * 0.62, 0.01, c.trim, 0.1)


def _glazing(
    p: Plane,
    rng: np.random.Generator,
    c: Palette,
    kind: str,
    width: Real,
    rows: int,
    columns: int,
    height: Real = 0.98,
) -> None:
    """Panes and bars in an opening with a surround."""
    _hole(p, kind, width, height, 0, c, 0.06, c.trim)
    _pane(p, rng, opening(kind, 0, 0, width, height), c)
    frame = mix(c.trim, (1, 1, 1), 0.3) if c.trim[0] > 0.5 else c.trim
    for i in range(1, columns):
        u = -width / 2 + width * i / columns
        p.rect(u - 0.012, 0, u + 0.012, height - (0 if kind == "flat" else 0.08), frame, -REVEAL + 0.01)
    for j in range(1, rows):
        v = height * j / rows
        half = width / 2
        if kind == "round" and v > height - half:
            half *= math.sqrt(max(0, 1 - ((v - height + half) / half) ** 2))
        p.rect(-half, v - 0.012, half, v + 0.012, frame, -REVEAL + 0.01)
    p.rect(-width / 2, 0, -width / 2 + 0.03, height * 0.75, frame, -REVEAL + 0.01)
    p.rect(width / 2 - 0.03, 0, width / 2, height * 0.75, frame, -REVEAL + 0.01)
    _surround(p, kind, width, height, 0, c.trim, rng.uniform(0.06, 0.1))


def round_window(p: Plane, rng: np.random.Generator, c: Palette) -> None:
    """A round-headed window, with voussoirs and maybe a keystone."""
    width = rng.uniform(0.42, 0.6)
    _glazing(p, rng, c, "round", width, int(rng.integers(2, 6)), int(rng.integers(2, 4)), 0.96)
    if rng.random() < 0.6:
        count, radius, spring = int(rng.integers(7, 12)), width / 2 + 0.09, 0.96 - width / 2
        for k in range(count):
            a0, a1 = math.pi * (k + 0.1) / count, math.pi * (k + 0.9) / count
            inner = [(radius * math.cos(a), spring + radius * math.sin(a)) for a in (a0, a1)]
            outer = [((radius + 0.1) * math.cos(a), spring + (radius + 0.1) * math.sin(a)) for a in (a1, a0)]
            p.polygon([*inner, *outer], mix(c.trim, c.wall, 0.5 * (k % 2)), 0.02)
    if rng.random() < 0.5:
        p.box(-0.05, 0.94, 0.05, 1.1, c.trim, 0.07)
    p.box(-width * 0.64, -0.07, width * 0.64, 0, c.trim, 0.09)


def gothic_window(p: Plane, rng: np.random.Generator, c: Palette) -> None:
    """A pointed window with mullions, and tracery in its head."""
    width, lights = rng.uniform(0.36, 0.62), int(rng.integers(2, 5))
    stained = rng.random() < 0.5
    _hole(p, "pointed", width, 1, 0, c, 0.06, c.trim)
    _pane(p, rng, opening("pointed", 0, 0, width, 1), c)
    spring = 1 - 0.866 * width
    step = width / lights
    for i in range(lights):
        u = -width / 2 + (i + 0.5) * step
        light = opening("pointed", u, 0, step * 0.86, min(spring + step * 0.5, 0.9))
        if stained:
            p.polygon(light, dark(mix(c.glass, (c.accent, c.second)[i % 2], 0.4), 0.8), -REVEAL + 0.005, glow=0.3)
        p.ring(opening("pointed", u, 0, step * 1.02, min(spring + step * 0.62, 0.95)), light, c.trim, -0.03)
    radius = width * rng.uniform(0.16, 0.22)
    p.ring(
        ellipse(0, spring + width * 0.42, radius, radius),
        ellipse(0, spring + width * 0.42, radius * 0.75, radius * 0.75),
        c.trim,
        -0.02,
    )
    for k in range(4):
        a = math.pi / 2 * k + math.pi / 4
        p.line(
            (0, spring + width * 0.42),
            (radius * math.cos(a), spring + width * 0.42 + radius * math.sin(a)),
            0.02,
            c.trim,
            -0.02,
        )
    _surround(p, "pointed", width, 1, 0, c.trim, 0.08)


def rose_window(p: Plane, rng: np.random.Generator, c: Palette) -> None:
    """A round window with petals of tracery."""
    petals, inner = int(rng.integers(6, 15)), rng.uniform(0.1, 0.17)
    stained = rng.random() < 0.6
    p.polygon(ellipse(0, 0.5, 0.44, 0.44), dark(c.wall, 0.4))
    _pane(p, rng, ellipse(0, 0.5, 0.44, 0.44), c)
    width = 0.36 * math.tan(math.pi / petals)
    for k in range(petals):
        a = 2 * math.pi * k / petals
        sin, cos = math.sin(a), math.cos(a)
        petal = [
            (x * cos + y * sin, 0.5 + y * cos - x * sin)
            for x, y in opening("round", 0, inner, width * 1.1, 0.42 - inner)
        ]
        core = [
            (x * cos + y * sin, 0.5 + y * cos - x * sin)
            for x, y in opening("round", 0, inner + 0.02, width * 0.85, 0.375 - inner)
        ]
        p.polygon(petal, c.trim, -0.03)
        tint = mix(c.glass, (c.accent, c.second)[k % 2], 0.4) if stained else c.glass
        p.polygon(core, dark(tint, 0.8), -0.03, glow=0.3)
    p.disc(0, 0.5, inner, c.trim, -0.02)
    p.disc(0, 0.5, inner * 0.6, dark(mix(c.glass, c.accent, 0.3 * stained), 0.9), -0.02, glow=0.3)
    p.shadow(ellipse(0, 0.5, 0.5, 0.5), 0.02)
    p.ring(ellipse(0, 0.5, 0.5, 0.5), ellipse(0, 0.5, 0.43, 0.43), c.trim, 0.03)


def panelled_door(p: Plane, rng: np.random.Generator, c: Palette) -> None:
    """A flat door of raised panels under a transom light."""
    width, rows, columns = rng.uniform(0.4, 0.56), int(rng.integers(2, 5)), int(rng.integers(1, 3))
    _hole(p, "flat", width, 0.96, 0, c, 0.06, c.trim)
    p.rect(-width / 2, 0, width / 2, 0.8, c.door, -REVEAL)
    _pane(p, rng, [(-width / 2, 0.82), (width / 2, 0.82), (width / 2, 0.96), (-width / 2, 0.96)], c)
    for i in range(columns):
        for j in range(rows):
            u0, v0 = -width / 2 + width * (i + 0.14) / columns, 0.06 + 0.72 * j / rows
            u1, v1 = u0 + width * 0.72 / columns, v0 + 0.72 * 0.8 / rows
            p.rect(u0, v0, u1, v1, dark(c.door, 0.6), -REVEAL + 0.005)
            p.rect(u0 + 0.015, v0 + 0.01, u1, v1 - 0.015, dark(c.door, 1.25), -REVEAL + 0.006)
    p.disc(width * 0.38, 0.4, 0.02, (0.8, 0.66, 0.3), -REVEAL + 0.03)
    _surround(p, "flat", width, 0.96, 0, c.trim, 0.07)
    p.box(-width * 0.75, -0.03, width * 0.75, 0.02, dark(c.trim, 0.8), 0.2)


def arched_door(p: Plane, rng: np.random.Generator, c: Palette) -> None:
    """A round-headed double door of planks with iron bands."""
    _portal(p, rng, c, "round", rng.uniform(0.5, 0.7), int(rng.integers(1, 3)))


def gothic_portal(p: Plane, rng: np.random.Generator, c: Palette) -> None:
    """A pointed double door within several stepped arches."""
    _portal(p, rng, c, "pointed", rng.uniform(0.5, 0.66), int(rng.integers(3, 5)))


def _portal(p: Plane, rng: np.random.Generator, c: Palette, kind: str, width: Real, orders: int) -> None:
    planks, bands = int(rng.integers(3, 6)), int(rng.integers(2, 4))
    core = width * (1 - 0.13 * orders)
    for k in range(orders, 0, -1):
        outer = core + 2 * 0.065 * k
        outline = opening(kind, 0, 0, outer, 0.96 * (0.72 + 0.28 * k / orders))
        p.polygon(outline, dark(mix(c.trim, c.wall, 0.5 * (k % 2)), 0.55 + 0.45 * k / orders))
    height = 0.7
    p.polygon(opening(kind, 0, 0, core, height), dark(c.door, 0.45))
    p.polygon(opening(kind, 0, 0, core * 0.96, height - 0.02), c.door, -0.04)
    for k in range(1, 2 * planks):
        u = -core / 2 + core * k / (2 * planks)
        p.rect(u - 0.006, 0, u + 0.006, height - core * 0.42, dark(c.door, 0.55), -0.035)
    for k in range(bands):
        v = 0.1 + 0.36 * k / max(1, bands - 1)
        p.rect(-core * 0.46, v, -core * 0.04, v + 0.025, c.metal, -0.03)
        p.rect(core * 0.04, v, core * 0.46, v + 0.025, c.metal, -0.03)
    p.rect(-0.008, 0, 0.008, height - 0.02, (0.03, 0.03, 0.03), -0.03)
    for side in (-1, 1):
        p.box(side * width / 2 - 0.05, 0, side * width / 2 + 0.05, 0.56, c.trim, 0.06)
