"""This module draws windows and doors; each is about one unit high and stands on the origin of its plane."""

import math

import numpy as np

from experiments.synthetic.mesh import Colour, Plane, Point, Real, ellipse, opening
from experiments.synthetic.palette import Palette, darken, mix

REVEAL = 0.06
"""Depth of a pane behind the wall."""


def _draw_opening(
    plane: Plane, kind: str, width: Real, height: Real, v: Real, palette: Palette, frame: Real, trim: Colour
) -> None:
    """Draws an opening with its reveal; draw the panes between this call and `_draw_surround`."""
    outline = opening(kind, 0, v, width, height)
    plane.polygon(outline, darken(palette.wall, 0.55))
    plane.polygon([(x, y - 0.02) for x, y in outline], (0.03, 0.03, 0.04), -REVEAL)
    del frame, trim


def _draw_surround(plane: Plane, kind: str, width: Real, height: Real, v: Real, colour: Colour, frame: Real) -> None:
    """Draws the frame around an opening, with its shadow."""
    inner = opening(kind, 0, v, width, height)
    outer = opening(kind, 0, v, width + 2 * frame, height + frame)
    plane.shadow(outer, 0.03)
    plane.ring(outer, inner, colour, 0.03)


def _draw_pane(plane: Plane, rng: np.random.Generator, points: list[Point], palette: Palette) -> None:
    """Draws a pane of random brightness, lit at a random rank."""
    plane.polygon(points, darken(palette.glass, rng.uniform(0.7, 1.4)), -REVEAL, glow=rng.uniform(0.02, 1))


def sash_window(plane: Plane, rng: np.random.Generator, palette: Palette) -> None:
    """Draws a flat window of several panes, with a sill and maybe a lintel or shutters."""
    width, rows, columns = rng.uniform(0.48, 0.7), int(rng.integers(2, 6)), int(rng.integers(2, 4))
    has_shutters, lintel_kind = rng.random() < 0.3, rng.random()
    _draw_glazing(plane, rng, palette, "flat", width, rows, columns)
    if has_shutters:
        for side in (-1, 1):
            u0, u1 = sorted((side * width * 0.56, side * width * 1.02))
            plane.box(u0, 0, u1, 0.98, palette.accent, 0.03)
            for k in range(1, 9):
                plane.rect(u0 + 0.03, k / 9, u1 - 0.03, k / 9 + 0.03, darken(palette.accent, 0.6), 0.031)
    if lintel_kind < 0.4:
        plane.box(-width * 0.7, 1.02, width * 0.7, 1.1, palette.trim, 0.09)
    elif lintel_kind < 0.65:
        points = [(-width * 0.72, 1.06), (width * 0.72, 1.06), (0, 1.24)]
        plane.shadow(points, 0.08)
        plane.polygon(points, palette.trim, 0.08)
    plane.box(-width * 0.62, -0.06, width * 0.62, 0.01, palette.trim, 0.1)


def _draw_glazing(
    plane: Plane,
    rng: np.random.Generator,
    palette: Palette,
    kind: str,
    width: Real,
    rows: int,
    columns: int,
    height: Real = 0.98,
) -> None:
    """Draws panes and bars in an opening with a surround."""
    _draw_opening(plane, kind, width, height, 0, palette, 0.06, palette.trim)
    _draw_pane(plane, rng, opening(kind, 0, 0, width, height), palette)
    frame = mix(palette.trim, (1, 1, 1), 0.3) if palette.trim[0] > 0.5 else palette.trim
    for i in range(1, columns):
        u = -width / 2 + width * i / columns
        plane.rect(u - 0.012, 0, u + 0.012, height - (0 if kind == "flat" else 0.08), frame, -REVEAL + 0.01)
    for j in range(1, rows):
        v = height * j / rows
        half = width / 2
        if kind == "round" and v > height - half:
            half *= math.sqrt(max(0, 1 - ((v - height + half) / half) ** 2))
        plane.rect(-half, v - 0.012, half, v + 0.012, frame, -REVEAL + 0.01)
    plane.rect(-width / 2, 0, -width / 2 + 0.03, height * 0.75, frame, -REVEAL + 0.01)
    plane.rect(width / 2 - 0.03, 0, width / 2, height * 0.75, frame, -REVEAL + 0.01)
    _draw_surround(plane, kind, width, height, 0, palette.trim, rng.uniform(0.06, 0.1))


