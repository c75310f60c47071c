"""This module builds blocks: walls with windows, and roofs. Sizes are in metres, and fronts face -y."""

import dataclasses

import numpy as np

from experiments.synthetic import windows
from experiments.synthetic.mesh import GLOW, Plane, Real, Sketch
from experiments.synthetic.palette import Palette, darken
from experiments.synthetic.vocabulary import Part


@dataclasses.dataclass(frozen=True)
class Style:
    """A `Style` holds what the facades of a building have in common.

    Attributes:
        palette: materials of the building.
        window: windows of the upper floors.
        ground: windows of the ground floor.
        door: the main door.
        seed: seed of the parts, so that equal parts look alike.
        bay: distance between windows in metres.
        floor: height of a floor in metres.
        share: height of a window as a share of its floor.
        courses: whether a band runs along every floor.
        quoins: whether larger stones mark the corners.
        pilasters: whether flat columns separate the windows.
    """

    palette: Palette
    window: Part
    ground: Part
    door: Part
    seed: int
    bay: Real
    floor: Real
    share: Real
    courses: bool
    quoins: bool
    pilasters: bool

    def install(self, part: Part, plane: Plane, rng: np.random.Generator, salt: int = 0) -> None:
        """Draws the building's version of a part; ``rng`` decides when each of its panes is lit."""
        rows = plane.sketch.rows
        first = len(rows)
        part(plane, np.random.default_rng([self.seed, salt]), self.palette)
        for i in range(first, len(rows)):
            if rows[i][GLOW] > 0.015:
                rows[i] = (*rows[i][:GLOW], rng.uniform(0.02, 1), *rows[i][GLOW + 1 :])


def draw_style(rng: np.random.Generator, palette: Palette) -> Style:
    """Draws a style at random."""
    kinds: tuple[Part, ...] = (windows.sash_window, windows.round_window, windows.gothic_window)
    window, ground = (kinds[int(i)] for i in rng.choice(3, 2, p=[0.45, 0.35, 0.2]))
    doors: tuple[Part, ...] = (windows.arched_door, windows.gothic_portal, windows.panelled_door)
    return Style(
        palette=palette,
        window=window,
        ground=ground,
        door=doors[rng.integers(3)],
        seed=int(rng.integers(2**31)),
        bay=rng.uniform(2.6, 4.2),
        floor=rng.uniform(3.2, 5.2),
        share=rng.uniform(0.5, 0.7),
        courses=bool(rng.random() < 0.6),
        quoins=bool(rng.random() < 0.5),
        pilasters=bool(rng.random() < 0.35),
    )


def walls(sketch: Sketch, box: tuple[Real, Real, Real, Real], base: Real = 0.0) -> list[tuple[Plane, Real]]:
    """Returns the left, right and front wall of a block over ``x0 y0 x1 y1``, each with its width, as one group."""
    x0, y0, x1, y1 = box
    front = sketch.plane((x0, y0, base), (1, 0, 0), (0, 0, 1))
    left = sketch.plane((x0, y1, base), (0, -1, 0), (0, 0, 1), group=front.group)
    right = sketch.plane((x1, y0, base), (0, 1, 0), (0, 0, 1), group=front.group)
    return [(left, y1 - y0), (right, y1 - y0), (front, x1 - x0)]


def block(
    sketch: Sketch,
    box: tuple[Real, Real, Real, Real],
    height: Real,
    style: Style,
    rng: np.random.Generator,
    *,
    base: Real = 0.0,
    door: bool = False,
    floors: int = 0,
) -> Plane:
    """Builds a front and two side walls with windows; returns the plane of the front."""
    faces = walls(sketch, box, base)
    for plane, width in faces:
        facade(plane, width, height, style, rng, door=door and plane is faces[-1][0], floors=floors)
    return faces[-1][0]


def facade(
    plane: Plane,
    width: Real,
    height: Real,
    style: Style,
    rng: np.random.Generator,
    *,
    door: bool = False,
    floors: int = 0,
) -> None:
    """Draws a wall with a plinth, windows, bands and a cornice; ``floors`` is 0 for as many as fit, -1 for none."""
    palette = style.palette
    plane.wall(0, 0, width, height, palette.wall, palette.wall_texture)
    plane.box(0, 0, width, min(0.9, height * 0.1), darken(palette.trim, 0.8), 0.12, shadow=False)
    floors = floors or max(1, round(height / style.floor))
    bays = max(1, round(width / style.bay))
    if style.quoins:
        _draw_quoins(plane, width, height, palette)
    for j in range(max(floors, 0)):
        v = height * j / floors
        if style.courses and j:
            plane.box(0, v - 0.12, width, v + 0.12, palette.trim, 0.15)
        window_height = height / floors * style.share
        window_height = min(window_height, width / bays * 1.3)
        for i in range(bays):
            u = width * (i + 0.5) / bays
            if j == 0 and door and i == bays // 2:
                size = min(height / floors * 0.85, width * 0.8, 7.0)
                style.install(style.door, plane.at(u, 0, size), rng, 1)
                continue
            part, salt = (style.ground, 2) if j == 0 and floors > 1 else (style.window, 3)
            lift = (height / floors - window_height) * 0.5
            style.install(part, plane.at(u, v + lift, window_height), rng, salt)
    if style.pilasters and floors > 0:
        for i in range(bays + 1):
            u = min(max(width * i / bays, 0.35), width - 0.35)
            plane.box(u - 0.3, 0.5, u + 0.3, height - 0.5, palette.trim, 0.18)
    plane.box(-0.15, height - 0.55, width + 0.15, height, palette.trim, 0.4)


