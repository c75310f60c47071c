"""Blocks of buildings: walls with their windows, and roofs. Metres, fronts towards -y."""

import dataclasses

import numpy as np

from experiments.synthetic import windows
from experiments.synthetic.mesh import GLOW, Plane, Real, Sketch
from experiments.synthetic.palette import Palette, dark
from experiments.synthetic.vocabulary import Part


@dataclasses.dataclass(frozen=True)
class Style:
    """What the facades of one building have in common.

    Attributes:
        palette: its materials.
        window: of the upper floors.
        ground: of the ground floor.
        door: the main one.
        seed: the parts are drawn from it, so that equal parts look alike.
        bay: metres from window to window.
        floor: metres from floor to floor.
        share: height of a window as a share of its floor.
        courses: whether a band runs along every floor.
        quoins: whether corners are of larger stones.
        pilasters: whether flat columns part the bays.
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
        """Draws the building's own version of a part; which of its panes are lit is left to ``rng``."""
        rows = plane.sketch.rows
        first = len(rows)
        part(plane, np.random.default_rng([self.seed, salt]), self.palette)
        for i in range(first, len(rows)):
            if rows[i][GLOW] > 0.015:
                rows[i] = (*rows[i][:GLOW], rng.uniform(0.02, 1), *rows[i][GLOW + 1 :])


def draw_style(rng: np.random.Generator, palette: Palette) -> Style:
    """A manner of building at random."""
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
    """The front, the left and the right wall of a block over ``x0 y0 x1 y1``, each with its width; one group."""
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
    """Three facades; returns the front."""
    faces = walls(sketch, box, base)
    for plane, width in faces:
        facade(plane, width, height, style, rng, door=door and plane is faces[-1][0], floors=floors)
    return faces[-1][0]


def facade(
    p: Plane,
    width: Real,
    height: Real,
    style: Style,
    rng: np.random.Generator,
    *,
    door: bool = False,
    floors: int = 0,
) -> None:
    """A wall with plinth, floors of windows, bands and a cornice; ``floors`` 0 chooses as many as fit, -1 none."""
    c = style.palette
    p.wall(0, 0, width, height, c.wall, c.wall_texture)
    p.box(0, 0, width, min(0.9, height * 0.1), dark(c.trim, 0.8), 0.12, shadow=False)
    floors = floors or max(1, round(height / style.floor))
    bays = max(1, round(width / style.bay))
    if style.quoins:
        _quoins(p, width, height, c)
    for j in range(max(floors, 0)):
        v = height * j / floors
        if style.courses and j:
            p.box(0, v - 0.12, width, v + 0.12, c.trim, 0.15)
        tall = height / floors * style.share
        tall = min(tall, width / bays * 1.3)
        for i in range(bays):
            u = width * (i + 0.5) / bays
            if j == 0 and door and i == bays // 2:
                size = min(height / floors * 0.85, width * 0.8, 7.0)
                style.install(style.door, p.at(u, 0, size), rng, 1)
                continue
            part, salt = (style.ground, 2) if j == 0 and floors > 1 else (style.window, 3)
            lift = (height / floors - tall) * 0.5
            style.install(part, p.at(u, v + lift, tall), rng, salt)
    if style.pilasters and floors > 0:
        for i in range(bays + 1):
            u = min(max(width * i / bays, 0.35), width - 0.35)
            p.box(u - 0.3, 0.5, u + 0.3, height - 0.5, c.trim, 0.18)
    p.box(-0.15, height - 0.55, width + 0.15, height, c.trim, 0.4)


def _quoins(p: Plane, width: Real, height: Real, c: Palette) -> None:
    count = max(3, int(height / 0.9))
    for k in range(count):
        v0, v1 = height * k / count + 0.06, height * (k + 1) / count - 0.06
        long = 0.9 if k % 2 else 0.6
        p.rect(0, v0, long, v1, c.trim, 0.05)
        p.rect(width - long, v0, width, v1, c.trim, 0.05)