def round_window(plane: Plane, rng: np.random.Generator, palette: Palette) -> None:
    """Draws a round-headed window, with voussoirs and maybe a keystone."""
    width = rng.uniform(0.42, 0.6)
    _draw_glazing(plane, rng, palette, "round", width, int(rng.integers(2, 6)), int(rng.integers(2, 4)), 0.96)
    if rng.random() < 0.6:
        count, radius, spring = int(rng.integers(7, 12)), width / 2 + 0.09, 0.96 - width / 2
        for k in range(count):
            a0, a1 = math.pi * (k + 0.1) / count, math.pi * (k + 0.9) / count
            inner = [(radius * math.cos(a), spring + radius * math.sin(a)) for a in (a0, a1)]
            outer = [((radius + 0.1) * math.cos(a), spring + (radius + 0.1) * math.sin(a)) for a in (a1, a0)]
            plane.polygon([*inner, *outer], mix(palette.trim, palette.wall, 0.5 * (k % 2)), 0.02)
    if rng.random() < 0.5:
        plane.box(-0.05, 0.94, 0.05, 1.1, palette.trim, 0.07)
    plane.box(-width * 0.64, -0.07, width * 0.64, 0, palette.trim, 0.09)


def gothic_window(plane: Plane, rng: np.random.Generator, palette: Palette) -> None:
    """Draws a pointed window with mullions, and tracery in its head."""
    width, lights = rng.uniform(0.36, 0.62), int(rng.integers(2, 5))
    is_stained = rng.random() < 0.5
    _draw_opening(plane, "pointed", width, 1, 0, palette, 0.06, palette.trim)
    _draw_pane(plane, rng, opening("pointed", 0, 0, width, 1), palette)
    spring = 1 - 0.866 * width
    light_width = width / lights
    for i in range(lights):
        u = -width / 2 + (i + 0.5) * light_width
        light = opening("pointed", u, 0, light_width * 0.86, min(spring + light_width * 0.5, 0.9))
        if is_stained:
            plane.polygon(
                light,
                darken(mix(palette.glass, (palette.accent, palette.second)[i % 2], 0.4), 0.8),
                -REVEAL + 0.005,
                glow=0.3,
            )
        plane.ring(
            opening("pointed", u, 0, light_width * 1.02, min(spring + light_width * 0.62, 0.95)),
            light,
            palette.trim,
            -0.03,
        )
    radius = width * rng.uniform(0.16, 0.22)
    plane.ring(
        ellipse(0, spring + width * 0.42, radius, radius),
        ellipse(0, spring + width * 0.42, radius * 0.75, radius * 0.75),
        palette.trim,
        -0.02,
    )
    for k in range(4):
        a = math.pi / 2 * k + math.pi / 4
        plane.line(
            (0, spring + width * 0.42),
            (radius * math.cos(a), spring + width * 0.42 + radius * math.sin(a)),
            0.02,
            palette.trim,
            -0.02,
        )
    _draw_surround(plane, "pointed", width, 1, 0, palette.trim, 0.08)


def rose_window(plane: Plane, rng: np.random.Generator, palette: Palette) -> None:
    """Draws a round window with petals of tracery."""
    petals, inner_radius = int(rng.integers(6, 15)), rng.uniform(0.1, 0.17)
    is_stained = rng.random() < 0.6
    plane.polygon(ellipse(0, 0.5, 0.44, 0.44), darken(palette.wall, 0.4))
    _draw_pane(plane, rng, ellipse(0, 0.5, 0.44, 0.44), palette)
    width = 0.36 * math.tan(math.pi / petals)
    for k in range(petals):
        a = 2 * math.pi * k / petals
        sin, cos = math.sin(a), math.cos(a)
        petal = [
            (x * cos + y * sin, 0.5 + y * cos - x * sin)
            for x, y in opening("round", 0, inner_radius, width * 1.1, 0.42 - inner_radius)
        ]
        core = [
            (x * cos + y * sin, 0.5 + y * cos - x * sin)
            for x, y in opening("round", 0, inner_radius + 0.02, width * 0.85, 0.375 - inner_radius)
        ]
        plane.polygon(petal, palette.trim, -0.03)
        tint = mix(palette.glass, (palette.accent, palette.second)[k % 2], 0.4) if is_stained else palette.glass
        plane.polygon(core, darken(tint, 0.8), -0.03, glow=0.3)
    plane.disc(0, 0.5, inner_radius, palette.trim, -0.02)
    plane.disc(
        0, 0.5, inner_radius * 0.6, darken(mix(palette.glass, palette.accent, 0.3 * is_stained), 0.9), -0.02, glow=0.3
    )
    plane.shadow(ellipse(0, 0.5, 0.5, 0.5), 0.02)
    plane.ring(ellipse(0, 0.5, 0.5, 0.5), ellipse(0, 0.5, 0.43, 0.43), palette.trim, 0.03)