def _draw_quoins(plane: Plane, width: Real, height: Real, palette: Palette) -> None:
    """Draws large stones, in turn long and short, along both edges of a wall."""
    count = max(3, int(height / 0.9))
    for k in range(count):
        v0, v1 = height * k / count + 0.06, height * (k + 1) / count - 0.06
        long = 0.9 if k % 2 else 0.6
        plane.rect(0, v0, long, v1, palette.trim, 0.05)
        plane.rect(width - long, v0, width, v1, palette.trim, 0.05)


def gabled(
    sketch: Sketch, box: tuple[Real, Real, Real, Real], z: Real, rise: Real, palette: Palette, *, along_y: bool
) -> Plane:
    """Builds a saddle roof; returns the plane of the gable, with its origin in the middle of the eaves."""
    x0, y0, x1, y1 = box
    overhang = 0.5
    if along_y:
        half, length = (x1 - x0) / 2, y1 - y0
        gable = sketch.plane(((x0 + x1) / 2, y0, z), (1, 0, 0), (0, 0, 1))
    else:
        half, length = (y1 - y0) / 2, x1 - x0
        gable = sketch.plane((x1, (y0 + y1) / 2, z), (0, 1, 0), (0, 0, 1))
        back_gable = sketch.plane((x0, (y0 + y1) / 2, z), (0, -1, 0), (0, 0, 1), group=gable.group)
        back_gable.polygon([(-half, 0), (half, 0), (0, rise)], palette.wall, texture=palette.wall_texture, solid=True)
    gable.polygon([(-half, 0), (half, 0), (0, rise)], palette.wall, texture=palette.wall_texture, solid=True)
    rafter_length = float(np.hypot(half, rise))
    for side in (-1, 1):
        drop = overhang * rise / half
        eave = gable.frame[0] + side * (half + overhang) * gable.frame[1] - drop * gable.frame[2]
        towards_ridge = (-side * half * gable.frame[1] + rise * gable.frame[2]) / rafter_length
        backwards = -gable.frame[3]
        if side > 0:
            slope = sketch.plane(eave + 0.4 * gable.frame[3], backwards, towards_ridge, group=gable.group)
        else:
            slope = sketch.plane(eave + backwards * (length + 0.4), -backwards, towards_ridge, group=gable.group)
        slope_length = rafter_length * (half + overhang) / half
        slope.wall(0, 0, length + 0.8, slope_length, palette.roof, palette.roof_texture)
        gable.line((side * (half + overhang), -drop), (0, rise), 0.4, palette.trim, 0.4)
    return gable


def hipped(
    sketch: Sketch, box: tuple[Real, Real, Real, Real], z: Real, rise: Real, ridge: Real, palette: Palette
) -> None:
    """Builds a hipped roof; ``ridge`` is the length of the ridge along x as a share of the width, 0 for a pyramid."""
    x0, y0, x1, y1 = box
    x, y, overhang = (x0 + x1) / 2, (y0 + y1) / 2, 0.45
    half_width, half_depth = (x1 - x0) / 2 + overhang, (y1 - y0) / 2 + overhang
    centre = sketch.front(x, y, z)
    half_ridge = (x1 - x0) / 2 * ridge
    front = sketch.plane((x, y - half_depth, z), (1, 0, 0), (0, half_depth, rise), group=centre.group)
    front.polygon(
        [(-half_width, 0), (half_width, 0), (half_ridge, 1), (-half_ridge, 1)],
        palette.roof,
        texture=palette.roof_texture,
        solid=True,
    )
    centre.surface(
        [(half_width, 0, -half_depth), (-half_width, 0, -half_depth), (-half_ridge, rise, 0), (half_ridge, rise, 0)],
        palette.roof,
        (0, half_depth, -rise),
    )
    for side in (-1, 1):
        run = half_width - half_ridge
        centre.surface(
            [(side * half_width, 0, half_depth), (side * half_width, 0, -half_depth), (side * half_ridge, rise, 0)],
            palette.roof,
            (side * rise, run, 0),
        )
        centre.line((side * half_width, 0.05), (side * half_ridge, rise + 0.05), 0.3, darken(palette.roof, 1.2), 0.0)


def battlements(
    sketch: Sketch, box: tuple[Real, Real, Real, Real], z: Real, palette: Palette, size: Real = 1.2
) -> None:
    """Builds merlons around the top of a block."""
    for plane, width in walls(sketch, box, z):
        count = max(2, int(width / (2 * size)))
        step = width / (2 * count - 1)
        for k in range(count):
            plane.box(2 * k * step, 0, (2 * k + 1) * step, size, palette.wall, 0.1, -0.5, shadow=False)
        plane.box(0, -0.4, width, 0.0, palette.trim, 0.25)


def colonnade(sketch: Sketch, x0: Real, x1: Real, y: Real, height: Real, count: int, style: Style, part: Part) -> None:
    """Builds a row of columns with an entablature and steps."""
    for k in range(count):
        x = x0 + (x1 - x0) * (k + 0.5) / count
        part(sketch.front(x, y, 0.6, height), np.random.default_rng(style.seed), style.palette)
    entablature = sketch.front(x0, y, 0.6 + height)
    entablature.box(0, 0, x1 - x0, 1.4, style.palette.trim, 0.9, -3.0, shadow=False)
    for k in range(4):
        stair = sketch.front(x0 - 0.4 * k, y, 0.45 - 0.15 * k)
        stair.box(0, 0, x1 - x0 + 0.8 * k, 0.15, darken(style.palette.trim, 0.95), 1.2 + 0.4 * k, -3.0, shadow=False)