def gabled(
    sketch: Sketch, box: tuple[Real, Real, Real, Real], z: Real, rise: Real, c: Palette, *, along_y: bool
) -> Plane:
    """A saddle roof over a block; returns the gable's plane, its origin in the middle of the eaves."""
    x0, y0, x1, y1 = box
    out = 0.5
    if along_y:
        half, length = (x1 - x0) / 2, y1 - y0
        p = sketch.plane(((x0 + x1) / 2, y0, z), (1, 0, 0), (0, 0, 1))
    else:
        half, length = (y1 - y0) / 2, x1 - x0
        p = sketch.plane((x1, (y0 + y1) / 2, z), (0, 1, 0), (0, 0, 1))
        q = sketch.plane((x0, (y0 + y1) / 2, z), (0, -1, 0), (0, 0, 1), group=p.group)
        q.polygon([(-half, 0), (half, 0), (0, rise)], c.wall, texture=c.wall_texture, solid=True)
    p.polygon([(-half, 0), (half, 0), (0, rise)], c.wall, texture=c.wall_texture, solid=True)
    length_slope = float(np.hypot(half, rise))
    for s in (-1, 1):
        drop = out * rise / half
        eave = p.frame[0] + s * (half + out) * p.frame[1] - drop * p.frame[2]
        ridge_way = (-s * half * p.frame[1] + rise * p.frame[2]) / length_slope
        run = -p.frame[3]
        if s > 0:
            slope = sketch.plane(eave + 0.4 * p.frame[3], run, ridge_way, group=p.group)
        else:
            slope = sketch.plane(eave + run * (length + 0.4), -run, ridge_way, group=p.group)
        tall = length_slope * (half + out) / half
        slope.wall(0, 0, length + 0.8, tall, c.roof, c.roof_texture)
        p.line((s * (half + out), -drop), (0, rise), 0.4, c.trim, 0.4)
    return p


def hipped(sketch: Sketch, box: tuple[Real, Real, Real, Real], z: Real, rise: Real, ridge: Real, c: Palette) -> None:
    """Four slopes to a ridge along x, ``ridge`` of the width long; 0 is a pyramid."""
    x0, y0, x1, y1 = box
    x, y, out = (x0 + x1) / 2, (y0 + y1) / 2, 0.45
    a, b = (x1 - x0) / 2 + out, (y1 - y0) / 2 + out
    p = sketch.front(x, y, z)
    r = (x1 - x0) / 2 * ridge
    front = sketch.plane((x, y - b, z), (1, 0, 0), (0, b, rise), group=p.group)
    front.polygon([(-a, 0), (a, 0), (r, 1), (-r, 1)], c.roof, texture=c.roof_texture, solid=True)
    p.surface([(a, 0, -b), (-a, 0, -b), (-r, rise, 0), (r, rise, 0)], c.roof, (0, b, -rise))
    for s in (-1, 1):
        run = a - r
        p.surface([(s * a, 0, b), (s * a, 0, -b), (s * r, rise, 0)], c.roof, (s * rise, run, 0))
        p.line((s * a, 0.05), (s * r, rise + 0.05), 0.3, dark(c.roof, 1.2), 0.0)


def battlements(sketch: Sketch, box: tuple[Real, Real, Real, Real], z: Real, c: Palette, size: Real = 1.2) -> None:
    """Merlons around the top of a block."""
    for plane, width in walls(sketch, box, z):
        count = max(2, int(width / (2 * size)))
        step = width / (2 * count - 1)
        for k in range(count):
            plane.box(2 * k * step, 0, (2 * k + 1) * step, size, c.wall, 0.1, -0.5, shadow=False)
        plane.box(0, -0.4, width, 0.0, c.trim, 0.25)


def colonnade(sketch: Sketch, x0: Real, x1: Real, y: Real, height: Real, count: int, style: Style, part: Part) -> None:
    """A row of columns with an entablature, 1 m deep."""
    for k in range(count):
        x = x0 + (x1 - x0) * (k + 0.5) / count
        part(sketch.front(x, y, 0.6, height), np.random.default_rng(style.seed), style.palette)
    p = sketch.front(x0, y, 0.6 + height)
    p.box(0, 0, x1 - x0, 1.4, style.palette.trim, 0.9, -3.0, shadow=False)
    for k in range(4):
        step = sketch.front(x0 - 0.4 * k, y, 0.45 - 0.15 * k)
        step.box(0, 0, x1 - x0 + 0.8 * k, 0.15, dark(style.palette.trim, 0.95), 1.2 + 0.4 * k, -3.0, shadow=False)