def panelled_door(plane: Plane, rng: np.random.Generator, palette: Palette) -> None:
    """Draws a flat door of raised panels under a transom light."""
    width, rows, columns = rng.uniform(0.4, 0.56), int(rng.integers(2, 5)), int(rng.integers(1, 3))
    _draw_opening(plane, "flat", width, 0.96, 0, palette, 0.06, palette.trim)
    plane.rect(-width / 2, 0, width / 2, 0.8, palette.door, -REVEAL)
    _draw_pane(plane, rng, [(-width / 2, 0.82), (width / 2, 0.82), (width / 2, 0.96), (-width / 2, 0.96)], palette)
    for i in range(columns):
        for j in range(rows):
            u0, v0 = -width / 2 + width * (i + 0.14) / columns, 0.06 + 0.72 * j / rows
            u1, v1 = u0 + width * 0.72 / columns, v0 + 0.72 * 0.8 / rows
            plane.rect(u0, v0, u1, v1, darken(palette.door, 0.6), -REVEAL + 0.005)
            plane.rect(u0 + 0.015, v0 + 0.01, u1, v1 - 0.015, darken(palette.door, 1.25), -REVEAL + 0.006)
    plane.disc(width * 0.38, 0.4, 0.02, (0.8, 0.66, 0.3), -REVEAL + 0.03)
    _draw_surround(plane, "flat", width, 0.96, 0, palette.trim, 0.07)
    plane.box(-width * 0.75, -0.03, width * 0.75, 0.02, darken(palette.trim, 0.8), 0.2)


def arched_door(plane: Plane, rng: np.random.Generator, palette: Palette) -> None:
    """Draws a round-headed double door of planks with iron bands."""
    _draw_portal(plane, rng, palette, "round", rng.uniform(0.5, 0.7), int(rng.integers(1, 3)))


def gothic_portal(plane: Plane, rng: np.random.Generator, palette: Palette) -> None:
    """Draws a pointed double door within several stepped arches."""
    _draw_portal(plane, rng, palette, "pointed", rng.uniform(0.5, 0.66), int(rng.integers(3, 5)))


def _draw_portal(plane: Plane, rng: np.random.Generator, palette: Palette, kind: str, width: Real, orders: int) -> None:
    """Draws a double door of planks within ``orders`` stepped arches."""
    planks, bands = int(rng.integers(3, 6)), int(rng.integers(2, 4))
    core = width * (1 - 0.13 * orders)
    for k in range(orders, 0, -1):
        outer = core + 2 * 0.065 * k
        outline = opening(kind, 0, 0, outer, 0.96 * (0.72 + 0.28 * k / orders))
        plane.polygon(outline, darken(mix(palette.trim, palette.wall, 0.5 * (k % 2)), 0.55 + 0.45 * k / orders))
    height = 0.7
    plane.polygon(opening(kind, 0, 0, core, height), darken(palette.door, 0.45))
    plane.polygon(opening(kind, 0, 0, core * 0.96, height - 0.02), palette.door, -0.04)
    for k in range(1, 2 * planks):
        u = -core / 2 + core * k / (2 * planks)
        plane.rect(u - 0.006, 0, u + 0.006, height - core * 0.42, darken(palette.door, 0.55), -0.035)
    for k in range(bands):
        v = 0.1 + 0.36 * k / max(1, bands - 1)
        plane.rect(-core * 0.46, v, -core * 0.04, v + 0.025, palette.metal, -0.03)
        plane.rect(core * 0.04, v, core * 0.46, v + 0.025, palette.metal, -0.03)
    plane.rect(-0.008, 0, 0.008, height - 0.02, (0.03, 0.03, 0.03), -0.03)
    for side in (-1, 1):
        plane.box(side * width / 2 - 0.05, 0, side * width / 2 + 0.05, 0.56, palette.trim, 0.06)
